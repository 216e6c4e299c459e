"""Findings about instances of one name: several gunicorns that the fleet takes for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lbflask.control.api.models import Finding, InstanceView, WorkerView
from lbflask.control.doctor.findings import warning

#: Seconds for which two machines, and two masters of one machine, have a name in common before it is a finding. A
#: master that was ended may finish requests while its successor serves.
MACHINES_AFTER, MASTERS_AFTER = 10.0, 60.0

_EFFECT = "figures, drains and findings of this name are of all of them"


def namesake_findings(instance: InstanceView, now: float) -> Iterator[Finding]:
    """Whether several machines, or several masters of one, serve under this name. The masters of an upgrade by SIGUSR2
    count as one.
    """
    name = f"instance {instance.name}"
    machines = _by_place(instance.workers, now, after=MACHINES_AFTER, masters=False)
    if len(machines) > 1:
        hosts = sorted({host for host, *_ in machines})
        listed = " and ".join(hosts) if len(hosts) > 1 else f"{len(machines)} machines of the host name {hosts[0]}"
        yield warning(
            name, f"{listed} have this name: {_EFFECT}",
            "give each of them an `instance` of its own in its configuration, or none: then host and port are the name"
            if len(hosts) > 1
            else "give each machine a host name of its own, or each instance an `instance` in its configuration; "
            "`cat /proc/sys/kernel/random/boot_id` differs between machines",
        )  # fmt: skip
        return
    masters = _by_place(instance.workers, now, after=MASTERS_AFTER, masters=True)
    if len(masters) > 1:
        pids = " and ".join(", ".join(str(worker.pid) for worker in workers) for workers in masters.values())
        yield warning(
            name, f"{len(masters)} masters on {instance.host} have this name (workers {pids}): {_EFFECT}",
            f"on {instance.host}: `ps -o pid,ppid,lstart,args -C gunicorn` shows the masters: end the one that should "
            "not run, or give each an `instance` of its own",
        )  # fmt: skip


def _by_place(
    workers: Sequence[WorkerView], now: float, *, after: float, masters: bool
) -> Mapping[tuple[str, ...], Sequence[WorkerView]]:
    """The workers that report their place, by host and boot, and with `masters` by their master too; without places
    whose first worker started less than `after` seconds ago.
    """
    places: defaultdict[tuple[str, ...], list[WorkerView]] = defaultdict(list)
    for worker in workers:
        if worker.host and not worker.stopping:
            places[(worker.host, worker.boot, worker.lineage) if masters else (worker.host, worker.boot)].append(worker)
    return {place: those for place, those in sorted(places.items()) if max(_age(one, now) for one in those) > after}


def _age(worker: WorkerView, now: float) -> float:
    return now + (worker.clock_ahead or 0.0) - (worker.started or 0.0)
