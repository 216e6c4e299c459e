"""What the master hands to its workers is what they get: by the side of other processes, and whatever it is."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome
from lbflask.server.config_handover import SharedConfig
from tests.config.test_render import SETTINGS


@pytest.fixture
def handover() -> Iterator[SharedConfig]:
    with closing(SharedConfig()) as made:
        yield made


def plain(count: int = 1) -> Config:
    return Config.model_validate({"backends": [f"http://h:{port}" for port in range(1, count + 1)]})


def test_before_the_first_reload_nothing_is_handed_on(handover: SharedConfig) -> None:
    assert handover.read() is None


@given(values=SETTINGS)
def test_the_values_arrive_as_they_were_checked(values: dict[str, object]) -> None:
    before = Config.model_validate(values)
    with closing(SharedConfig()) as handover:
        handover.write(ReloadOutcome(1.0, version(before)), before)
        found = handover.read()
    assert found is not None
    after = found[1]
    assert after == before
    assert after.model_fields_set == before.model_fields_set
    assert version(after) == version(before)


def test_files_arrive_as_the_master_has_read_them(handover: SharedConfig, tmp_path: Path) -> None:
    page = tmp_path / "closed.html"
    page.write_bytes(b"<p>closed")
    networks = tmp_path / "deny.txt"
    networks.write_text("203.0.113.0/24\n2001:db8::/32\n")
    respond = {"status": 200, "file": str(page)}
    before = Config.model_validate(
        {
            "backends": ["http://h:1"],
            "routes": [{"name": "closed", "respond": respond}],
            "error_pages": {"503": str(page)},
            "access": {"deny": [f"file:{networks}"]},
        }
    )
    handover.write(ReloadOutcome(1.0, "v1"), before)
    page.write_bytes(b"changed")
    networks.write_text("")
    found = handover.read()
    assert found is not None
    assert found[1].error_pages == before.error_pages
    assert found[1].pages == before.pages
    assert dict(found[1].networks) == dict(before.networks)
    assert sum(map(len, found[1].networks.values())) == 2
    (route,) = found[1].routes
    assert route.respond is not None
    assert route.respond.to_model().page.body == b"<p>closed"


def test_the_latest_outcome_is_read_and_a_shorter_text_leaves_nothing_of_a_longer_one(handover: SharedConfig) -> None:
    handover.write(ReloadOutcome(1.0, "v1", in_place=("backends",)), plain(500))
    handover.write(ReloadOutcome(2.0, "v1", "file: key = 1: is wrong", by_new_workers=("bind",)), plain())
    found = handover.read()
    assert found is not None
    assert found[0] == ReloadOutcome(2.0, "v1", "file: key = 1: is wrong", by_new_workers=("bind",))
    assert found[1] == plain()


def read_many(handover: SharedConfig, rounds: int) -> None:
    for _ in range(rounds):
        found = handover.read()
        assert found is not None
        assert len(found[1].backends) == int(found[0].version)


def test_a_reader_never_sees_half_of_what_is_written(handover: SharedConfig) -> None:
    handover.write(ReloadOutcome(0.0, "1"), plain(1))
    reader = multiprocessing.get_context("fork").Process(target=read_many, args=(handover, 200))
    reader.start()
    few, many = plain(2), plain(1000)
    while reader.is_alive():
        handover.write(ReloadOutcome(1.0, "1000"), many)
        handover.write(ReloadOutcome(2.0, "2"), few)
    reader.join()
    assert reader.exitcode == 0
