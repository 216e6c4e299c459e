"""The one home of the question "may this backend serve?"."""

from __future__ import annotations

from lbflask.core.model import ActiveHealth, Backend, Candidate, Health, Pool, Snapshot

#: A checker that has been silent for this many of its intervals no longer speaks for its backends.
SILENT_INTERVALS = 3

_UNCHECKED = ActiveHealth(Health.CHECKING, reason="no check has ended yet")
_UNKNOWN = ActiveHealth(Health.UNKNOWN, reason="no checker is running")


def active_health(backend: Backend, snapshot: Snapshot) -> ActiveHealth:
    """What is to be believed of the backend's active health.

    The checker's word while it speaks; UNKNOWN once it has been silent for three intervals or has never spoken,
    since a dead checker must not take the traffic down with it.
    """
    if snapshot.heartbeat is None or snapshot.heartbeat > SILENT_INTERVALS * snapshot.interval:
        return _UNKNOWN
    return snapshot.active.get(backend.id, _UNCHECKED)


def candidates(pool: Pool, snapshot: Snapshot) -> tuple[Candidate, ...]:
    """The backends of the pool that may serve, ordered by id so that every process agrees on the order.

    A backend serves when its active health is UP or UNKNOWN and its weight is not 0. CHECKING waits for its first
    check: a backend that was added a moment ago is not yet trusted.
    """
    serving = (Health.UP, Health.UNKNOWN)
    return tuple(
        Candidate(backend, backend.weight)
        for backend in sorted(pool.backends, key=lambda backend: backend.id)
        if backend.weight > 0 and active_health(backend, snapshot).health in serving
    )
