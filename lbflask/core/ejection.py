"""Passive ejection: failed requests take a backend out of service for a time.

A window opens with a failure and lasts `window` seconds. Within it failures are compared with successes since it
opened, so that earlier successes cannot hide a dead backend, and a healthy fleet has nothing to count. A backend is
ejected when its failures exceed its successes by `failures`: one that responds 500 to every request is at once.

A window in which successes prevail leaves a part of their lead to the one that opens with the next failure. A backend
that fails now and then keeps that lead, so that a share of failures below a half hardly ever ejects, at any rate of
requests. `python -m benchmarks.ejection_shares` simulates it.

A probe ends an ejection: from `until` on, the fleet sends one request to the backend, and its outcome decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbflask.core import retry
from lbflask.core.faults import Blame, ClientLeft, Fault, Stage
from lbflask.core.model import ActiveHealth, Ejection, Health

#: The weight of a failed connection, where other failures have 1: with `failures` 5 three of these are enough.
CONNECT_WEIGHT = 2
#: A window ends with twice as many attempts, before its time: a busy backend that dies must not have to make up for all
#: that went well in seconds. The next one begins with two thirds of the attempts of the last one, and at most so many.
KEPT_ATTEMPTS = 500
#: A failure so many windows after one has opened opens one that begins with nothing.
FORGOTTEN_WINDOWS = 3
#: The statuses of responses that are failures of the backend: not those about the request (RFC 9110 §15.6.2, §15.6.6).
FAILURES = frozenset(range(500, 600)) - {501, 505}


@dataclass(frozen=True, slots=True)
class EjectionPolicy:
    """When backends of a pool are ejected, and for how long; times in seconds. `failures` 0 ejects none.

    A client that leaves after a backend was silent for `silence` is a failure of the backend; 0 for never.

    `members` are the ids of the backends that take traffic: at most `max_percent` of them are ejected at once, and
    never all. Responses with one of `statuses` are failures.
    """

    members: tuple[str, ...] = ()
    failures: int = 5
    window: float = 10.0
    duration: float = 30.0
    max_duration: float = 300.0
    max_percent: float = 50.0
    silence: float = 0.0
    statuses: frozenset[int] = FAILURES

    @property
    def quota(self) -> int:
        """How many backends may be ejected at once: the percentage, but at least one of two, and never the last."""
        if not self.failures or not self.max_percent:
            return 0
        count = len(self.members)
        return min(count - 1, max(1, int(count * self.max_percent / 100)))


@dataclass(frozen=True, slots=True)
class FailureReport:
    """The attempts and failures of one worker at a backend since its last report, with the weight of the failures."""

    attempts: int = 0
    failures: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class FailureWindow:
    """The failures of all workers at a backend in the window that opened at `opened`, with what it began with.

    `base` is such that the count of all attempts ever made exceeds it by the attempts in the window.
    """

    opened: float
    base: int
    failures: int
    weight: int


def weight_of_fault(fault: Fault, silence: float = 0.0) -> int:
    """The weight of a failed attempt: 0 unless the backend is to blame. It is to blame for a client that left after the
    backend had been silent for `silence` seconds, unless these are 0.
    """
    if silence and isinstance(fault, ClientLeft):
        return int(fault.silence >= silence)
    if fault.blame is not Blame.BACKEND or fault.stage is Stage.CHOOSE or retry.went_stale(fault):
        return 0
    return CONNECT_WEIGHT if fault.stage is Stage.CONNECT else 1


def weight_of_status(status: int, statuses: frozenset[int] = FAILURES) -> int:
    """The weight of a response: 1 for one of the `statuses` that are failures."""
    return int(status in statuses)


def counted(
    tally: FailureWindow | None, report: FailureReport, total: int, rule: EjectionPolicy, now: float
) -> FailureWindow:
    """The window with a report of failures added; a new window if none is open.

    `total` is the count of all attempts of all workers, with those of the report. Attempts before the failure that
    opens the first window do not belong to it. A window in which successes exceeded failures leaves a part of both to
    the next one. A window that opened after `now`, before the clock was set back, is not open.
    """
    age = now - tally.opened if tally is not None else -1.0
    if tally is None or not 0 <= age < rule.window * FORGOTTEN_WINDOWS:
        return FailureWindow(now, total - report.failures, report.failures, report.weight)
    attempts = total - report.attempts - tally.base
    if age < rule.window and attempts <= 2 * KEPT_ATTEMPTS:
        return replace(tally, failures=tally.failures + report.failures, weight=tally.weight + report.weight)
    if attempts <= 2 * tally.failures:
        return FailureWindow(now, total - report.failures, report.failures, report.weight)
    kept = min(KEPT_ATTEMPTS, attempts * 2 // 3)
    failures, weight = tally.failures * kept // attempts, tally.weight * kept // attempts
    base = total - report.attempts - kept
    return FailureWindow(now, base, failures + report.failures, weight + report.weight)


def convicts(tally: FailureWindow, total: int, rule: EjectionPolicy) -> bool:
    """Whether the failures suffice for an ejection: each success makes up for the mean weight of one failure.

    `total` is the count of all attempts of all workers. It may lack those of some failures: a response breaks off after
    its attempt was counted.
    """
    excess = 2 * tally.failures - max(tally.failures, total - tally.base)
    return tally.failures > 0 and excess > 0 and tally.weight * excess >= rule.failures * tally.failures


def has_room(ejections: Mapping[str, Ejection], rule: EjectionPolicy) -> bool:
    """Whether one more backend may be ejected."""
    return sum(1 for id_ in rule.members if id_ in ejections and ejections[id_].out) < rule.quota


def ejected(before: Ejection | None, rule: EjectionPolicy, now: float) -> Ejection:
    """The ejection of a backend that was in service, or the longer one of a backend whose probe failed.

    It lasts `duration` times the number of ejections in a row, at most `max_duration`. The number restarts at one after
    the backend was in service for longer than `max_duration`.
    """
    forgotten = before is None or (not before.out and now - before.until > rule.max_duration)
    times = 1 if before is None or forgotten else before.times + 1
    since = min(before.since, now) if before is not None and before.out else now
    return Ejection(True, times, since, now + min(rule.max_duration, rule.duration * times))


def returned(before: Ejection, now: float) -> Ejection:
    """The state of a backend that is in service again; `times` is kept."""
    return replace(before, out=False, until=now)


def is_out(ejection: Ejection | None, active: ActiveHealth) -> bool:
    """Whether the ejection keeps the backend out of service.

    The ejection is void if active checks found the backend down and then up again since it began. A backend that was up
    all the time stays ejected: checks see less than requests do.
    """
    if ejection is None or not ejection.out:
        return False
    return not (active.health is Health.UP and active.since > ejection.since)


def due(ejections: Mapping[str, Ejection], rule: EjectionPolicy, now: float) -> list[str]:
    """The backends that may be probed, the longest due first.

    An `until` further ahead than the longest ejection was written before the clock was set back, and counts as now.
    """
    out = [id_ for id_ in rule.members if id_ in ejections and ejections[id_].out]
    waiting = [id_ for id_ in out if not now < ejections[id_].until <= now + rule.max_duration]
    return sorted(waiting, key=lambda id_: (ejections[id_].until, id_))
