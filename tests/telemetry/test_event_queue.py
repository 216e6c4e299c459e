"""What has happened, handed on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from devtools.wait import eventually
from lbflask.telemetry.event_queue import BATCH, MAX_PENDING, EventQueue, TimedEvent
from tests.telemetry.events import event


class Notes:
    """A reader that keeps all it is told."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.lost = 0

    @property
    def targets(self) -> list[str]:
        return [target for batch in self.batches for target in batch]

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        self.batches.append([told.target for told, _ in batch])

    def dropped(self, count: int) -> None:
        self.lost += count


class Broken(Notes):
    def consume(self, batch: Sequence[TimedEvent]) -> None:
        raise ZeroDivisionError


def test_every_sink_gets_all_events_in_order_and_in_batches() -> None:
    one, other = Notes(), Notes()
    journal = EventQueue([one, other])
    said = [str(number) for number in range(BATCH * 2 + 5)]
    for target in said:
        journal(event(target=target))
    journal.flush()
    assert one.targets == other.targets == said
    assert [len(batch) for batch in one.batches] == [BATCH, BATCH, 5]


def test_events_are_passed_on_in_the_background_and_the_rest_at_the_stop() -> None:
    notes = Notes()
    journal = EventQueue([notes])
    journal.start()
    journal(event(target="/soon"))
    eventually(lambda: notes.targets == ["/soon"], "it is told")
    journal(event(target="/last"))
    journal.stop()
    assert notes.targets == ["/soon", "/last"]


def test_sinks_are_called_without_events_too() -> None:
    notes = Notes()
    EventQueue([notes]).flush()
    assert notes.batches == [[]]


def test_events_beyond_the_limit_are_dropped_and_every_sink_gets_their_number() -> None:
    one, other = Notes(), Notes()
    journal = EventQueue([one, other])
    told = event()
    for _ in range(MAX_PENDING + 3):
        journal(told)
    journal.flush()
    assert (len(one.targets), one.lost, other.lost) == (MAX_PENDING, 3, 3)


def test_a_reader_that_fails_is_reported_once_and_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = Notes()
    journal = EventQueue([Broken(), notes])
    with caplog.at_level(logging.ERROR, "lbflask"):
        for target in ("/1", "/2"):
            journal(event(target=target))
            journal.flush()
    assert notes.targets == ["/1", "/2"]
    assert [record.message for record in caplog.records] == ["Broken failed to process events"]
