"""Evaluates the records of a scenario. Without I/O; times are of the monotonic clock unless stated otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from devtools.report import Check, number, percentile

#: Lower bound, in milliseconds, of the p99 before a failure; TIMES as much is allowed during it.
FLOOR = 5.0
TIMES = 3.0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A request: when it was due, when it ended, the ports of the instance and of the client, and the failure. The
    times of requests that are `slow` on purpose do not count.
    """

    due: float
    ended: float
    port: int
    local: int
    failure: str = ""
    slow: bool = False


@dataclass(frozen=True, slots=True)
class HealthSample:
    """A worker's /health document, of the instance on this admin port. `unknown` is the number of
    backends whose health is unknown to it.
    """

    moment: float
    port: int
    pid: int
    status: str
    store: str
    silent_for: float | None
    unknown: int = 0
    ejected: tuple[str, ...] = ()

    @property
    def worker(self) -> tuple[int, int]:
        """The instance and the worker."""
        return self.port, self.pid


@dataclass(frozen=True, slots=True)
class Phases:
    """The traffic before, during and after."""

    before: list[LoadRequest]
    during: list[LoadRequest]
    after: list[LoadRequest]

    @classmethod
    def of(cls, requests: Iterable[LoadRequest], began: float, trouble: float, over: float) -> Phases:
        """Sorted by the time when they were due. Those before `began` are omitted unless they failed."""
        phases = cls([], [], [])
        for request in requests:
            if request.due >= over:
                phases.after.append(request)
            elif request.due >= trouble:
                phases.during.append(request)
            elif request.due >= began or request.failure:
                phases.before.append(request)
        return phases

    @property
    def p99(self) -> tuple[float, float, float]:
        """Milliseconds."""
        return p99(self.before), p99(self.during), p99(self.after)

    @property
    def all(self) -> list[LoadRequest]:
        """Of all phases."""
        return [*self.before, *self.during, *self.after]

    def calm(self) -> Check:
        """A check that requests took no longer during the failure."""
        before, during, _ = self.p99
        what = f"p99 during, with {number(max(before, FLOOR))} ms before"
        return Check(what, during, TIMES * max(before, FLOOR), "ms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a scenario. `converged` is in seconds, NaN where nothing has to converge."""

    name: str
    requests: int
    failed: int
    p99: tuple[float, float, float]
    converged: float
    checks: list[Check]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether all targets are met."""
        return all(check.met for check in self.checks)

    def row(self) -> list[str]:
        """The row of the table."""
        shown = ["" if math.isnan(value) else number(value) for value in (*self.p99, self.converged)]
        return [self.name, f"{self.requests:,}", f"{self.failed:,}", *shown, "pass" if self.met else "FAIL"]


Good = Callable[[HealthSample], bool]

HEAD = ["scenario", "requests", "failed", "p99 before, ms", "during", "after", "converged in s", ""]


def p99(requests: Iterable[LoadRequest]) -> float:
    """Milliseconds of those that succeeded, without those that are slow on purpose; NaN without any."""
    return percentile([r.ended - r.due for r in requests if not r.failure and not r.slow], 99) * 1000


def failures(requests: Iterable[LoadRequest], but: str = "") -> list[LoadRequest]:
    """The requests that failed, without one kind of failure."""
    return [request for request in requests if request.failure and request.failure != but]


def settled(samples: Sequence[HealthSample], workers: Collection[tuple[int, int]], since: float, good: Good) -> float:
    """Seconds from `since` until the samples of each of these workers are good, and stay good.

    Infinite if those of one do not, or if it has none.
    """
    latest = 0.0
    for worker in workers:
        first = math.inf
        for sample in samples:
            if sample.worker == worker and sample.moment >= since:
                first = min(first, sample.moment) if good(sample) else math.inf
        latest = max(latest, first - since)
    return latest


def first_match(
    samples: Sequence[HealthSample], workers: Collection[tuple[int, int]], since: float, good: Good
) -> float:
    """Seconds from `since` until each of these workers has had its first good sample; infinite if one has none."""
    matches = [sample for sample in samples if sample.moment >= since and good(sample)]
    waits = ([sample.moment - since for sample in matches if sample.worker == worker] for worker in workers)
    return max(min(wait, default=math.inf) for wait in waits)


def under_way(
    requests: Iterable[LoadRequest], locals_: Collection[int], since: float, until: float
) -> list[LoadRequest]:
    """The requests on connections from these ports that were under way at any time from `since` to `until`."""
    return [r for r in requests if r.local in locals_ and r.due <= until and r.ended >= since]


def late(moments: Iterable[float], since: float) -> int:
    """The number of moments after `since`."""
    return sum(1 for moment in moments if moment > since)
