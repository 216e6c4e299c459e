"""Fleet events of a checker: recorded once and in order; of a storm only the number of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lbflask.checker.event_outbox import MAX_EVENTS, EventOutbox
from lbflask.core.answer_shares import ShareChange
from lbflask.core.answers import AnswerKey
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend, Health
from lbflask.store.ports import StoreUnavailable

UP, DOWN = ActiveHealth(Health.UP, reason="connected"), ActiveHealth(Health.DOWN, reason="refused")
A, B, C = (Backend(name, name, 80, f"http://{name}:80") for name in "abc")


class FakeLog:
    """Records events, unless it is `unavailable`."""

    def __init__(self) -> None:
        self.events: list[FleetEvent] = []
        self.unavailable = False

    async def record(self, events: Sequence[FleetEvent]) -> None:
        if self.unavailable:
            raise StoreUnavailable("away")
        self.events += events


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


def flush(outbox: EventOutbox, log: FakeLog) -> list[str]:
    """The events that it records now."""
    before = len(log.events)
    asyncio.run(outbox.flush(log.record))
    return [f"{event.what} {event.backend}".strip() for event in log.events[before:]]


def test_a_lead_and_what_it_shows_are_recorded_once(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.lead_began(1)
    outbox.health_changed("a", UP, DOWN)
    assert flush(outbox, log) == ["leads", "down a"]
    assert flush(outbox, log) == []
    assert log.events[1] == FleetEvent(Kind.HEALTH, "down", "web", "a", "refused (was up)", "me")


def test_the_same_lead_is_no_news(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.lead_began(1)
    assert flush(outbox, log) == ["leads"]
    outbox.lead_began(1)
    assert flush(outbox, log) == []
    outbox.lead_began(2)
    assert flush(outbox, log) == ["leads"]


def test_after_a_lost_lead_earlier_events_are_not_recorded(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.lead_began(1)
    outbox.health_changed("a", UP, DOWN)
    outbox.lead_began(2)
    assert flush(outbox, log) == ["leads"]


def test_what_could_not_be_recorded_is_recorded_later(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.health_changed("a", UP, DOWN)
    log.unavailable = True
    with pytest.raises(StoreUnavailable):
        flush(outbox, log)
    outbox.health_changed("b", UP, DOWN)
    log.unavailable = False
    assert flush(outbox, log) == ["down a", "down b"]


def test_of_a_storm_only_the_first_are_recorded_by_name(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    for number in range(MAX_EVENTS + 7):
        outbox.health_changed(str(number), UP, DOWN)
    assert len(flush(outbox, log)) == MAX_EVENTS + 1
    assert log.events[-1].what == "more"
    assert log.events[-1].reason.startswith("7 more ")
    assert flush(outbox, log) == []


def test_of_a_storm_changes_of_answers_are_counted_too(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    for number in range(MAX_EVENTS):
        outbox.health_changed(str(number), UP, DOWN)
    outbox.answers_changed(ShareChange(AnswerKey("503", "no_backend", "web"), True, 0.5, 0.0, 20.0))
    assert len(flush(outbox, log)) == MAX_EVENTS + 1
    assert log.events[-1].reason.startswith("1 more ")


def test_found_and_gone_members_are_recorded(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.members_discovered((A, B), (B, C))
    assert flush(outbox, log) == ["gone a", "found c"]
    outbox.members_discovered((B, C), (C, B))
    assert flush(outbox, log) == []
