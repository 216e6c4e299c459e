"""Views of instances and their workers, from the reports of workers in all pools."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from lbflask.control.api import models
from lbflask.control.pool_state import PoolState
from lbflask.control.reserve_views import lost_lines_view, nearly_full_views
from lbflask.core.fleet_stats import Worker, WorkerIdentity, WorkerReport
from lbflask.core.instance_drain import InstanceDrain

#: A heartbeat of a worker in one pool, and the time at which it was read.
_Beat = tuple[float, Worker]


def instances(pool_states: Sequence[PoolState], drains: Mapping[str, InstanceDrain]) -> list[models.InstanceView]:
    """The workers by instance, with drained instances that have none, and those whose workers are all silent. Workers
    that have not reported yet are listed under their host.
    """
    beats_by_worker: defaultdict[str, list[_Beat]] = defaultdict(list)
    for pool_state in pool_states:
        for worker in pool_state.roster.workers:
            beats_by_worker[worker.id].append((pool_state.now, worker))
    workers_by_instance: defaultdict[str, list[list[_Beat]]] = defaultdict(list, {name: [] for name in drains})
    for id_, beats in sorted(beats_by_worker.items()):
        report = next((worker.report for _, worker in beats if worker.report is not None), None)
        name = id_.partition(":")[0] if report is None else report.identity.instance
        workers_by_instance[name].append(beats)
    silent = _silent_workers(pool_states, beats_by_worker.keys())
    stale = any(pool_state.stale for pool_state in pool_states)
    return [
        _instance_view(name, workers_by_instance.get(name, ()), silent.get(name, ()), drains.get(name), stale=stale)
        for name in sorted({*workers_by_instance, *silent})
    ]


def _silent_workers(pool_states: Sequence[PoolState], living: Collection[str]) -> dict[str, list[_Beat]]:
    """The latest beats of workers that are silent in every pool, by instance."""
    latest: dict[str, _Beat] = {}
    for pool_state in pool_states:
        for worker in pool_state.roster.silent:
            if worker.id not in living and (worker.id not in latest or latest[worker.id][1].at < worker.at):
                latest[worker.id] = pool_state.now, worker
    found: defaultdict[str, list[_Beat]] = defaultdict(list)
    for _, (now, worker) in sorted(latest.items()):
        if worker.report is not None:
            found[worker.report.identity.instance].append((now, worker))
    return found


def _silent_view(now: float, worker: Worker) -> models.SilentWorkerView:
    master = None if worker.report is None else worker.report.identity.master or None
    return models.SilentWorkerView(id=worker.id, pid=worker.pid, silent=round(now - worker.at, 3), master=master)


def _instance_view(
    name: str, workers: Sequence[Sequence[_Beat]], silent: Sequence[_Beat], drain: InstanceDrain | None, *, stale: bool
) -> models.InstanceView:
    reports = [worker.report for beats in (*workers, silent) for _, worker in beats]
    identities = [report.identity for report in reports if report is not None]
    # What a worker had that was killed and replaced says nothing about those that serve.
    living = [worker.report.identity for beats in workers for _, worker in beats if worker.report is not None]
    in_use = living or identities
    return models.InstanceView(
        name=name,
        host=identities[0].host if identities else name.partition("/")[0],
        version=sorted({identity.version for identity in in_use}),
        config=sorted({identity.config for identity in in_use}),
        masters=_masters(living),
        drain=None if drain is None else models.DrainView.model_validate(drain),
        stopping=any(report.stopping for report in reports if report is not None),
        handshakes=_handshakes(workers),
        workers=[_worker_view(beats, stale=stale) for beats in workers],
        expected_workers=max(identities, key=lambda one: one.started).expected or None if identities else None,
        silent_workers=[_silent_view(now, worker) for now, worker in silent],
        lost_log_lines=lost_lines_view(_latest_reports(workers)),
        nearly_full=nearly_full_views(_latest_reports(workers)),
    )


def _masters(identities: Sequence[WorkerIdentity]) -> list[int]:
    """The masters of these workers, that of the earliest worker first."""
    found = {one.master: one.started for one in sorted(identities, key=lambda one: -one.started) if one.master}
    return sorted(found, key=lambda master: found[master])


def _handshakes(workers: Sequence[Sequence[_Beat]]) -> dict[str, int]:
    """Those of all workers. A worker has the same in each pool."""
    counts: Counter[str] = Counter()
    for report in _latest_reports(workers):
        counts.update(report.handshakes)
    return dict(counts)


def _latest_reports(workers: Sequence[Sequence[_Beat]]) -> list[WorkerReport]:
    """A report of each worker, of any of its pools."""
    found = (next((worker.report for _, worker in beats if worker.report is not None), None) for beats in workers)
    return [report for report in found if report is not None]


def _worker_view(beats: Sequence[_Beat], *, stale: bool) -> models.WorkerView:
    """The view of a worker, from its heartbeats in all pools. Without current ones its figures are unknown."""
    reports = [(worker.reported, worker.report) for _, worker in beats if worker.report is not None]
    answers = [report.answers for _, report in sorted(reports, key=lambda one: one[0]) if report.answers is not None]
    rate = answers[-1].per_second if answers else _attempts_per_second(reports)
    identity = reports[0][1].identity if reports else None
    descriptors = reports[0][1].reserves.descriptors if reports else None
    return models.WorkerView(
        id=beats[0][1].id,
        pid=identity.pid if identity else beats[0][1].pid,
        heartbeat=round(min(max(0.0, now - worker.at) for now, worker in beats), 3),
        started=identity.started if identity else None,
        in_flight=None if stale else sum(sum(worker.in_flight.values()) for _, worker in beats),
        attempts=sum(report.attempts for _, report in reports),
        requests_per_second=None if stale else round(rate, 2),
        descriptors=descriptors[0] if descriptors else None,
        descriptor_limit=descriptors[1] if descriptors else None,
        host=identity.host if identity else "",
        boot=identity.boot if identity else "",
        lineage=identity.lineage if identity else "",
        stopping=any(report.stopping for _, report in reports),
        clock_ahead=round(reports[0][1].clock - reports[0][0], 3) if reports else None,
    )


def _attempts_per_second(reports: Sequence[tuple[float, WorkerReport]]) -> float:
    """The attempts of a worker of an older version, which reports no answers."""
    return sum(served.attempts / max(1.0, report.seconds) for _, report in reports for served in report.served.values())
