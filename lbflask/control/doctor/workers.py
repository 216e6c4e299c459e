"""Findings about workers and instances: their number, versions, configurations, clocks and drains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lbflask.control.api.models import DrainView, Finding, InstanceView, SilentWorkerView, StateView
from lbflask.control.doctor.agreement import agreement_findings
from lbflask.control.doctor.findings import bad, good, warning
from lbflask.control.doctor.namesakes import namesake_findings
from lbflask.core.operator_note import OperatorNote, described

#: Seconds by which a clock may be off before logs of different machines no longer align.
MAX_CLOCK_DIFFERENCE = 1.0
#: Seconds since the start of the youngest worker within which others may still be starting.
START_GRACE = 10.0
#: Share of the limit of descriptors from which on it is worth a warning.
DESCRIPTORS_FROM = 0.8
#: How many times the limit a worker should get that has reached it.
MORE_DESCRIPTORS = 4


def worker_findings(state: StateView) -> Iterator[Finding]:
    """All findings about workers and instances."""
    instances = [instance for instance in state.fleet.instances if instance.workers]
    workers = [worker for instance in instances for worker in instance.workers]
    missing = [
        finding
        for instance in state.fleet.instances
        for finding in (*_missing(instance, state.fleet.at), *_too_many(instance, state.fleet.at))
    ]
    yield from missing or [good("workers", f"{len(workers)} in {len(instances)} instance{'s' * (len(instances) != 1)}")]
    yield from agreement_findings(instances, state.fleet.answered_by)
    yield from _clocks(instances)
    yield from _descriptors(instances)
    for instance in state.fleet.instances:
        if instance.drain is not None:
            yield warning(
                f"instance {instance.name}", f"its /health responds 503: {_drained(instance.drain, state.fleet.at)}",
                f"`lbflask instance undrain {instance.name}` after maintenance",
            )  # fmt: skip


def _missing(instance: InstanceView, now: float) -> Iterator[Finding]:
    """Workers that are silent, or that should run and do not. A worker that was killed stays silent for a while after
    gunicorn has replaced it: then the number is right, and nothing is wrong.
    """
    name, running, expected = f"instance {instance.name}", len(instance.workers), instance.expected_workers
    if expected is not None and running >= expected:
        return
    if instance.silent_workers and not running:
        seconds = min(worker.silent for worker in instance.silent_workers)
        yield bad(
            name, f"silent for {seconds:.0f} s with all its workers ({_pids(instance)}): it is down, or has no network",
            f"on {instance.host}: does gunicorn run, and does it reach the store? Start it (`lbflask serve`, or the "
            "service that does so), or correct the network",
        )  # fmt: skip
        return
    share = f"{running} of {expected or running + len(instance.silent_workers)} workers serve"
    missed = _missed(instance)
    for worker in missed:
        yield bad(
            name, f"worker {worker.pid} has been silent for {worker.silent:.0f} s: requests to it hang; {share}",
            f"on {instance.host}: `ps -o pid,stat,wchan -p {worker.pid}` shows whether it is stopped (T) or waits for "
            f"the disk (D); `kill -KILL {worker.pid}` makes gunicorn replace it, as it does by itself after its "
            f"`timeout`{_stopped(instance)}",
        )  # fmt: skip
    if expected is not None and not missed and _youngest(instance, now) > START_GRACE:
        yield warning(
            name,
            f"{share}: others have ended, or do not start",
            f"gunicorn's error log on {instance.host} has the reason; `dmesg | grep -i oom` shows workers that the "
            f"system has killed for their memory{_stopped(instance)}",
        )  # fmt: skip


def _too_many(instance: InstanceView, now: float) -> Sequence[Finding]:
    """Workers of other instances of this name, or else more than expected."""
    return list(namesake_findings(instance, now)) or list(_surplus(instance, now))


def _missed(instance: InstanceView) -> list[SilentWorkerView]:
    """The silent workers that nothing has replaced: at most as many as are missing, the latest first. Those of a master
    without a worker that serves have ended with it.
    """
    latest = sorted(instance.silent_workers, key=lambda worker: worker.silent)
    if instance.masters:
        latest = [worker for worker in latest if worker.master is None or worker.master in instance.masters]
    return latest if instance.expected_workers is None else latest[: instance.expected_workers - len(instance.workers)]


def _surplus(instance: InstanceView, now: float) -> Iterator[Finding]:
    """More workers than expected, for longer than a start takes: an upgrade without its end, as a rule."""
    running, expected = len(instance.workers), instance.expected_workers
    if expected is None or running <= expected or _youngest(instance, now) <= START_GRACE:
        return
    yield warning(
        f"instance {instance.name}",
        f"{running} workers serve, {expected} are expected: an upgrade (SIGUSR2) has not ended, or former workers "
        "still finish requests",
        f"on {instance.host}: {_end_of_upgrade(instance.masters)}",
    )


def _stopped(instance: InstanceView) -> str:
    """How a master goes on that is stopped, and so starts no workers."""
    if not instance.masters:
        return ""
    master = instance.masters[-1]
    return f"; if `ps -o stat= -p {master}` begins with T, the master is stopped: `kill -CONT {master}`"


def _end_of_upgrade(masters: Sequence[int]) -> str:
    if len(masters) < 2:
        return "`ps -o pid,ppid,lstart,args -C gunicorn` shows the masters; SIGTERM to the old one ends the upgrade"
    old, new = masters[0], masters[-1]
    return f"`kill -TERM {old}` ends the old master and the upgrade; SIGTERM to {new} takes it back"


def _youngest(instance: InstanceView, now: float) -> float:
    """Seconds since the start of the youngest worker that serves."""
    return min((now + (one.clock_ahead or 0.0) - (one.started or 0.0) for one in instance.workers), default=0.0)


def _pids(instance: InstanceView) -> str:
    return ", ".join(str(worker.pid) for worker in instance.silent_workers)


def _drained(drain: DrainView, now: float) -> str:
    """By whom, since when and why."""
    if not drain.since:
        return f"drained by {drain.actor}"
    return described("drained", OperatorNote(drain.actor, drain.since, drain.reason), now)


def _descriptors(instances: Sequence[InstanceView]) -> Iterator[Finding]:
    """Workers that will soon accept no client, and reach no backend."""
    for instance in instances:
        for worker in instance.workers:
            opened, limit = worker.descriptors, worker.descriptor_limit
            if opened is not None and limit and opened >= DESCRIPTORS_FROM * limit:
                yield warning(
                    f"instance {instance.name}", f"worker {worker.pid} has {opened} of {limit} file descriptors open",
                    f"on {instance.host}: `prlimit --pid {worker.pid} --nofile={MORE_DESCRIPTORS * limit}:` raises the "
                    "limit at once, LimitNOFILE= of its service (`ulimit -n`) for good; "
                    f"`ls -l /proc/{worker.pid}/fd` shows what is open",
                )  # fmt: skip


def _clocks(instances: Sequence[InstanceView]) -> Iterator[Finding]:
    """One finding for each instance whose clock differs: its workers share it."""
    wrong = False
    for instance in instances:
        ahead = max((worker.clock_ahead or 0.0 for worker in instance.workers), key=abs)
        if abs(ahead) > MAX_CLOCK_DIFFERENCE:
            wrong = True
            yield warning(
                "clocks", f"{instance.name} differs from the store by {ahead:+.1f} s",
                f"`timedatectl` on {instance.host}: synchronize it by NTP. Balancing uses the store's clock only, but "
                "logs will not align",
            )  # fmt: skip
    if not wrong:
        yield good("clocks", "all agree with the store")
