"""The commands on instances."""

from __future__ import annotations

import json

import pytest

from lbflask.cli.context import NOT_FOUND, USAGE
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.cli.servers import piped, served
from tests.control.servers import Counter

NAMES = ("east/0.0.0.0:8080", "west/0.0.0.0:80", "west/0.0.0.0:81")


@pytest.fixture
def counter() -> Counter:
    counter = Counter()
    for name in NAMES:
        host = name.partition("/")[0]
        report = WorkerReport(WorkerIdentity(name, host, 1, "1.0", "abc"), counter.clock(), 10.0)
        counter.facts.beat("default", f"{host}:1:{name}", Beat(report=report), read=False)
    return counter


@pytest.mark.parametrize("host", ["east", "east/0.0.0.0:8080"])
def test_an_instance_is_drained_by_its_name_or_its_host(counter: Counter, host: str) -> None:
    with served(counter) as url:
        code, shown = piped("instance", "drain", host, "--for", "2h", "--url", url)
        assert (code, shown.startswith(f"{NAMES[0]} is drained until ")) == (0, True)
        assert counter.facts.read_drains()[NAMES[0]].until == counter.clock() + 7200
        lines = piped("instance", "status", "--url", url)[1].splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [
            [NAMES[0], "draining"],
            [NAMES[1], "serves"],
            [NAMES[2], "serves"],
        ]
        assert "is drained until" in lines[1]
        assert len(json.loads(piped("instance", "status", host, "--json", "--url", url)[1])["instances"]) == 1
        assert piped("instance", "undrain", host, "--url", url) == (0, f"{NAMES[0]} is not drained\n")
        assert piped("instance", "undrain", host, "--url", url) == (0, f"{NAMES[0]} is not drained, as before\n")
    assert counter.facts.read_drains() == {}


def test_one_that_does_not_run_is_off(counter: Counter) -> None:
    with served(counter) as url:
        piped("instance", "drain", "east", "--url", url)
        counter.facts.leave("default", f"east:1:{NAMES[0]}")
        line = piped("instance", "status", "east", "--url", url)[1].splitlines()[1]
        assert line.split()[:2] == [NAMES[0], "off"]


@pytest.mark.parametrize(("host", "code"), [("north", NOT_FOUND), ("west", USAGE)])
@pytest.mark.parametrize("command", ["drain", "undrain", "status"])
def test_a_host_without_instance_or_with_several_is_an_error(
    counter: Counter, command: str, host: str, code: int
) -> None:
    with served(counter) as url:
        assert piped("instance", command, host, "--url", url)[0] == code
    assert counter.facts.read_drains() == {}


@pytest.mark.parametrize("duration", ["0", "31d", "x"])
def test_a_wrong_time_is_a_usage_error(duration: str) -> None:
    assert piped("instance", "drain", "east", "--for", duration, "--url", "http://127.0.0.1:1")[0] == USAGE
