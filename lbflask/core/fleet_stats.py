"""What workers say of themselves and of their latest attempts, and what that makes of the fleet together.

Each worker tells counts and a coarse histogram of the last seconds, which can simply be added up. Latencies are those
of a sample; the counts are of all attempts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Seconds that a report looks back.
WINDOW = 10.0

#: Four buckets to each doubling, from a tenth of a millisecond to half an hour: a latency is known to a tenth.
_STEPS = 4
_SMALLEST = 0.0001
BUCKETS = 96


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A worker process. `instance` names the gunicorn it belongs to, `config` the configuration that it has, `started`
    is in seconds since the epoch.
    """

    instance: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    config: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendCounts:
    """Attempts at one backend, those that failed, and how many responses of a sample took how long, by bucket."""

    attempts: int = 0
    failures: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of its last `seconds`, by backend. `clock` is its own, in seconds since the epoch."""

    identity: WorkerIdentity
    clock: float
    seconds: float
    served: Mapping[str, BackendCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a pool that beat at `at`, by the store's clock, with so many requests in flight by backend.

    `report` is None until it has made one that can be read; the latest came at `reported`, with this beat or before.
    """

    id: str
    at: float
    in_flight: Mapping[str, int]
    report: WorkerReport | None = None
    reported: float = 0.0


@dataclass(frozen=True, slots=True)
class Roster:
    """Who works for a pool: the living workers, and the checker that leads; empty if none does. `now` is by the store's
    clock.
    """

    now: float
    leader: str = ""
    workers: tuple[Worker, ...] = ()


@dataclass(frozen=True, slots=True)
class RecentStats:
    """What the fleet did at a backend in the last seconds. Latencies are in seconds until a response's head had come.

    `error_share` is None without attempts, `p50` and `p99` without a response in the samples.
    """

    in_flight: int = 0
    requests_per_second: float = 0.0
    error_share: float | None = None
    p50: float | None = None
    p99: float | None = None


def bucket_of(seconds: float) -> int:
    """The bucket of a latency."""
    if seconds <= _SMALLEST:
        return 0
    return min(BUCKETS - 1, int(_STEPS * math.log2(seconds / _SMALLEST)))


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """The latency that this share of all does not exceed, from the middle of its bucket; None if there are none."""
    total = sum(buckets.values())
    reached = 0
    for bucket in sorted(buckets):
        reached += buckets[bucket]
        if reached >= share * total and reached:
            return _SMALLEST * math.exp2((bucket + 0.5) / _STEPS)
    return None


def added(served: Iterable[Mapping[str, BackendCounts]]) -> dict[str, BackendCounts]:
    """Several accounts as one."""
    attempts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    buckets: dict[str, Counter[int]] = {}
    for account in served:
        for backend, one in account.items():
            attempts[backend] += one.attempts
            failures[backend] += one.failures
            buckets.setdefault(backend, Counter()).update(one.buckets)
    return {backend: BackendCounts(attempts[backend], failures[backend], found) for backend, found in buckets.items()}


def recent_stats(workers: Iterable[Worker]) -> dict[str, RecentStats]:
    """What the workers did together, by backend; those that nobody spoke of are left out."""
    workers = tuple(workers)
    in_flight: Counter[str] = Counter()
    rates: dict[str, float] = {}
    for worker in workers:
        in_flight.update(worker.in_flight)
        if worker.report is not None:
            for backend, served in worker.report.served.items():
                rates[backend] = rates.get(backend, 0.0) + served.attempts / max(1.0, worker.report.seconds)
    together = added(worker.report.served for worker in workers if worker.report is not None)
    return {
        backend: _recent(in_flight[backend], rates.get(backend, 0.0), together.get(backend, BackendCounts()))
        for backend in {*in_flight, *together}
    }


def _recent(in_flight: int, rate: float, served: BackendCounts) -> RecentStats:
    share = min(1.0, served.failures / served.attempts) if served.attempts else None
    return RecentStats(in_flight, rate, share, quantile(served.buckets, 0.5), quantile(served.buckets, 0.99))
