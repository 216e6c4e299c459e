"""Findings about the backends of a pool: their states with what helps, and connects from this instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lbflask.control.api.models import BackendView, Finding, PoolView, State
from lbflask.control.doctor import advice
from lbflask.control.doctor.findings import bad, good, warning
from lbflask.core.eligibility import Fallback
from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import Backend
from lbflask.core.operator_note import OperatorNote, described

#: Connects at once, and seconds for each.
CONCURRENT_CONNECTS = 16
CONNECT_TIMEOUT = 2.0
#: Backends of a pool that are connected to; the checker covers larger pools.
MAX_CONNECTS = 200

#: States that operators have set.
_BY_OPERATORS = frozenset({State.DRAINING, State.OFF})

#: Causes that a connect from this instance repeats; after it, others may remain.
_OF_CONNECTS = frozenset(
    {
        FailureCause.NAME,
        FailureCause.NAME_SERVER,
        FailureCause.REFUSED,
        FailureCause.NO_ROUTE,
        FailureCause.TIMED_OUT,
        FailureCause.NO_SOCKET,
        FailureCause.FORBIDDEN,
    }
)


class ConnectFailure(NamedTuple):
    """Why a backend cannot be connected to."""

    reason: str
    cause: FailureCause


#: Connects to a backend within so many seconds; None after success.
Reach = Callable[[str, Backend, float], ConnectFailure | None]


class FirstCheck(NamedTuple):
    """A backend without a completed check: seconds since it came into the pool, None if unknown, and seconds until its
    first check must have completed.
    """

    waited: float | None
    limit: float


def pool_findings(pool: PoolView) -> Iterator[Finding]:
    """Whether the pool can serve. Why its backends do not is said of each of them."""
    name = f"pool {pool.name}"
    if not pool.backends:
        remedy = "`lbflask add URL`, or `backends` in the configuration"
        remedy = remedy if pool.source_failure is None else f"correct its discovery, or meanwhile {remedy}"
        yield bad(name, "it has no backends: clients get 503", remedy)
    elif not pool.serving:
        by_operators = [one.id for one in pool.backends if one.state in _BY_OPERATORS]
        remedy = f"`lbflask enable {by_operators[0]}`" if by_operators else "start one of them; the reasons are below"
        yield bad(name, "no backend can serve: clients get 503", remedy)
    elif pool.overlooks == Fallback.UNCHECKED:
        finding = f"{pool.serving} serve although no check of them has ended yet, since no other can"
        yield warning(name, finding, "wait for their first check; the log of the checker has its problems")
    elif pool.overlooks:
        finding = (
            f"no backend is well: {pool.serving} of {len(pool.backends)} get requests all the same (fail open), and "
            "clients the errors of those that fail"
        )
        yield bad(name, finding, "repair one of them; the reasons are below")
    else:
        yield good(name, f"{pool.serving} of {len(pool.backends)} backends serve")


def backend_findings(
    pool: PoolView, backends: Sequence[Backend], failures: Mapping[str, ConnectFailure | None]
) -> Iterator[Finding]:
    """One finding for each backend that is not well, by checks, by requests, or by a connect from this instance.

    `failures` has the backends that were connected to. Those that operators have taken out are left out.
    """
    by_id = {backend.id: backend for backend in backends}
    for view in pool.backends:
        backend, failure = by_id.get(view.id), failures.get(view.id)
        if view.state in _BY_OPERATORS:
            continue
        if backend is not None and view.state is State.DOWN:
            yield _down(view, backend, failure, connected=view.id in failures)
        elif backend is not None and failure is not None:
            finding = f"{failure.reason}, from this instance; by checks and requests it is {view.state}"
            yield bad(f"backend {view.id}", finding, advice.for_backend(failure.cause, backend))
        elif view.state is State.UNKNOWN and not pool.checker.silent:
            remedy = "the checker writes it anew with its next check; if not, its log has the reason"
            yield warning(f"backend {view.id}", f"{view.state}: {view.reason}", remedy)
        elif view.state is State.EJECTED:
            remedy = (
                "its log, and `fault` in the access log, have the reasons; it returns when a probe succeeds, or by "
                f"`lbflask uneject {view.id}`"
            )
            yield warning(f"backend {view.id}", f"{view.state}: {view.reason}", remedy)
    if failures and not any(failures.values()):
        yield good(f"pool {pool.name}", f"all {len(failures)} backends are reachable from this instance")


def override_findings(pool: PoolView, now: float) -> Iterator[Finding]:
    """Backends that operators have taken out, or removed from what is configured. `now` is by the store's clock."""
    for view in pool.backends:
        if view.state in _BY_OPERATORS:
            yield warning(f"backend {view.id}", view.reason, f"`lbflask enable {view.id}` after maintenance")
    for removed in pool.removed:
        remedy = f"`lbflask enable {removed}` restores it; or remove it from the file too"
        note = pool.removal_notes.get(removed)
        author = None if note is None else OperatorNote(note.actor, note.at, note.reason)
        yield warning(f"backend {removed}", f"{described('removed', author, now)}; it is configured", remedy)


def _down(view: BackendView, backend: Backend, failure: ConnectFailure | None, *, connected: bool) -> Finding:
    """A backend that checks find down: the same cause here is not repeated, another one is added."""
    cause, finding = view.health.cause, f"{view.state}: {view.reason}"
    if failure is not None:
        same = failure.cause is cause and cause is not FailureCause.UNKNOWN
        finding += "; the same from this instance" if same else f"; from this instance: {failure.reason}"
        cause = failure.cause
    elif connected and cause in _OF_CONNECTS:
        finding += "; this instance can connect"
        remedy = f"the network of the checker differs from that of this instance: {advice.for_backend(cause, backend)}"
        return warning(f"backend {view.id}", finding, remedy)
    remedy = advice.for_backend(cause, backend, view.health.certificate_expires)
    return warning(f"backend {view.id}", finding, remedy)


def first_check_findings(pool: PoolView, first_checks: Mapping[tuple[str, str], FirstCheck]) -> Iterator[Finding]:
    """Backends without requests because no check of them has completed."""
    for backend in pool.backends:
        first = first_checks.get((pool.name, backend.id))
        if backend.state is not State.CHECKING or first is None:
            continue
        name, waited = f"backend {backend.id}", "" if first.waited is None else f" for {first.waited:.0f} s"
        if first.waited is not None and first.waited <= first.limit:
            finding = f"checking{waited}: its first check has not completed, so it gets no requests yet"
            yield warning(name, finding, f"wait at most {first.limit:.0f} s")
            continue
        leader = (
            f"the checker {pool.checker.leader} leads and" if pool.checker.leader else "no checker leads, and the last"
        )
        yield warning(
            name, f"checking{waited}: {leader} has reported no check of it, so it gets no requests",
            "the checker has another configuration or hangs: start it with this one, or reload it (SIGHUP, or "
            "`lbflask reload`)",
        )  # fmt: skip


def connect_failures(pool: str, backends: Sequence[Backend], reach: Reach) -> dict[str, ConnectFailure | None]:
    """Why each of the first MAX_CONNECTS backends cannot be connected to from here; None if it can."""
    tried = backends[:MAX_CONNECTS]
    with ThreadPoolExecutor(CONCURRENT_CONNECTS, thread_name_prefix="doctor") as threads:
        failures = list(threads.map(lambda backend: reach(pool, backend, CONNECT_TIMEOUT), tried))
    return {backend.id: failure for backend, failure in zip(tried, failures, strict=True)}
