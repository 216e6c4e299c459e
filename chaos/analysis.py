"""Evaluates the records of a scenario. Without I/O; times are of the monotonic clock unless stated otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from devtools.report import Check, number, percentile

#: Milliseconds that the p99 before counts as at least, when three times as much is allowed.
FLOOR = 5.0
TIMES = 3.0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A request: when it was due and when it ended, the ports of the instance and of the client, and the failure. The
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
    def of(cls, asked: Iterable[LoadRequest], began: float, trouble: float, over: float) -> Phases:
        """By when requests were due; those from before `began` are left out, but count when they fail."""
        phases = cls([], [], [])
        for request in asked:
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
        """That requests waited no longer during the trouble."""
        before, during, _ = self.p99
        what = f"p99 during, with {number(max(before, FLOOR))} ms before"
        return Check(what, during, TIMES * max(before, FLOOR), "ms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario. `converged` is in seconds, NaN where nothing has to."""

    name: str
    requests: int
    failed: int
    p99: tuple[float, float, float]
    converged: float
    checks: list[Check]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether all targets are."""
        return all(check.met for check in self.checks)

    def row(self) -> list[str]:
        """As a line of the table."""
        shown = ["" if math.isnan(value) else number(value) for value in (*self.p99, self.converged)]
        return [self.name, f"{self.requests:,}", f"{self.failed:,}", *shown, "pass" if self.met else "FAIL"]


Good = Callable[[HealthSample], bool]

HEAD = ["scenario", "requests", "failed", "p99 before, ms", "during", "after", "converged in s", ""]


def p99(asked: Iterable[LoadRequest]) -> float:
    """Milliseconds of those that were answered, and are not slow on purpose; NaN of none."""
    return percentile([r.ended - r.due for r in asked if not r.failure and not r.slow], 99) * 1000


def failures(asked: Iterable[LoadRequest], but: str = "") -> list[LoadRequest]:
    """Those that failed, but for one kind of failure."""
    return [request for request in asked if request.failure and request.failure != but]


def settled(sights: Sequence[HealthSample], workers: Collection[tuple[int, int]], since: float, good: Good) -> float:
    """Seconds from `since` until each of these workers says what is good, and says nothing else from then on.

    Infinite when one does not, or was never heard.
    """
    latest = 0.0
    for worker in workers:
        first = math.inf
        for sight in sights:
            if sight.worker == worker and sight.moment >= since:
                first = min(first, sight.moment) if good(sight) else math.inf
        latest = max(latest, first - since)
    return latest


def first_word(sights: Sequence[HealthSample], workers: Collection[tuple[int, int]], since: float, good: Good) -> float:
    """Seconds from `since` until each of these workers has said what is good for the first time; else infinite."""
    words = [sight for sight in sights if sight.moment >= since and good(sight)]
    waits = ([sight.moment - since for sight in words if sight.worker == worker] for worker in workers)
    return max(min(wait, default=math.inf) for wait in waits)


def under_way(asked: Iterable[LoadRequest], locals_: Collection[int], since: float, until: float) -> list[LoadRequest]:
    """The requests on connections from these ports that were under way at some moment of this stretch."""
    return [r for r in asked if r.local in locals_ and r.due <= until and r.ended >= since]


def late(moments: Iterable[float], since: float) -> int:
    """How many of the moments lie after this one."""
    return sum(1 for moment in moments if moment > since)
