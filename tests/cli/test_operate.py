"""Actions of the command line: reasons, and the last serving backend."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from lbflask.cli import main
from lbflask.cli.context import FAILED, USAGE
from lbflask.core.fleet_events import FleetEvent, Kind
from tests.cli.servers import served
from tests.control.servers import DOWN, UP, Counter


@pytest.fixture
def counter() -> Counter:
    counter = Counter()
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    return counter


def ran(counter: Counter, *arguments: str) -> Result:
    with served(counter) as url:
        return CliRunner().invoke(main, [*arguments, "--url", url], env={"LBFLASK_ADMIN_TOKEN": ""})


def test_a_reason_is_shown_with_the_state_and_the_event(counter: Counter) -> None:
    assert ran(counter, "drain", "two", "--reason", " ticket 123 ").exit_code == 0
    for command in ("status", "backends", "doctor"):
        assert "drained by local (127.0.0.1) since 22:13 UTC: ticket 123" in ran(counter, command).output
    assert "drain: ticket 123 by local" in ran(counter, "events").output
    assert ran(counter, "remove", "two", "--reason", "sold").exit_code == 0
    assert "two: removed by local (127.0.0.1) since" in ran(counter, "status").output


@pytest.mark.parametrize("arguments", [("drain", "two"), ("reload",), ("debug", "on"), ("instance", "drain", "one")])
def test_a_reason_of_several_lines_is_a_usage_error(counter: Counter, arguments: tuple[str, ...]) -> None:
    result = ran(counter, *arguments, "--reason", "a\nb")
    assert (result.exit_code, "must be one line of printable characters" in result.output) == (USAGE, True)
    assert counter.facts.read_events(1) == []


ACTIONS = (("drain",), ("off",), ("remove",), ("weight", "0"))


@pytest.mark.parametrize(("action", "value"), [(action, rest) for action, *rest in ACTIONS])
def test_the_last_serving_backend_stays_unless_forced(counter: Counter, action: str, value: list[str]) -> None:
    arguments = (action, "10.0.0.1:80", *value)
    result = ran(counter, *arguments)
    expected = (
        "lbflask: no other backend of pool 'default' serves: clients would get 503; --force does it all the same\n"
    )
    assert (result.exit_code, result.output) == (FAILED, expected)
    assert counter.overrides() == {}
    assert ran(counter, *arguments, "--force").exit_code == 0
    assert set(counter.overrides()) == {"10.0.0.1:80"}


def test_the_usual_weight_has_its_number(counter: Counter) -> None:
    assert ran(counter, "weight", "two", "usual").output == "two of pool default has weight 3, as before\n"
    ran(counter, "weight", "two", "7")
    assert ran(counter, "weight", "two", "usual").output == "two of pool default has weight 3\n"
    assert [event.reason for event in counter.facts.read_events(9)] == ["the configured weight", "weight 7"]


@pytest.mark.parametrize("weight", ["257", "²", "٣", "1.5", "", "9" * 5000])
def test_a_weight_that_is_none_is_refused(counter: Counter, weight: str) -> None:
    result = ran(counter, "weight", "two", weight)
    assert result.exit_code == 2
    assert result.stderr.endswith("Invalid value for WEIGHT: must be a number from 0 to 256, or `usual`\n")
    assert counter.overrides() == {}


@pytest.mark.parametrize(
    "option", [("--kind", "operator"), ("--who", "local"), ("--backend", "two"), ("--since", "1m")]
)
def test_events_are_selected(counter: Counter, option: tuple[str, str]) -> None:
    counter.facts.record([FleetEvent(Kind.HEALTH, "up", "default", "one", "", "checker:1:a")])
    counter.clock.advance(3600)
    ran(counter, "drain", "two")
    assert [line.split()[-4:-2] for line in ran(counter, "events", *option).output.splitlines()] == [["drain", "by"]]


@pytest.mark.parametrize("option", [("--kind", "weather"), ("--since", "yesterday"), ("--since", "10x")])
def test_a_selection_that_is_none_is_a_usage_error(counter: Counter, option: tuple[str, str]) -> None:
    result = ran(counter, "events", *option)
    assert (result.exit_code, repr(option[1]) in result.output) == (USAGE, True)
