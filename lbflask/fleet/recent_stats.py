"""Statistics of a worker's latest attempts at the backends of one pool, computed in the background.

A request costs one append to a bounded queue, so latencies are those of the last responses of each second. The counts
are those that the fleet needs anyway.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbflask.core.fleet_stats import WINDOW, BackendCounts, bucket_of, upper_quantile
from lbflask.core.hedging import hedge_delay
from lbflask.telemetry.events import AttemptEvent

#: Limit of the responses of one second whose latency is counted.
SAMPLE = 256


@dataclass(slots=True)
class _Window:
    """Counts from `since` on: attempts and failures by backend, and sampled responses by backend and latency bucket."""

    since: float
    attempts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: Counter[tuple[str, int]] = field(default_factory=Counter)

    def counters(self) -> tuple[Counter[Any], ...]:
        """All counts."""
        return self.attempts, self.failures, self.latencies

    def add(self, part: _Window, times: int) -> None:
        """Add the counts of a part so many times; entries that become zero are removed."""
        for total, counts in zip(self.counters(), part.counters(), strict=True):
            for key, count in counts.items():
                total[key] += times * count
                if not total[key]:
                    del total[key]


class SlidingStats:
    """Counts over the last WINDOW seconds, by the steady clock.

    Each call of `close` ends one part of the window, and updates the sum of all parts: it costs time in the attempts
    since the last call, not in those of the whole window.
    """

    def __init__(self, now: float) -> None:
        latest: deque[AttemptEvent] = deque(maxlen=SAMPLE)
        self._latest = latest
        #: Takes an attempt that brought a response: its backend, and the seconds until the head was received.
        self.sample: Callable[[AttemptEvent], None] = latest.append
        self._current = _Window(now)
        self._ended: deque[_Window] = deque()
        self._sum = _Window(now)  # of the ended parts
        self.attempts = 0  #: all attempts that were counted
        self._hedge_delays: dict[float, float] = {}  # since the last `close`

    def __repr__(self) -> str:
        return f"<SlidingStats attempts={dict(self._sum.attempts)} failures={dict(self._sum.failures)}>"

    def count(self, attempts: Mapping[str, int]) -> None:
        """Count these attempts; those with a negative count were not made."""
        self.attempts += sum(attempts.values())
        self._current.attempts.update(attempts)

    def failed(self, backend: str) -> None:
        """Count one failed attempt at the backend."""
        self._current.failures[backend] += 1

    def hedge_delay(self, share: float) -> float:
        """Seconds after which a request is slower than this share of those of the latest seconds (core/hedging.py)."""
        delay = self._hedge_delays.get(share)
        if delay is None:
            buckets: Counter[int] = Counter()
            for (_, bucket), count in tuple(self._sum.latencies.items()):
                buckets[bucket] += count
            delay = self._hedge_delays[share] = hedge_delay(upper_quantile(buckets, share), buckets.total())
        return delay

    def close(self, now: float) -> tuple[float, dict[str, BackendCounts]]:
        """The counts of the latest seconds, and their number."""
        part, self._current = self._current, _Window(now)
        for _ in range(len(self._latest)):
            attempt = self._latest.popleft()
            part.latencies[attempt.backend, bucket_of(attempt.seconds)] += 1
        self._ended.append(part)
        self._sum.add(part, 1)
        while len(self._ended) > 1 and self._ended[0].since < now - WINDOW * 1.05:
            self._sum.add(self._ended.popleft(), -1)
        self._hedge_delays.clear()
        return now - self._ended[0].since, self._counts()

    def _counts(self) -> dict[str, BackendCounts]:
        buckets: dict[str, dict[int, int]] = {}
        for (backend, bucket), count in self._sum.latencies.items():
            buckets.setdefault(backend, {})[bucket] = count
        attempts, failures = self._sum.attempts, self._sum.failures
        return {
            backend: BackendCounts(attempts[backend], failures[backend], buckets.get(backend, {}))
            for backend in {**attempts, **failures, **buckets}
        }
