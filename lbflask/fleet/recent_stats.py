"""A worker's account of its latest attempts at the backends of one pool, kept in the background.

Requests pay one append to a short queue: latencies are those of the last responses of each second, and no more. All
that is counted was counted for the fleet anyway.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lbflask.core.fleet_stats import WINDOW, BackendCounts, bucket_of
from lbflask.telemetry.events import AttemptEvent

#: Responses of each second whose latency is looked at.
SAMPLE = 256

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Window:
    """What was done since a moment: attempts and failures by backend, and responses of the sample by backend and bucket
    of their latency.
    """

    since: float
    attempts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: Counter[tuple[str, int]] = field(default_factory=Counter)


class SlidingStats:
    """What was done since `now`. Seconds are of the steady clock.

    A page is begun with each look, and the sum of those within the window kept, so that a look costs what has happened
    since the last one, and not what happened in all of the window.
    """

    def __init__(self, now: float) -> None:
        latest: deque[AttemptEvent] = deque(maxlen=SAMPLE)
        self._latest = latest
        #: Called with each attempt that brought a response.
        self.sample: Callable[[AttemptEvent], None] = latest.append
        self._page = _Window(now)
        self._pages: deque[_Window] = deque()  # those that are complete
        self._sum = _Window(now)  # of those

    def count(self, attempts: Mapping[str, int]) -> None:
        """These attempts were made."""
        self._page.attempts.update(attempts)

    def failed(self, backend: str) -> None:
        """One of the attempts at the backend has failed."""
        self._page.failures[backend] += 1

    def close(self, now: float) -> tuple[float, dict[str, BackendCounts]]:
        """What was done in the last seconds, and in how many, up to now."""
        page, self._page = self._page, _Window(now)
        for _ in range(len(self._latest)):
            attempt = self._latest.popleft()
            page.latencies[attempt.backend, bucket_of(attempt.seconds)] += 1
        self._pages.append(page)
        self._add(page, 1)
        while len(self._pages) > 1 and self._pages[0].since < now - WINDOW * 1.05:
            self._add(self._pages.popleft(), -1)
        return now - self._pages[0].since, self._served()

    def _add(self, page: _Window, times: int) -> None:
        _add(self._sum.attempts, page.attempts, times)
        _add(self._sum.failures, page.failures, times)
        _add(self._sum.latencies, page.latencies, times)

    def _served(self) -> dict[str, BackendCounts]:
        buckets: dict[str, dict[int, int]] = {}
        for (backend, bucket), count in self._sum.latencies.items():
            buckets.setdefault(backend, {})[bucket] = count
        attempts, failures = self._sum.attempts, self._sum.failures
        return {
            backend: BackendCounts(attempts[backend], failures[backend], buckets.get(backend, {}))
            for backend in {**attempts, **failures, **buckets}
        }


def _add(total: Counter[Key], counts: Mapping[Key, int], times: int) -> None:
    """Add the counts so many times; what comes to nothing is forgotten."""
    for key, count in counts.items():
        total[key] += times * count
        if not total[key]:
            del total[key]
