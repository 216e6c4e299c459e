"""Documents of the API, built from the states of pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from lbflask.control.answer_views import answers_view
from lbflask.control.api import models
from lbflask.control.ban_views import ban_summary
from lbflask.control.client_views import clients_view, uploads_text, uploads_view
from lbflask.control.health import status_of
from lbflask.control.instance_views import instances
from lbflask.control.operations import etag_of
from lbflask.control.override_views import forgotten_view, note_view
from lbflask.control.pool_state import PoolState
from lbflask.core import eligibility, overrides
from lbflask.core.answers import rates
from lbflask.core.discovery import SourceFailure
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import (
    RecentStats,
    recent_answers,
    recent_clients,
    recent_refused_clients,
    recent_stats,
)
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.membership import members, mode_of
from lbflask.core.model import ActiveHealth, Backend, Ejection, Health, Mode, Snapshot
from lbflask.core.operator_note import described
from lbflask.core.slow_uploads import matter
from lbflask.fleet.fleet import Fleet

#: Seconds without the first byte of a response from which a wait is shown: most requests are answered sooner.
NOTABLE_WAIT = 5.0

_NO_STATS = RecentStats()
_BY_MODE = {Mode.DRAINING: "drained", Mode.OFF: "switched off"}


def state(
    pool_states: Sequence[PoolState], known: Fleet, drains: Mapping[str, InstanceDrain], *, answered_by: str
) -> models.StateView:
    """The state of the fleet."""
    pools = [pool_view(pool_state) for pool_state in pool_states]
    serving = [(pool.serving, bool(pool.overlooks)) for pool in pools]
    found = instances(pool_states, drains)
    stale = any(pool_state.stale for pool_state in pool_states)
    in_flight = sum(backend.in_flight for pool in pools for backend in pool.backends)
    workers = [worker for pool_state in pool_states for worker in pool_state.roster.workers]
    fleet = models.FleetView(
        status=models.Status(status_of(serving, degraded=known.degraded)),
        at=max((pool_state.now for pool_state in pool_states), default=0.0),
        stale=stale,
        answered_by=answered_by,
        store=models.StoreView(
            connected=not known.degraded, why=known.why, cause=known.cause if known.degraded else FailureCause.UNKNOWN
        ),
        as_of=min((pool_state.roster.now for pool_state in pool_states), default=0.0) or None,
        in_flight=None if stale else in_flight,
        requests_per_second=None if stale else _per_second(found),
        answers=None if stale else answers_view(recent_answers(workers)),
        clients=None if stale else clients_view(recent_clients(workers)),
        refused_clients=None if stale else clients_view(recent_refused_clients(workers)),
        local=_local_view(known, in_flight) if stale else None,
        instances=found,
    )
    return models.StateView(fleet=fleet, pools=pools, bans=ban_summary(known))


def _per_second(found: Sequence[models.InstanceView]) -> float:
    """The answers per second of all workers."""
    return round(sum(worker.requests_per_second or 0.0 for one in found for worker in one.workers), 2)


def _local_view(known: Fleet, in_flight: int) -> models.LocalView:
    answers = answers_view(rates([known.answers]))
    return models.LocalView(
        worker=known.worker_id, in_flight=in_flight, requests_per_second=answers.per_second, answers=answers
    )


def pool_view(pool_state: PoolState) -> models.PoolView:
    """The view of a pool with its backends."""
    pool, snapshot = pool_state.pool, pool_state.snapshot
    selection = eligibility.select(pool, snapshot)
    serving = {candidate.backend.id for candidate in selection.candidates}
    regular = any(not candidate.backend.backup for candidate in selection.candidates)
    loads = recent_stats(pool_state.figures.workers)
    origins = {backend.id: (models.Origin.DISCOVERED, backend) for backend in snapshot.discovered}
    origins |= {backend.id: (models.Origin.CONFIGURED, backend) for backend in pool.backends}
    backends = [
        _backend_view(
            pool_state,
            backend,
            loads.get(backend.id, _NO_STATS),
            origins.get(backend.id),
            serving=backend.id in serving,
            regular=regular,
        )
        for backend in members(pool, snapshot)
    ]
    return models.PoolView(
        name=pool.name,
        strategy=pool.strategy,
        sticky=pool.sticky is not None,
        serving=len(serving),
        overlooks=selection.resort.value,
        removed=sorted(id_ for id_, override in snapshot.overrides.items() if override.removed),
        removal_notes={
            id_: models.NoteView.model_validate(override.member_note)
            for id_, override in sorted(snapshot.overrides.items())
            if override.removed and override.member_note is not None
        },
        forgotten=forgotten_view(pool_state),
        checker=models.CheckerView(
            leader=pool_state.roster.leader,
            standby=[name for name in pool_state.roster.checkers if name != pool_state.roster.leader],
            heartbeat=None if snapshot.heartbeat is None else round(snapshot.heartbeat, 3),
            silent=not eligibility.checker_speaks(snapshot),
        ),
        source_failure=_source_failure_view(pool_state.roster.source_failure),
        backends=backends,
    )


def _source_failure_view(failure: SourceFailure | None) -> models.SourceFailureView | None:
    return None if failure is None else models.SourceFailureView.model_validate(failure)


def waiting_text(count: int, oldest: float) -> str:
    """How many requests wait for the first byte of a backend, and for how many seconds."""
    if count == 1:
        return f"1 request waits for a first byte, for {oldest:.0f} s"
    return f"{count} requests wait for a first byte, the oldest for {oldest:.0f} s"


def backend_view(pool_state: PoolState, backend: str) -> models.BackendView | None:
    """The view of a backend; None if it is not in the pool."""
    return next((view for view in pool_view(pool_state).backends if view.id == backend), None)


def _backend_view(
    pool_state: PoolState,
    backend: Backend,
    load: RecentStats,
    known: tuple[models.Origin, Backend] | None,
    *,
    serving: bool,
    regular: bool,
) -> models.BackendView:
    snapshot = pool_state.snapshot
    active = eligibility.active_health(backend, snapshot)
    override = snapshot.overrides.get(backend.id)
    ejection = snapshot.ejected.get(backend.id) if eligibility.ejected(backend, snapshot) else None
    added = override.added if override is not None else None
    origin, configured = known or (models.Origin.ADDED, added or backend)
    state, reason = _condition(snapshot, backend, active, ejection, serving=serving, regular=regular)
    if load.oldest_wait >= NOTABLE_WAIT:
        reason = f"{reason}; {waiting_text(load.waiting, load.oldest_wait)}"
    uploads = uploads_view(load.uploads)
    if uploads is not None and matter(uploads.slow, load.in_flight):
        reason = f"{reason}; {uploads_text(uploads)}"
    return models.BackendView(
        pool=pool_state.pool.name,
        id=backend.id,
        url=backend.url,
        origin=origin,
        state=state,
        reason=reason,
        serving=serving,
        mode=mode_of(backend, snapshot),
        weight=backend.weight,
        usual_weight=configured.weight,
        backup=backend.backup,
        overridden=overrides.deviates(override),
        mode_note=note_view(None if override is None else override.mode_note),
        weight_note=note_view(None if override is None else override.weight_note),
        etag=etag_of(override),
        health=_checked(active),
        ejection=None if ejection is None else models.Ejected.model_validate(ejection),
        in_flight=load.in_flight,
        attempts=pool_state.roster.attempts.get(backend.id, 0),
        requests_per_second=round(load.requests_per_second, 2),
        error_share=_rounded(load.error_share),
        p50=_rounded(load.p50),
        p99=_rounded(load.p99),
        waiting=load.waiting,
        oldest_wait=round(load.oldest_wait, 1) if load.waiting else None,
        uploads=uploads,
    )


@lru_cache(maxsize=10_000)  # views are read again and again, and few checks have another result
def _checked(active: ActiveHealth) -> models.Checked:
    return models.Checked(
        state=active.health,
        reason=active.reason,
        since=round(active.since, 3) or None,
        streak=active.streak,
        cause=active.cause,
        certificate_expires=active.certificate_expires or None,
    )


def _condition(
    snapshot: Snapshot,
    backend: Backend,
    active: ActiveHealth,
    ejection: Ejection | None,
    *,
    serving: bool,
    regular: bool,
) -> tuple[models.State, str]:
    """The state of a backend with its reason: first overrides, then health checks, then ejection."""
    override, now = snapshot.overrides.get(backend.id), snapshot.now
    if override is not None and override.mode is not Mode.SERVING:
        return models.State(override.mode.value), described(_BY_MODE[override.mode], override.mode_note, now)
    if active.health in (Health.DOWN, Health.CHECKING):
        return models.State(active.health.value), active.reason + ("; serves all the same" if serving else "")
    if ejection is not None:
        failures = "requests failed" if ejection.times == 1 else f"requests failed, {ejection.times} times in a row"
        return models.State.EJECTED, failures + ("; serves all the same" if serving else "")
    weighed = ""
    if override is not None and override.weight is not None:
        weighed = described(f"weight {backend.weight} set", override.weight_note, now)
    if backend.weight == 0:
        return models.State.IDLE, weighed or "its weight is 0"
    if active.health is Health.UNKNOWN:
        return models.State.UNKNOWN, active.reason
    if backend.backup and regular:
        return models.State.STANDBY, "backup: serves when no other backend can"
    return models.State.UP, f"{active.reason}; {weighed}" if active.reason and weighed else active.reason or weighed


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
