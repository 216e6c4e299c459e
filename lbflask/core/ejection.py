"""Passive ejection: what requests show of a backend, and when that takes it out of service for a while.

A window opens with a failure and lasts `window` seconds. Within it failures are compared with all attempts since it
opened, so that successes from before cannot hide a death, and so that a healthy fleet has nothing to count. A backend
is ejected when the failures weigh enough and are at least half of the attempts: a busy one with one error in a
thousand never is, one that answers 500 to everything is at once.

An ejection ends by a probe: from `until` on, one request of the fleet is sent there, and its outcome decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbflask.core import retry
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import ActiveHealth, Ejection, Health

#: What a failed connection weighs, where other failures weigh 1: with five failures three of these are enough.
CONNECT_WEIGHT = 2
#: Failures must be at least this percentage of the attempts in the window.
MIN_PERCENT = 50
#: Answers of 5xx that tell of the request rather than of the backend (RFC 9110 §15.6.2, §15.6.6).
_ABOUT_THE_REQUEST = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class EjectionPolicy:
    """When backends of a pool are ejected, and for how long; times in seconds. `failures` 0 ejects none.

    `members` are the ids of the backends that take traffic: of these at most `max_percent` are out at once, and
    never all.
    """

    members: tuple[str, ...] = ()
    failures: int = 5
    window: float = 10.0
    duration: float = 30.0
    max_duration: float = 300.0
    max_percent: float = 50.0

    @property
    def quota(self) -> int:
        """How many backends may be out at once: the percentage, but one of two, and never the last."""
        if not self.failures or not self.max_percent:
            return 0
        count = len(self.members)
        return min(count - 1, max(1, int(count * self.max_percent / 100)))


@dataclass(frozen=True, slots=True)
class FailureReport:
    """What one worker saw of a backend since its latest word: attempts, failures among them, and what these weigh."""

    attempts: int = 0
    failures: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class FailureWindow:
    """What all workers saw of a backend in the window that opened at `opened`.

    `base` is how many attempts all workers had ever made when it opened: what is more by now was made within it.
    """

    opened: float
    base: int
    failures: int
    weight: int


def weight_of_fault(fault: Fault) -> int:
    """What a failed attempt weighs: nothing when the client, or we, or nobody is to blame."""
    if fault.blame is not Blame.BACKEND or fault.stage is Stage.CHOOSE or retry.went_stale(fault):
        return 0
    return CONNECT_WEIGHT if fault.stage is Stage.CONNECT else 1


def weight_of_status(status: int) -> int:
    """What an answer weighs: 1 for 500 to 599, but for those that are about the request."""
    return int(500 <= status <= 599 and status not in _ABOUT_THE_REQUEST)


def counted(
    tally: FailureWindow | None, report: FailureReport, total: int, rule: EjectionPolicy, now: float
) -> FailureWindow:
    """The tally with a report of failures in it; a new window when none is open.

    `total` are the attempts of all workers ever, with the report's. What a worker did before the failure that opens a
    window is no part of it. A window that opened ahead of `now`, before the clock was set back, is none.
    """
    if tally is None or not 0 <= now - tally.opened < rule.window:
        return FailureWindow(now, total - report.failures, report.failures, report.weight)
    return replace(tally, failures=tally.failures + report.failures, weight=tally.weight + report.weight)


def convicts(tally: FailureWindow, total: int, rule: EjectionPolicy) -> bool:
    """Whether the tally is enough for an ejection, with `total` attempts ever made by all workers."""
    return tally.weight >= rule.failures and tally.failures * 100 >= (total - tally.base) * MIN_PERCENT


def has_room(ejections: Mapping[str, Ejection], rule: EjectionPolicy) -> bool:
    """Whether one more backend may be out."""
    return sum(1 for id_ in rule.members if id_ in ejections and ejections[id_].out) < rule.quota


def ejected(before: Ejection | None, rule: EjectionPolicy, now: float) -> Ejection:
    """The ejection of a backend that was in service, or the longer one of a backend whose probe failed.

    It lasts `duration` times the number of ejections in a row, at most `max_duration`; a backend that has been back
    for longer than `max_duration` begins again with one.
    """
    forgotten = before is None or (not before.out and now - before.until > rule.max_duration)
    times = 1 if before is None or forgotten else before.times + 1
    since = min(before.since, now) if before is not None and before.out else now
    return Ejection(True, times, since, now + min(rule.max_duration, rule.duration * times))


def returned(before: Ejection, now: float) -> Ejection:
    """The backend is in service again; how often it was ejected is remembered."""
    return replace(before, out=False, until=now)


def is_out(ejection: Ejection | None, active: ActiveHealth) -> bool:
    """Whether the ejection keeps the backend out of service.

    A backend that active checks found down and then up again after it was ejected has begun anew, and the ejection is
    void. To have been up all the while proves nothing: checks see less than requests do.
    """
    if ejection is None or not ejection.out:
        return False
    return not (active.health is Health.UP and active.since > ejection.since)


def due(ejections: Mapping[str, Ejection], rule: EjectionPolicy, now: float) -> list[str]:
    """The backends that may be probed, longest due first.

    An end that is further ahead than any ejection lasts is from before the clock was set back, and counts as now.
    """
    out = [id_ for id_ in rule.members if id_ in ejections and ejections[id_].out]
    waiting = [id_ for id_ in out if not now < ejections[id_].until <= now + rule.max_duration]
    return sorted(waiting, key=lambda id_: (ejections[id_].until, id_))
