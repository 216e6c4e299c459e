"""Documents of the API, built from the states of pools."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lbflask.control.api import models
from lbflask.control.health import status_of
from lbflask.control.operations import PoolState, etag_of
from lbflask.core import eligibility, overrides
from lbflask.core.fleet_stats import RecentStats, Worker, recent_stats
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Health, Mode
from lbflask.fleet.fleet import Fleet

#: A heartbeat of a worker in one pool, and the time at which it was read.
_Beat = tuple[float, Worker]

_NO_STATS = RecentStats()
_BY_MODE = {
    Mode.DRAINING: "set by an operator: no new requests",
    Mode.OFF: "set by an operator: no requests",
}


def state(
    pool_states: Sequence[PoolState], known: Fleet, drains: Mapping[str, InstanceDrain], *, answered_by: str
) -> models.StateView:
    """The state of the fleet."""
    pools = [pool_view(pool_state) for pool_state in pool_states]
    serving = [(pool.serving, bool(pool.overlooks)) for pool in pools]
    fleet = models.FleetView(
        status=models.Status(status_of(serving, degraded=known.degraded)),
        at=max((pool_state.roster.now for pool_state in pool_states), default=0.0),
        stale=any(pool_state.stale for pool_state in pool_states),
        answered_by=answered_by,
        store=models.StoreView(connected=not known.degraded, why=known.why),
        in_flight=sum(backend.in_flight for pool in pools for backend in pool.backends),
        requests_per_second=round(sum(b.requests_per_second for pool in pools for b in pool.backends), 2),
        instances=instances(pool_states, drains),
    )
    return models.StateView(fleet=fleet, pools=pools)


def pool_view(pool_state: PoolState) -> models.PoolView:
    """The view of a pool with its backends."""
    pool, snapshot = pool_state.pool, pool_state.snapshot
    selection = eligibility.select(pool, snapshot)
    serving = {candidate.backend.id for candidate in selection.candidates}
    regular = any(not candidate.backend.backup for candidate in selection.candidates)
    loads = recent_stats(pool_state.roster.workers)
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
        serving=len(serving),
        overlooks=selection.resort.value,
        removed=sorted(id_ for id_, override in snapshot.overrides.items() if override.removed),
        checker=models.CheckerView(
            leader=pool_state.roster.leader,
            heartbeat=None if snapshot.heartbeat is None else round(snapshot.heartbeat, 3),
            silent=not eligibility.checker_speaks(snapshot),
        ),
        backends=backends,
    )


def backend_view(pool_state: PoolState, backend: str) -> models.BackendView | None:
    """The view of a backend; None if it is not in the pool."""
    return next((view for view in pool_view(pool_state).backends if view.id == backend), None)


def instances(pool_states: Sequence[PoolState], drains: Mapping[str, InstanceDrain]) -> list[models.InstanceView]:
    """The workers by instance, with drained instances that have none. Workers that have not reported yet are listed
    under their host.
    """
    beats_by_worker: defaultdict[str, list[_Beat]] = defaultdict(list)
    for pool_state in pool_states:
        for worker in pool_state.roster.workers:
            beats_by_worker[worker.id].append((pool_state.roster.now, worker))
    workers_by_instance: defaultdict[str, list[list[_Beat]]] = defaultdict(list, {name: [] for name in drains})
    for id_, beats in sorted(beats_by_worker.items()):
        report = next((worker.report for _, worker in beats if worker.report is not None), None)
        name = id_.partition(":")[0] if report is None else report.identity.instance
        workers_by_instance[name].append(beats)
    return [_instance_view(name, workers, drains.get(name)) for name, workers in sorted(workers_by_instance.items())]


def _instance_view(name: str, workers: Sequence[Sequence[_Beat]], drain: InstanceDrain | None) -> models.InstanceView:
    reports = [worker.report for beats in workers for _, worker in beats]
    identities = [report.identity for report in reports if report is not None]
    return models.InstanceView(
        name=name,
        host=identities[0].host if identities else name.partition("/")[0],
        version=sorted({identity.version for identity in identities}),
        config=sorted({identity.config for identity in identities}),
        drain=None if drain is None else models.DrainView.model_validate(drain),
        workers=[_worker_view(beats) for beats in workers],
    )


def _worker_view(beats: Sequence[_Beat]) -> models.WorkerView:
    """The view of a worker, from its heartbeats in all pools."""
    reports = [(worker.reported, worker.report) for _, worker in beats if worker.report is not None]
    rates = (served.attempts / max(1.0, report.seconds) for _, report in reports for served in report.served.values())
    identity = reports[0][1].identity if reports else None
    _, pid, *_ = (*beats[0][1].id.split(":"), "", "")
    return models.WorkerView(
        id=beats[0][1].id,
        pid=identity.pid if identity else int(pid) if pid.isdigit() else 0,
        heartbeat=round(min(max(0.0, now - worker.at) for now, worker in beats), 3),
        started=identity.started if identity else None,
        in_flight=sum(sum(worker.in_flight.values()) for _, worker in beats),
        requests_per_second=round(sum(rates), 2),
        clock_ahead=round(reports[0][1].clock - reports[0][0], 3) if reports else None,
    )


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
    state, reason = _condition(pool_state, backend, serving=serving, regular=regular)
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
        etag=etag_of(override),
        health=models.Checked(
            state=active.health, reason=active.reason, since=round(active.since, 3) or None, streak=active.streak
        ),
        ejection=None if ejection is None else models.Ejected.model_validate(ejection),
        in_flight=load.in_flight,
        requests_per_second=round(load.requests_per_second, 2),
        error_share=_rounded(load.error_share),
        p50=_rounded(load.p50),
        p99=_rounded(load.p99),
    )


def _condition(pool_state: PoolState, backend: Backend, *, serving: bool, regular: bool) -> tuple[models.State, str]:
    """The state of a backend with its reason: first overrides, then health checks, then ejection."""
    snapshot, mode = pool_state.snapshot, mode_of(backend, pool_state.snapshot)
    active = eligibility.active_health(backend, snapshot)
    if mode is not Mode.SERVING:
        return models.State(mode.value), _BY_MODE[mode]
    if active.health in (Health.DOWN, Health.CHECKING):
        return models.State(active.health.value), active.reason + ("; serves all the same" if serving else "")
    if eligibility.ejected(backend, snapshot):
        times = snapshot.ejected[backend.id].times
        failures = "requests failed" if times == 1 else f"requests failed, {times} times in a row"
        return models.State.EJECTED, failures + ("; serves all the same" if serving else "")
    if backend.weight == 0:
        return models.State.IDLE, "its weight is 0"
    if active.health is Health.UNKNOWN:
        return models.State.UNKNOWN, active.reason
    if backend.backup and regular:
        return models.State.STANDBY, "backup: serves when no other backend can"
    return models.State.UP, active.reason


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
