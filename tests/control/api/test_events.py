"""The selection of events."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from lbflask.core.fleet_events import FleetEvent, Kind
from tests.control.servers import Counter


@pytest.fixture(scope="module")
def counter() -> Counter:
    """Ten events of each kind, one each second, with those of backend `two` far below the others."""
    counter = Counter()
    for number in range(10):
        counter.facts.record([FleetEvent(Kind.OPERATOR, "drain", "default", "two", f"old {number}", "alice (::1)")])
        counter.clock.advance(1)
    for number in range(600):
        counter.facts.record([FleetEvent(Kind.HEALTH, "up", "default", "one", f"{number}", "checker:1:a")])
    return counter


def reasons(counter: Counter, **query: Any) -> list[str]:
    return [event["reason"] for event in counter.get(f"/events?{urlencode(query)}")["events"]]


OLD = [f"old {number}" for number in range(10)][::-1]


@pytest.mark.parametrize("query", [{"kind": "operator"}, {"who": "alice"}, {"backend": "two"}])
def test_events_are_selected_also_far_back(counter: Counter, query: dict[str, str]) -> None:
    assert reasons(counter, **query) == OLD


def test_events_are_selected_from_a_moment_on(counter: Counter) -> None:
    assert reasons(counter, kind="operator", since=counter.clock() - 3) == OLD[:3]
    assert reasons(counter, since=counter.clock() + 1) == []


def test_pages_continue_a_selection(counter: Counter) -> None:
    page = counter.get("/events?kind=operator&limit=4")
    rest = reasons(counter, kind="operator", before=page["before"])
    assert [event["reason"] for event in page["events"]] + rest == OLD


def test_a_stream_has_the_selected_events_only(counter: Counter) -> None:
    first = counter.facts.follow_events("", 1)[0].id
    answer = counter.ask("GET", "/events/stream?kind=operator", headers={"Last-Event-ID": first})
    pieces = iter(answer.response)
    text = ""
    while "old 9" not in text:
        piece = next(pieces)
        text += piece if isinstance(piece, str) else piece.decode()
    data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["reason"] for event in data] == OLD[-2::-1]
    answer.close()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"kind": "weather"}, "kind"),
        ({"since": "yesterday"}, "since"),
        ({"since": "-1"}, "since"),
        ({"since": "inf"}, "since"),
        ({"who": "x" * 101}, "who"),
        ({"backend": "x" * 401}, "backend"),
    ],
)
def test_an_invalid_value_is_an_error_with_its_name(counter: Counter, query: dict[str, str], name: str) -> None:
    for path in ("/events", "/events/stream"):
        assert counter.act("GET", f"{path}?{urlencode(query)}", 400)["detail"].startswith(f"{name}: ")
