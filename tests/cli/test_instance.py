"""The commands on instances."""

from __future__ import annotations

import json

import pytest

from lbflask.cli.context import NOT_FOUND, TIMED_OUT, USAGE
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
@pytest.mark.sampled(2)
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


@pytest.mark.thorough
def test_one_that_does_not_run_is_off(counter: Counter) -> None:
    with served(counter) as url:
        piped("instance", "drain", "east", "--url", url)
        counter.facts.leave("default", f"east:1:{NAMES[0]}")
        line = piped("instance", "status", "east", "--url", url)[1].splitlines()[1]
        assert line.split()[:2] == [NAMES[0], "off"]


@pytest.mark.parametrize(("host", "code"), [("north", NOT_FOUND), ("west", USAGE)])
@pytest.mark.parametrize("command", ["drain", "undrain", "status"])
@pytest.mark.sampled(5)
def test_a_host_without_instance_or_with_several_is_an_error(
    counter: Counter, command: str, host: str, code: int
) -> None:
    with served(counter) as url:
        assert piped("instance", command, host, "--url", url)[0] == code
    assert counter.facts.read_drains() == {}


@pytest.mark.parametrize("duration", ["0", "31d", "x"])
@pytest.mark.sampled(3)
def test_a_wrong_time_is_a_usage_error(duration: str) -> None:
    assert piped("instance", "drain", "east", "--for", duration, "--url", "http://127.0.0.1:1")[0] == USAGE


def test_one_in_the_delay_before_its_stop_is_stopping(counter: Counter) -> None:
    report = WorkerReport(WorkerIdentity(NAMES[0], "east", 1, "1.0", "abc"), counter.clock(), 10.0, stopping=True)
    counter.facts.beat("default", f"east:1:{NAMES[0]}", Beat(report=report), read=False)
    with served(counter) as url:
        lines = piped("status", "--url", url)[1].splitlines()
    states = {line.split()[0]: line.split()[1] for line in lines if line.startswith(("east/", "west/"))}
    assert states == {NAMES[0]: "stopping", NAMES[1]: "serves", NAMES[2]: "serves"}


def beat(counter: Counter, name: str, in_flight: int) -> None:
    """A heartbeat of the instance's worker with so many requests in flight."""
    host = name.partition("/")[0]
    report = WorkerReport(WorkerIdentity(name, host, 1, "1.0", "abc"), counter.clock(), 10.0)
    counter.facts.beat("default", f"{host}:1:{name}", Beat({"two": in_flight}, report=report), read=False)


def test_the_wait_ends_when_nothing_is_in_flight_at_the_instance(counter: Counter) -> None:
    beat(counter, NAMES[1], 3)
    with served(counter) as url:
        code, shown = piped("instance", "drain", "east", "--wait", "--timeout", "60", "--url", url)
        assert (code, shown.splitlines()[-1]) == (
            0,
            f"{NAMES[0]} is drained: nothing is in flight, and no request came for 2 s",
        )
        assert NAMES[0] in counter.facts.read_drains()


def test_the_wait_ends_after_its_time_and_the_drain_goes_on(counter: Counter) -> None:
    beat(counter, NAMES[0], 3)
    with served(counter) as url:
        code, _ = piped("instance", "drain", "east", "--wait", "--timeout", "0.3", "--url", url)
        assert code == TIMED_OUT
        assert NAMES[0] in counter.facts.read_drains()
        done = json.loads(piped("instance", "status", "east", "--json", "--url", url)[1])["instances"]
        assert sum(worker["in_flight"] for worker in done[0]["workers"]) == 3
