"""Which backends of a pool may serve."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

from lbflask.core import slow_start
from lbflask.core.ejection import is_out
from lbflask.core.failure_causes import FailureCause
from lbflask.core.membership import members, mode_of
from lbflask.core.model import ActiveHealth, Backend, Candidate, Health, Mode, Pool, Snapshot

#: Intervals without a heartbeat after which the results of a checker are ignored.
SILENT_INTERVALS = 3

#: The active health of a backend without a result yet.
UNCHECKED = ActiveHealth(Health.CHECKING, reason="no check has ended yet")
_UNKNOWN = ActiveHealth(Health.UNKNOWN, reason="no checker is running")
_UNRESPONSIVE = (FailureCause.TIMED_OUT, FailureCause.NO_ANSWER)
_SERVING = (Health.UP, Health.UNKNOWN)


class Fallback(StrEnum):
    """The criterion that was dropped so that a backend can serve."""

    NONE = ""
    EJECTED = "ejected"  #: all backends that pass active checks are ejected, and serve nevertheless
    UNCHECKED = "unchecked"  #: no backend passes active checks; those without a result yet serve
    ALL = "all"  #: no backend passes active checks; the pool fails open, and all serve


class Selection(NamedTuple):
    """The backends that may serve, and the fallback that applies.

    Those in `keeping` serve only their existing sessions. Valid while the snapshot is, and at most `until`, by the
    store's clock.
    """

    candidates: tuple[Candidate, ...]
    resort: Fallback
    keeping: tuple[Backend, ...] = ()
    until: float = inf


def checker_speaks(snapshot: Snapshot) -> bool:
    """Whether there is a recent heartbeat of a checker."""
    return snapshot.heartbeat is not None and snapshot.heartbeat <= SILENT_INTERVALS * snapshot.interval


def selects_alike(before: Snapshot, after: Snapshot) -> bool:
    """Whether the two certainly select the same backends, as of one time: nothing but the time was read anew."""
    return (
        after.active is before.active
        and after.ejected is before.ejected
        and after.overrides is before.overrides
        and after.discovered is before.discovered
        and after.secret == before.secret
        and checker_speaks(after) == checker_speaks(before)
    )


def active_health(backend: Backend, snapshot: Snapshot) -> ActiveHealth:
    """The active health of the backend: the checker's result, or UNKNOWN without a heartbeat for three intervals.

    A dead checker must not take the traffic down with it.
    """
    if not checker_speaks(snapshot):
        return _UNKNOWN
    return snapshot.active.get(backend.id, UNCHECKED)


def newly_unresponsive(before: Snapshot, after: Snapshot) -> frozenset[str]:
    """The backends that checks have found down between two snapshots because these gave no answer at all.

    A backend that rejects connections or answers with a wrong status is not among them: a process that ends, or drains,
    completes its requests. There are none if checks leave no backend up: an overload, or a checker without a network,
    has the same results.
    """
    if after.active is before.active or not any(state.health is Health.UP for state in after.active.values()):
        return frozenset()
    return frozenset(
        id_
        for id_, state in after.active.items()
        if state.health is Health.DOWN
        and state.cause in _UNRESPONSIVE
        and before.active.get(id_, UNCHECKED).health is not Health.DOWN
    )


def ejected(backend: Backend, snapshot: Snapshot) -> bool:
    """Whether passive ejection keeps the backend out of service."""
    return is_out(snapshot.ejected.get(backend.id), snapshot.active.get(backend.id, UNCHECKED))


def select(pool: Pool, snapshot: Snapshot, now: float | None = None) -> Selection:
    """The backends of the pool that may serve, ordered by id so that every process agrees on the order.

    A backend serves if its active health is UP or UNKNOWN, it is not ejected, its weight is not 0, and operators have
    not taken it out of service. CHECKING waits for its first check: a new backend is not trusted yet. A draining
    backend that meets the other criteria keeps its sessions.

    If that leaves none, the ejected backends serve: to try them is better than to refuse all requests. If active checks
    leave none either, those without a result yet serve: a configuration that replaces all backends loses no request
    until their first checks have ended. If there are none, no backend serves or, in a pool that fails open, all except
    those that are draining or off.

    A backup is a candidate like any other; schedules place it behind all others. Weights are computed for `now`
    (core/slow_start.py), which is the time of the snapshot by default.
    """
    known = members(pool, snapshot)
    ranks = {backend.id: rank for rank, backend in enumerate(known)}
    able = [backend for backend in sorted(known, key=lambda backend: backend.id) if backend.weight > 0]
    keeping: tuple[Backend, ...] = ()
    if snapshot.overrides:
        draining = [backend for backend in able if mode_of(backend, snapshot) is Mode.DRAINING]
        able = [backend for backend in able if mode_of(backend, snapshot) is Mode.SERVING]
        keeping = tuple(one for one in _with_health(_SERVING, draining, snapshot) if not ejected(one, snapshot))
    healthy = _with_health(_SERVING, able, snapshot)
    sound = [backend for backend in healthy if not ejected(backend, snapshot)] if snapshot.ejected else healthy
    resort = Fallback.NONE
    if not sound and healthy:
        sound, resort = healthy, Fallback.EJECTED
    elif not sound and (unchecked := _with_health((Health.CHECKING,), able, snapshot)):
        sound, resort = unchecked, Fallback.UNCHECKED
    elif not sound and able and pool.fails_open:
        sound, resort = able, Fallback.ALL
    weights, until = slow_start.weights(pool, sound, snapshot, snapshot.now if now is None else now)
    chosen = tuple(
        Candidate(backend, weight, ranks[backend.id]) for backend, weight in zip(sound, weights, strict=True)
    )
    return Selection(chosen, resort, keeping, until)


def _with_health(states: tuple[Health, ...], backends: list[Backend], snapshot: Snapshot) -> list[Backend]:
    return [backend for backend in backends if active_health(backend, snapshot).health in states]
