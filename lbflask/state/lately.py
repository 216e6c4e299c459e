"""A worker's account of its latest attempts at the backends of one pool, kept in the background.

Requests pay one append to a short queue: latencies are those of the last responses of each second, and no more. All
that is counted was counted for the fleet anyway.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from lbflask.core.workers import WINDOW, Served, added, bucket_of

#: Responses of each second whose latency is looked at.
SAMPLE = 256


class Account:
    """What was done since `now`. Seconds are of the steady clock."""

    def __init__(self, now: float) -> None:
        latest: deque[Any] = deque(maxlen=SAMPLE)
        self._latest = latest
        #: Takes an attempt that brought a response: its backend, and the seconds until the head had come.
        self.sample: Callable[[Any], None] = latest.append
        self._attempts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._closed: deque[tuple[float, Mapping[str, Served]]] = deque()  # since when, what
        self._opened = now

    def count(self, attempts: Mapping[str, int]) -> None:
        """These attempts were made."""
        self._attempts.update(attempts)

    def failed(self, backend: str) -> None:
        """One of the attempts at the backend has failed."""
        self._failures[backend] += 1

    def close(self, now: float) -> tuple[float, dict[str, Served]]:
        """What was done in the last seconds, and in how many, up to now."""
        self._closed.append((self._opened, self._take()))
        self._opened = now
        while len(self._closed) > 1 and self._closed[0][0] < now - WINDOW * 1.05:
            self._closed.popleft()
        return now - self._closed[0][0], added(served for _, served in self._closed)

    def _take(self) -> dict[str, Served]:
        attempts, self._attempts = self._attempts, Counter()
        failures, self._failures = self._failures, Counter()
        buckets: dict[str, Counter[int]] = {}
        for _ in range(len(self._latest)):
            backend, seconds, *_rest = self._latest.popleft()
            buckets.setdefault(backend, Counter())[bucket_of(seconds)] += 1
        return {
            backend: Served(attempts[backend], failures[backend], buckets.get(backend, {}))
            for backend in {*attempts, *failures, *buckets}
        }
