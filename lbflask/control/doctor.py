"""Diagnosis of the fleet, with advice: the store, clocks, versions, checkers and each backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lbflask.control.api.models import Diagnosis, Finding, Level, PoolView, State, StateView, WorkerView
from lbflask.core.model import Backend
from lbflask.store.ports import StoreUnavailable

#: Seconds by which a clock may be off before logs of different machines no longer align.
MAX_CLOCK_DIFFERENCE = 1.0
#: Round trip to the store, in seconds, that is worth a warning.
MAX_STORE_LATENCY = 0.02
#: Connects at once, and seconds for each.
CONCURRENT_CONNECTS = 16
CONNECT_TIMEOUT = 2.0
#: Backends of a pool that are connected to; the checker covers larger pools.
MAX_CONNECTS = 200

#: Connects to a backend within so many seconds. Returns the reason of a failure, empty after success.
Reach = Callable[[Backend, float], str]


class FirstCheck(NamedTuple):
    """A backend without a completed check: seconds since it came into the pool, None if unknown, and seconds until its
    first check must have completed.
    """

    waited: float | None
    limit: float


def diagnose(
    state: StateView,
    ping: Callable[[], float],
    backends: Mapping[str, Sequence[Backend]],
    reach: Reach,
    first_checks: Mapping[tuple[str, str], FirstCheck],
) -> Diagnosis:
    """All findings, good and bad. `first_checks` has the backends in state `checking`, by pool and backend."""
    findings = [*_store(state, ping), *_workers(state)]
    for pool in state.pools:
        findings += [*_checker(pool), *_serving(pool), *_first_checks(pool, first_checks), *_left_by_operators(pool)]
        findings += _reachable(pool, backends.get(pool.name, ()), reach)
    return Diagnosis(findings=findings)


def _store(state: StateView, ping: Callable[[], float]) -> Iterator[Finding]:
    try:
        if not state.fleet.store.connected:
            raise StoreUnavailable(state.fleet.store.why)
        seconds = ping()
    except StoreUnavailable as error:
        yield _bad(
            "store",
            f"unreachable or rejects commands; each worker balances by itself: {error}",
            "check Redis or Valkey at `redis_url`: is it running, reachable and the primary, does it have free memory "
            "and disk, may its user read and write?",
        )
        return
    finding = f"answers in {seconds * 1000:.1f} ms"
    if seconds > MAX_STORE_LATENCY:
        advice = "requests that need a ticket wait that long; move it closer or give it a free core"
        yield _warning("store", finding, advice)
    else:
        yield _good("store", finding)


def _workers(state: StateView) -> Iterator[Finding]:
    instances = [instance for instance in state.fleet.instances if instance.workers]
    workers = [worker for instance in instances for worker in instance.workers]
    yield _good("workers", f"{len(workers)} in {len(instances)} instances")
    for subject, values in (
        ("version", {value for instance in instances for value in instance.version}),
        ("configuration", {value for instance in instances for value in instance.config}),
    ):
        if len(values) > 1:
            yield _warning(
                subject, f"not all have the same: {', '.join(sorted(values))}",
                "normal during a roll-out; otherwise update all instances, so that they balance by the same rules",
            )  # fmt: skip
        else:
            yield _good(subject, f"all have {', '.join(values) or 'none yet'}")
    yield from _clocks(workers)
    for instance in state.fleet.instances:
        if instance.drain is not None:
            yield _warning(
                f"instance {instance.name}", f"drained by {instance.drain.actor}: its /health responds 503",
                f"`lbflask instance undrain {instance.name}` after maintenance",
            )  # fmt: skip


def _clocks(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    wrong = [worker for worker in workers if abs(worker.clock_ahead or 0.0) > MAX_CLOCK_DIFFERENCE]
    for worker in wrong:
        yield _warning(
            "clocks", f"{worker.id.rpartition(':')[0]} differs from the store by {worker.clock_ahead:+.1f} s",
            "synchronize it by NTP: balancing uses the store's clock only, but logs will not align",
        )  # fmt: skip
    if not wrong:
        yield _good("clocks", "all agree with the store")


def _checker(pool: PoolView) -> Iterator[Finding]:
    name = f"checker of {pool.name}"
    if pool.checker.silent:
        silence = "yet" if pool.checker.heartbeat is None else f"for {pool.checker.heartbeat:.0f} s"
        yield _bad(
            name, f"no heartbeat {silence}: no backend is checked, only failed requests eject one",
            "start `python -m lbflask.healthcheck` with the same configuration, preferably on two machines",
        )  # fmt: skip
    else:
        leader = pool.checker.leader or "between two leaders"
        yield _good(name, f"{leader}, last heartbeat {pool.checker.heartbeat:.1f} s ago")


def _serving(pool: PoolView) -> Iterator[Finding]:
    name = f"pool {pool.name}"
    if not pool.serving:
        yield _bad(name, "no backend can serve: clients get 503", "start one; the reasons are below")
    elif pool.overlooks:
        finding = f"{pool.serving} serve only because failures are ignored (fail open)"
        yield _bad(name, finding, "see each backend below")
    else:
        yield _good(name, f"{pool.serving} of {len(pool.backends)} backends serve")
    for backend in pool.backends:
        if backend.state in (State.DOWN, State.EJECTED, State.UNKNOWN):
            advice = "check its log and its load" if backend.state is not State.UNKNOWN else "start a checker"
            yield _warning(f"backend {backend.id}", f"{backend.state}: {backend.reason}", advice)


def _first_checks(pool: PoolView, first_checks: Mapping[tuple[str, str], FirstCheck]) -> Iterator[Finding]:
    """Backends without requests because no check of them has completed."""
    for backend in pool.backends:
        first = first_checks.get((pool.name, backend.id))
        if backend.state is not State.CHECKING or first is None:
            continue
        name, waited = f"backend {backend.id}", "" if first.waited is None else f" for {first.waited:.0f} s"
        if first.waited is not None and first.waited <= first.limit:
            finding = f"checking{waited}: its first check has not completed, so it gets no requests yet"
            yield _warning(name, finding, f"wait at most {first.limit:.0f} s")
            continue
        leader = (
            f"the checker {pool.checker.leader} leads and" if pool.checker.leader else "no checker leads, and the last"
        )
        yield _warning(
            name, f"checking{waited}: {leader} has reported no check of it, so it gets no requests",
            "the checker has another configuration or hangs: start it with this one, or reload it (SIGHUP, or "
            "`lbflask reload`)",
        )  # fmt: skip


def _left_by_operators(pool: PoolView) -> Iterator[Finding]:
    for backend in pool.backends:
        if backend.state in (State.DRAINING, State.OFF):
            yield _warning(
                f"backend {backend.id}", f"an operator has set it to {backend.mode}",
                f"`lbflask enable {backend.id}` after maintenance",
            )  # fmt: skip
    for removed in pool.removed:
        advice = f"`lbflask enable {removed}` restores it; or remove it from the file too"
        yield _warning(f"backend {removed}", "an operator has removed it, but it is configured", advice)


def _reachable(pool: PoolView, backends: Sequence[Backend], reach: Reach) -> Iterator[Finding]:
    tried = backends[:MAX_CONNECTS]
    with ThreadPoolExecutor(CONCURRENT_CONNECTS, thread_name_prefix="doctor") as threads:
        reasons = list(threads.map(lambda backend: reach(backend, CONNECT_TIMEOUT), tried))
    for backend, reason in zip(tried, reasons, strict=True):
        if reason:
            yield _bad(
                f"backend {backend.id}", f"{backend.url} is unreachable from this instance: {reason}",
                "if others reach it, check the network and firewalls between; otherwise start it",
            )  # fmt: skip
    if not any(reasons):
        yield _good(f"pool {pool.name}", f"all {len(tried)} backends are reachable from this instance")


def _good(check: str, finding: str) -> Finding:
    return Finding(check=check, level=Level.GOOD, finding=finding, advice="")


def _warning(check: str, finding: str, advice: str) -> Finding:
    return Finding(check=check, level=Level.WARNING, finding=finding, advice=advice)


def _bad(check: str, finding: str, advice: str) -> Finding:
    return Finding(check=check, level=Level.BAD, finding=finding, advice=advice)
