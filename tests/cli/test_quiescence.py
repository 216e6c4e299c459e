"""The wait for the end of requests: by requests in flight and by attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from click.testing import CliRunner

from devtools.wait import PATIENCE
from lbflask.cli import main
from lbflask.cli.context import TIMED_OUT
from lbflask.store.ports import Beat
from tests.cli.servers import served
from tests.control.servers import Counter

STICKY = {"sticky": {"cookie": "LB"}}


@contextmanager
def short_requests(counter: Counter) -> Iterator[None]:
    """Attempts at backend `two` that are never in flight when they are read."""
    ends = Event()

    def attempt() -> None:
        while not ends.wait(0.05):
            counter.facts.beat("default", "host:1:a", Beat(attempts={"two": 1}), read=False)

    thread = Thread(target=attempt)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(PATIENCE)


def lines(counter: Counter, *arguments: str, code: int = 0) -> list[str]:
    with served(counter) as url:
        result = CliRunner().invoke(main, [*arguments, "--url", url], env={"LBFLASK_ADMIN_TOKEN": ""})
    assert result.exit_code == code, result.output
    return [line for line in result.output.splitlines() if line.strip()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "command", "text"),
    [
        (STICKY, "drain", "sticky sessions still send"),
        ({}, "drain", "requests still arrive:"),
        (STICKY, "off", "not every instance applies the change"),
    ],
)
def test_short_requests_are_seen_between_two_samples(settings: dict[str, object], command: str, text: str) -> None:
    counter = Counter(**settings)
    with short_requests(counter):
        shown = lines(counter, command, "two", "--wait", "--timeout", "5", code=TIMED_OUT)
    assert text in shown[0]
    assert "not quiet after 5 s" in shown[-1]
    assert text in shown[-1]
    assert "in flight" not in shown[-1]


def test_the_reason_at_the_time_out_is_never_that_nothing_is_in_flight() -> None:
    shown = lines(Counter(), "drain", "two", "--wait", "--timeout", "0.3", code=TIMED_OUT)
    assert shown[-1].endswith("goes on: it has been quiet for less than 2 s")


def test_requests_in_flight_are_named_at_the_time_out() -> None:
    counter = Counter()
    counter.facts.beat("default", "host:1:a", Beat({"two": 3}), read=False)
    shown = lines(counter, "drain", "two", "--wait", "--timeout", "0.3", code=TIMED_OUT)
    assert shown[-1].endswith("goes on: 3 in flight")


@pytest.mark.parametrize(("command", "state"), [("drain", "drained"), ("off", "off")])
def test_it_ends_when_nothing_is_in_flight_and_nothing_comes(command: str, state: str) -> None:
    counter = Counter(**STICKY)
    counter.facts.beat("default", "host:1:a", Beat(attempts={"two": 9}), read=False)
    shown = lines(counter, command, "two", "--wait", "--timeout", "60")
    expected = f"two of pool default is {state}: nothing is in flight, and no request came for 2 s"
    assert shown[-1].startswith(expected)
    assert ("`lbflask off two`" in shown[-1]) == (command == "drain")
