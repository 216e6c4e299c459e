"""Reports of workers about their recent attempts, and the statistics of the fleet that follow from them.

A report has counts and a coarse histogram of the last seconds, so that reports can be added. Latencies are those of a
sample; the counts include all attempts.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from lbflask.core.answers import AnswerKey, Answers, rates
from lbflask.core.client_shares import ClientCounts, ClientRates, client_rates
from lbflask.core.discovery import SourceFailure
from lbflask.core.reserves import Reserves
from lbflask.core.slow_uploads import NO_UPLOADS, Uploads, summed_uploads

#: Seconds that a report covers.
WINDOW = 10.0

#: Four buckets for each doubling, from a tenth of a millisecond to half an hour: latencies are exact to a tenth.
_STEPS = 4
_SMALLEST = 0.0001
BUCKETS = 96
_MIDDLES = tuple(_SMALLEST * math.exp2((bucket + 0.5) / _STEPS) for bucket in range(BUCKETS))
#: The beginning of the id of a worker: its host and its pid.
_ID = re.compile(r"[^:]*:([0-9]{1,10}):")


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A worker process. `instance` is the name of its gunicorn, `config` the version of its configuration, `started` in
    seconds since the epoch, `expected` the number of workers that its gunicorn is configured to run, `master` the pid
    of that gunicorn; both are 0 if unknown. `boot` differs between machines, `lineage` between gunicorns, except
    between both of an upgrade; empty if unknown.
    """

    instance: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    config: str = ""
    started: float = 0.0
    expected: int = 0
    boot: str = ""
    lineage: str = ""
    master: int = 0


@dataclass(frozen=True, slots=True)
class BackendCounts:
    """Attempts at one backend, failed ones among them, and the latency histogram of a sample: counts by bucket."""

    attempts: int = 0
    failures: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waits:
    """Requests that wait for the first byte of a backend for a while: how many, and the seconds of the oldest one."""

    count: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The attempts of a worker in the last `seconds`, by backend. `clock` is its own, in seconds since the epoch.

    `stopping` is whether its server is in the delay before its stop, `attempts` counts all since its start. `answers`
    are those to all of its clients, whatever the pool; None from an instance that does not report them. `waits` has
    the backends with long waits. Recent TLS `handshakes` with clients are by result (core/handshakes.py).
    `reserves` has what the worker may run out of. `clients` has its recent requests by client; None from an instance
    that does not report them. `uploads` has the backends with uploads, `refused_clients` the requests
    that rate limits have refused by client; None for none.
    """

    identity: WorkerIdentity
    clock: float
    seconds: float
    served: Mapping[str, BackendCounts] = field(default_factory=dict)
    stopping: bool = False
    attempts: int = 0
    answers: Answers | None = None
    waits: Mapping[str, Waits] = field(default_factory=dict)
    handshakes: Mapping[str, int] = field(default_factory=dict)
    reserves: Reserves = field(default_factory=Reserves)
    clients: ClientCounts | None = None
    uploads: Mapping[str, Uploads] = field(default_factory=dict)
    refused_clients: ClientCounts | None = None


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

    @property
    def pid(self) -> int:
        """That of its report, or else of its id, as in `host:pid:…`; 0 if that has none."""
        if self.report is not None:
            return self.report.identity.pid
        match = _ID.match(self.id)
        return int(match[1]) if match else 0


@dataclass(frozen=True, slots=True)
class Roster:
    """The live workers of a pool, and its leading checker; empty for none. `now` is by the store's clock.

    `silent` has the workers that have sent no heartbeat for a while, and have not left: frozen, killed or cut off.

    `attempts` counts all attempts of the fleet by backend since the store has had the pool: only differences mean
    anything. `checkers` has all that run, leading or not. `source_failure` is that of its discovery source.
    """

    now: float
    leader: str = ""
    workers: tuple[Worker, ...] = ()
    silent: tuple[Worker, ...] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    checkers: tuple[str, ...] = ()
    source_failure: SourceFailure | None = None


@dataclass(frozen=True, slots=True)
class RecentStats:
    """The recent requests of the fleet to a backend. A latency is the time to the response head, in seconds.

    `error_share` is None without attempts, `p50` and `p99` are None without a response in the samples.
    `waiting` requests have waited for a first byte for a while, the oldest of them for `oldest_wait` seconds. `uploads`
    are under way.
    """

    in_flight: int = 0
    requests_per_second: float = 0.0
    error_share: float | None = None
    p50: float | None = None
    p99: float | None = None
    waiting: int = 0
    oldest_wait: float = 0.0
    uploads: Uploads = NO_UPLOADS


@dataclass(slots=True)
class _Sum:
    """The counts of several workers for one backend, and their attempts per second."""

    attempts: int
    failures: int
    rate: float
    buckets: dict[int, int]


_NOTHING, _NO_WAITS = _Sum(0, 0, 0.0, {}), Waits()


def bucket_of(seconds: float) -> int:
    """The bucket of a latency."""
    if seconds <= _SMALLEST:
        return 0
    return min(BUCKETS - 1, int(_STEPS * math.log2(seconds / _SMALLEST)))


def quantiles(buckets: Mapping[int, int], shares: Sequence[float]) -> list[float | None]:
    """The latencies that these shares of the requests do not exceed: the middle of a bucket; None without requests.

    A share is above 0.
    """
    ordered = sorted(buckets)
    reached = list(accumulate([buckets[bucket] for bucket in ordered]))
    if not reached or not reached[-1]:
        return [None] * len(shares)
    return [_MIDDLES[ordered[bisect_left(reached, share * reached[-1])]] for share in shares]


def upper_quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """As `quantiles`, but the upper end of the bucket: no more than the rest of the requests exceeds it."""
    (middle,) = quantiles(buckets, (share,))
    return None if middle is None else middle * math.exp2(0.5 / _STEPS)


def _added(reports: Iterable[WorkerReport]) -> dict[str, _Sum]:
    """The sum of several reports, by backend."""
    sums: dict[str, _Sum] = {}
    for report in reports:
        seconds = max(1.0, report.seconds)
        for backend, one in report.served.items():
            total = sums.get(backend)
            if total is None:
                sums[backend] = _Sum(one.attempts, one.failures, one.attempts / seconds, dict(one.buckets))
                continue
            total.attempts += one.attempts
            total.failures += one.failures
            total.rate += one.attempts / seconds
            buckets = total.buckets
            for bucket, count in one.buckets.items():
                buckets[bucket] = buckets.get(bucket, 0) + count
    return sums


def recent_answers(workers: Iterable[Worker]) -> dict[AnswerKey, float]:
    """The answers per second of all workers together, who may be listed once for each of their pools."""
    return rates(report.answers for report in _latest_reports(workers) if report.answers is not None)


def recent_clients(workers: Iterable[Worker]) -> ClientRates:
    """The requests per second of all workers together by client; workers as above."""
    return client_rates(report.clients for report in _latest_reports(workers) if report.clients is not None)


def recent_refused_clients(workers: Iterable[Worker]) -> ClientRates:
    """The same for requests that rate limits have refused."""
    reports = _latest_reports(workers)
    return client_rates(report.refused_clients for report in reports if report.refused_clients is not None)


def _latest_reports(workers: Iterable[Worker]) -> list[WorkerReport]:
    """The latest report of each worker."""
    latest: dict[str, Worker] = {}
    for worker in workers:
        known = latest.get(worker.id)
        if worker.report is not None and (known is None or known.reported < worker.reported):
            latest[worker.id] = worker
    return [worker.report for worker in latest.values() if worker.report is not None]


def summed_waits(reports: Iterable[WorkerReport]) -> dict[str, Waits]:
    """The waits of all workers together, by backend."""
    waits: dict[str, Waits] = {}
    for report in reports:
        for backend, one in report.waits.items():
            before = waits.get(backend, Waits())
            waits[backend] = Waits(before.count + one.count, max(before.oldest, one.oldest))
    return waits


def recent_stats(workers: Iterable[Worker]) -> dict[str, RecentStats]:
    """The statistics of all workers together, by backend; without backends that no worker reports."""
    workers = tuple(workers)
    in_flight: Counter[str] = Counter()
    for worker in workers:
        in_flight.update(worker.in_flight)
    reports = [worker.report for worker in workers if worker.report is not None]
    sums, waits = _added(reports), summed_waits(reports)
    uploads = summed_uploads(report.uploads for report in reports)
    return {
        backend: _recent(
            in_flight[backend],
            sums.get(backend, _NOTHING),
            waits.get(backend, _NO_WAITS),
            uploads.get(backend, NO_UPLOADS),
        )
        for backend in {*in_flight, *sums, *waits, *uploads}
    }


def _recent(in_flight: int, served: _Sum, waits: Waits, uploads: Uploads) -> RecentStats:
    share = min(1.0, served.failures / served.attempts) if served.attempts else None
    p50, p99 = quantiles(served.buckets, (0.5, 0.99))
    return RecentStats(in_flight, served.rate, share, p50, p99, waits.count, waits.oldest, uploads)
