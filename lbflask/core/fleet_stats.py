"""Reports of workers about their recent attempts, and the statistics of the fleet that follow from them.

A report has counts and a coarse histogram of the last seconds, so that reports can be added. Latencies are those of a
sample; the counts include all attempts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Seconds that a report covers.
WINDOW = 10.0

#: Four buckets for each doubling, from a tenth of a millisecond to half an hour: latencies are exact to a tenth.
_STEPS = 4
_SMALLEST = 0.0001
BUCKETS = 96


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A worker process. `instance` is the name of its gunicorn, `config` the version of its configuration, `started` in
    seconds since the epoch.
    """

    instance: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    config: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendCounts:
    """Attempts at one backend, failed ones among them, and the latency histogram of a sample: counts by bucket."""

    attempts: int = 0
    failures: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The attempts of a worker in the last `seconds`, by backend. `clock` is its own, in seconds since the epoch."""

    identity: WorkerIdentity
    clock: float
    seconds: float
    served: Mapping[str, BackendCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a pool, its last heartbeat `at` (the store's clock), and its requests in flight by backend.

    `report` is its latest valid report, which arrived at `reported`; None without one.
    """

    id: str
    at: float
    in_flight: Mapping[str, int]
    report: WorkerReport | None = None
    reported: float = 0.0


@dataclass(frozen=True, slots=True)
class Roster:
    """The live workers of a pool, and its leading checker; empty for none. `now` is by the store's clock."""

    now: float
    leader: str = ""
    workers: tuple[Worker, ...] = ()


@dataclass(frozen=True, slots=True)
class RecentStats:
    """The recent requests of the fleet to a backend. A latency is the time to the response head, in seconds.

    `error_share` is None without attempts, `p50` and `p99` are None without a response in the samples.
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
    """The latency that this share of the requests does not exceed: the middle of its bucket; None without requests."""
    total = sum(buckets.values())
    reached = 0
    for bucket in sorted(buckets):
        reached += buckets[bucket]
        if reached >= share * total and reached:
            return _SMALLEST * math.exp2((bucket + 0.5) / _STEPS)
    return None


def added(served: Iterable[Mapping[str, BackendCounts]]) -> dict[str, BackendCounts]:
    """The sum of several reports, by backend."""
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
    """The statistics of all workers together, by backend; without backends that no worker reports."""
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
