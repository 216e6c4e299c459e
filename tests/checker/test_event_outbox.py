"""What a checker tells of what it does: once, in order, and of a storm only how many there were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lbflask.checker.event_outbox import MAX_EVENTS, EventOutbox
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend, Health
from lbflask.store.ports import StoreUnavailable

UP, DOWN = ActiveHealth(Health.UP, reason="connected"), ActiveHealth(Health.DOWN, reason="refused")
A, B, C = (Backend(name, name, 80, f"http://{name}:80") for name in "abc")


class FakeLog:
    """Whoever is told; while `away` it can't be."""

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
    """What it tells now."""
    before = len(log.events)
    asyncio.run(outbox.flush(log.record))
    return [f"{event.what} {event.backend}".strip() for event in log.events[before:]]


def test_a_lead_and_what_it_shows_are_told_once(log: FakeLog) -> None:
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


def test_who_lost_the_lead_does_not_tell_what_it_saw_before(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.lead_began(1)
    outbox.health_changed("a", UP, DOWN)
    outbox.lead_began(2)
    assert flush(outbox, log) == ["leads"]


def test_what_could_not_be_told_is_told_later(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.health_changed("a", UP, DOWN)
    log.unavailable = True
    with pytest.raises(StoreUnavailable):
        flush(outbox, log)
    outbox.health_changed("b", UP, DOWN)
    log.unavailable = False
    assert flush(outbox, log) == ["down a", "down b"]


def test_of_a_storm_only_the_first_are_told_by_name(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    for number in range(MAX_EVENTS + 7):
        outbox.health_changed(str(number), UP, DOWN)
    assert len(flush(outbox, log)) == MAX_EVENTS + 1
    assert log.events[-1].what == "more"
    assert log.events[-1].reason.startswith("7 more ")
    assert flush(outbox, log) == []


def test_who_was_found_and_who_is_gone_is_told(log: FakeLog) -> None:
    outbox = EventOutbox("web", "me")
    outbox.members_discovered((A, B), (B, C))
    assert flush(outbox, log) == ["gone a", "found c"]
    outbox.members_discovered((B, C), (C, B))
    assert flush(outbox, log) == []
