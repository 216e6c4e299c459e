"""The differences between configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lbflask.cli import main
from lbflask.cli.context import FAILED, NOT_FOUND, UNREACHABLE, USAGE
from lbflask.config.render import effective
from lbflask.config.schema import Config
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.cli.servers import served
from tests.control.servers import TWO, Counter
from tests.support.pool_routes import text_with_routes

SAME = 'backends = ["http://10.0.0.1:80", { url = "http://10.0.0.2:80", name = "two", weight = 3 }]\n'


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", "diff", *arguments], env={"LBFLASK_ADMIN_TOKEN": ""})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lbflask.toml"
    path.write_text(SAME)
    return path


def test_a_file_with_the_same_settings_has_no_difference(file: Path) -> None:
    with served(Counter()) as url:
        result = ran(str(file), "--url", url)
    assert (result.exit_code, result.output) == (0, f"one and {file} have the same settings\n")


def test_settings_that_differ_are_shown_with_both_values(file: Path) -> None:
    file.write_text(text_with_routes(f"{SAME}[timeouts]\nconnect = 9\n[pools.api]\nbackends = ['http://a:1']\n"))
    with served(Counter()) as url:
        result = ran(str(file), "--url", url)
        document = json.loads(ran(str(file), "--url", url, "--json").output)
    assert result.exit_code == FAILED
    assert "timeouts.connect\n  - 3.0\n  + 9.0\n" in result.output
    assert "pools.api.strategy\n  - (unset)\n  + round_robin\n" in result.output
    assert {"key": "timeouts.connect", "values": [3.0, 9.0]} in document["differences"]
    assert all(one["key"].startswith(("timeouts.connect", "pools", "routes")) for one in document["differences"])


def test_two_instances_are_compared_without_their_addresses() -> None:
    one, two = Counter(bind=["127.0.0.1:80"]), Counter(bind=["127.0.0.1:81"], instance="edge")
    three = Counter(timeouts={"connect": 9})
    with served(one) as here, served(two) as there, served(three) as elsewhere:
        assert ran("--url", here, "--other", there).exit_code == 0
        result = ran("--url", here, "--other", elsewhere)
    assert (result.exit_code, result.output.splitlines()[1:]) == (FAILED, ["timeouts.connect", "  - 3.0", "  + 9.0"])


def join(counter: Counter, name: str, settings: dict[str, Any] | None, version: str) -> None:
    """Let an instance of this configuration be in the fleet of the counter, and publish it, unless it is None."""
    if settings is not None:
        counter.facts.write_configuration(version, json.dumps(settings))
    identity = WorkerIdentity(name, name, 7, "1", version, counter.clock() - 100.0)
    report = WorkerReport(identity, counter.clock(), 10.0)
    counter.facts.beat("default", f"{name}:7:a", Beat(report=report), read=False)


def test_an_instance_of_the_fleet_is_compared_by_what_it_has_published() -> None:
    here = Counter()
    theirs = effective(
        Config.model_validate({**TWO, "timeouts": {"connect": 9}, "instance": "web2", "bind": ["[::]:81"]})
    )
    join(here, "web2/[::]:81", theirs, "aaaaaaaaaaaa")
    join(here, "web3", None, "bbbbbbbbbbbb")
    join(here, "web4", effective(here.config), "cccccccccccc")
    with served(here) as url:
        result = ran("--url", url, "--instance", "web2/[::]:81")
        unpublished, secrets, unknown = (ran("--url", url, "--instance", name) for name in ("web3", "web4", "nowhere"))
    assert (result.exit_code, result.output.splitlines()) == (
        FAILED, ["one and web2/[::]:81", "timeouts.connect", "  - 3.0", "  + 9.0"],
    )  # fmt: skip
    assert unpublished.exit_code == unknown.exit_code == NOT_FOUND
    assert "no instance has published a configuration 'bbbbbbbbbbbb'" in unpublished.output
    assert (secrets.exit_code, secrets.output) == (FAILED, "one and web4 have the same settings, but other secrets\n")


def test_secrets_are_not_shown() -> None:
    secrets = ["one-secret-of-at-least-sixteen", "two-secret-of-at-least-sixteen"]
    one = Counter(sticky={"cookie": "LB", "secrets": secrets[:1]})
    two = Counter(sticky={"cookie": "LB", "secrets": secrets[1:], "path": "/shop"})
    with served(one) as here, served(two) as there:
        result = ran("--url", here, "--other", there)
    assert (result.exit_code, result.output.splitlines()[1:]) == (FAILED, ["sticky.path", "  - /", "  + /shop"])
    assert not any(secret in result.output for secret in secrets)


def test_wrong_arguments_are_one_line_each(file: Path) -> None:
    with served(Counter()) as url:
        assert ran("--url", url).exit_code == USAGE
        assert ran(str(file), "--other", url, "--url", url).exit_code == USAGE
        assert ran("--url", url, "--other", "http://127.0.0.1:1").exit_code == UNREACHABLE
        file.write_text(f"{SAME}[timeouts]\nconnect = 'soon'\n")
        result = ran(str(file), "--url", url)
    assert (result.exit_code, "connect" in result.output) == (FAILED, True)
