"""What a checker tells of what it does: once, in order, and of a storm only how many there were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lbflask.checker.event_outbox import MOST_EVENTS, EventOutbox
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend, Health
from lbflask.store.ports import StoreUnavailable

UP, DOWN = ActiveHealth(Health.UP, reason="connected"), ActiveHealth(Health.DOWN, reason="refused")
A, B, C = (Backend(name, name, 80, f"http://{name}:80") for name in "abc")


class Reader:
    """Whoever is told; while `away` it can't be."""

    def __init__(self) -> None:
        self.told: list[FleetEvent] = []
        self.away = False

    async def record(self, events: Sequence[FleetEvent]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.told += events


@pytest.fixture
def reader() -> Reader:
    return Reader()


def tell(journal: EventOutbox, reader: Reader) -> list[str]:
    """What it tells now."""
    before = len(reader.told)
    asyncio.run(journal.tell(reader.record))
    return [f"{event.what} {event.backend}".strip() for event in reader.told[before:]]


def test_a_lead_and_what_it_shows_are_told_once(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    journal.leads(1)
    journal.flips("a", UP, DOWN)
    assert tell(journal, reader) == ["leads", "down a"]
    assert tell(journal, reader) == []
    assert reader.told[1] == FleetEvent(Kind.HEALTH, "down", "web", "a", "refused (was up)", "me")


def test_the_same_lead_is_no_news(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    journal.leads(1)
    assert tell(journal, reader) == ["leads"]
    journal.leads(1)
    assert tell(journal, reader) == []
    journal.leads(2)
    assert tell(journal, reader) == ["leads"]


def test_who_lost_the_lead_does_not_tell_what_it_saw_before(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    journal.leads(1)
    journal.flips("a", UP, DOWN)
    journal.leads(2)
    assert tell(journal, reader) == ["leads"]


def test_what_could_not_be_told_is_told_later(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    journal.flips("a", UP, DOWN)
    reader.away = True
    with pytest.raises(StoreUnavailable):
        tell(journal, reader)
    journal.flips("b", UP, DOWN)
    reader.away = False
    assert tell(journal, reader) == ["down a", "down b"]


def test_of_a_storm_only_the_first_are_told_by_name(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    for number in range(MOST_EVENTS + 7):
        journal.flips(str(number), UP, DOWN)
    assert len(tell(journal, reader)) == MOST_EVENTS + 1
    assert reader.told[-1].what == "more"
    assert reader.told[-1].reason.endswith(": 7")
    assert tell(journal, reader) == []


def test_who_was_found_and_who_is_gone_is_told(reader: Reader) -> None:
    journal = EventOutbox("web", "me")
    journal.finds((A, B), (B, C))
    assert tell(journal, reader) == ["gone a", "found c"]
    journal.finds((B, C), (C, B))
    assert tell(journal, reader) == []
