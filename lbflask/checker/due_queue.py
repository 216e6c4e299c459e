"""Who is due when. The time is handed in, in seconds of any steady clock."""

from __future__ import annotations

import heapq


class DueQueue:
    """Moments by name, the earliest first. A name is due once; a new moment takes the place of the old one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._entries: dict[str, tuple[float, int, str]] = {}
        self._put = 0

    def put(self, name: str, moment: float) -> None:
        """The name is due at this moment, after those that were put for the same moment before it."""
        self._put += 1
        entry = self._entries[name] = (moment, self._put, name)
        heapq.heappush(self._heap, entry)

    def drop(self, name: str) -> None:
        """The name is due no more."""
        self._entries.pop(name, None)

    def next(self) -> float | None:
        """The earliest moment at which one is due; None while nobody is."""
        heap, entries = self._heap, self._entries
        while heap and entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now: float) -> tuple[str, float] | None:
        """The first that is due, and since how many seconds; it is on the schedule no longer. None if nobody is due."""
        moment = self.next()
        if moment is None or moment > now:
            return None
        _, _, name = heapq.heappop(self._heap)
        del self._entries[name]
        return name, now - moment
