"""Names with the times at which they are due. Times are in seconds of any monotonic clock, which the caller reads."""

from __future__ import annotations

import heapq


class DueQueue:
    """A priority queue that holds each name once; a new time replaces the previous one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._entries: dict[str, tuple[float, int, str]] = {}
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<DueQueue: {len(self._entries)} names, next at {self.next_due()}>"

    def put(self, name: str, due: float) -> None:
        """Schedule the name, behind those with the same time that were put before it."""
        self._sequence += 1
        entry = self._entries[name] = (due, self._sequence, name)
        heapq.heappush(self._heap, entry)

    def discard(self, name: str) -> None:
        """Remove the name, if it is scheduled."""
        self._entries.pop(name, None)

    def next_due(self) -> float | None:
        """The earliest time; None while the queue is empty."""
        heap, entries = self._heap, self._entries
        while heap and entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> tuple[str, float] | None:
        """Remove the earliest name that is due; returns it with its delay in seconds, or None if none is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, _, name = heapq.heappop(self._heap)
        del self._entries[name]
        return name, now - due
