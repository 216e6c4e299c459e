"""The events of a MemoryStore."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lbflask.core.fleet_events import FleetEvent
from lbflask.store import fleet_records, ports


class MemoryEvents:
    """The latest events. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[FleetEvent] = deque(maxlen=ports.MAX_EVENTS)

    def __repr__(self) -> str:
        return f"<MemoryEvents {len(self._events)}>"

    def add(self, events: Sequence[FleetEvent], at: int, numbers: Iterator[int]) -> None:
        """Append events that are recorded at this time, in milliseconds, with the next of these numbers."""
        with self._lock:
            self._events += [replace(event, id=f"{at}-{next(numbers)}") for event in events]

    def clear(self) -> None:
        """Delete all events."""
        with self._lock:
            self._events.clear()

    def latest(self, count: int, *, before: str = "") -> list[FleetEvent]:
        """As `read_events` of ports.py."""
        limit = _order(before) if before else None
        with self._lock:
            return [event for event in reversed(self._events) if limit is None or _order(event.id) < limit][:count]

    def following(self, after: str, count: int) -> list[FleetEvent]:
        """As `follow_events` of ports.py."""
        limit = _order(after) if after else (-1, -1)
        with self._lock:
            return [event for event in self._events if _order(event.id) > limit][:count]


def _order(event: str) -> tuple[int, int]:
    """The sort key of the event with this id. Raises ValueError."""
    at, _, number = fleet_records.event_id(event).partition("-")
    return int(at), int(number)
