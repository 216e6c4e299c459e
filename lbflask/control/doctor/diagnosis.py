"""The diagnosis of the fleet: the findings of all subjects, the causes before what follows from them.

What operators have done on purpose comes last. What follows from another finding is left out: without the store,
workers and checkers are unknown; without a checker, so are the backends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lbflask.control.api.models import Diagnosis, Finding, Level, StateView
from lbflask.control.doctor.answers import answer_findings
from lbflask.control.doctor.authentication import authentication_findings
from lbflask.control.doctor.automatic_certificates import automatic_certificate_findings, demanded_certificate_findings
from lbflask.control.doctor.backends import (
    ConnectFailure,
    FirstCheck,
    Reach,
    backend_findings,
    connect_failures,
    first_check_findings,
    override_findings,
    pool_findings,
)
from lbflask.control.doctor.certificates import (
    CertificateFacts,
    backend_certificate_findings,
    certificate_findings,
    handshake_findings,
)
from lbflask.control.doctor.checkers import checker_findings
from lbflask.control.doctor.clients import client_findings, held_back, upload_findings
from lbflask.control.doctor.discovery import discovery_findings
from lbflask.control.doctor.findings import CommandFacts, bad
from lbflask.control.doctor.installation import build_finding
from lbflask.control.doctor.outliers import outlier_findings
from lbflask.control.doctor.reserves import reserve_findings
from lbflask.control.doctor.store import emptied_findings, memory_findings, store_answer, store_findings
from lbflask.control.doctor.waiting import waiting_findings
from lbflask.control.doctor.workers import worker_findings
from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import Backend
from lbflask.store.ports import StoreUnavailable


def diagnose(
    state: StateView,
    ping: Callable[[], float],
    backends: Mapping[str, Sequence[Backend]],
    reach: Reach,
    first_checks: Mapping[tuple[str, str], FirstCheck],
    facts: CommandFacts,
    certificates: CertificateFacts | None = None,
) -> Diagnosis:
    """All findings, good and bad. `first_checks` has the backends in state `checking`, by pool and backend."""
    failures = {pool: connect_failures(pool, of_pool, reach) for pool, of_pool in backends.items()}
    first, *others = _findings(state, store_answer(state, ping), backends, failures, first_checks, facts, certificates)
    return Diagnosis(findings=[first, *memory_findings(facts), *others])


def troubles(
    state: StateView,
    backends: Mapping[str, Sequence[Backend]],
    facts: CommandFacts,
    certificates: CertificateFacts | None = None,
) -> list[Finding]:
    """The findings that are not good and need no connect and no trip to the store, what is bad first."""
    found = _findings(state, store_answer(state, lambda: 0.0), backends, {}, {}, facts, certificates)
    return sorted((one for one in found if one.level is not Level.GOOD), key=lambda one: one.level is not Level.BAD)


def _findings(
    state: StateView,
    answer: float | StoreUnavailable,
    backends: Mapping[str, Sequence[Backend]],
    failures: Mapping[str, Mapping[str, ConnectFailure | None]],
    first_checks: Mapping[tuple[str, str], FirstCheck],
    facts: CommandFacts,
    certificates: CertificateFacts | None,
) -> Iterator[Finding]:
    is_lost = isinstance(answer, StoreUnavailable)
    yield from store_findings(answer, facts)
    if not is_lost:
        yield from worker_findings(state)
        yield build_finding()
        yield from reserve_findings(state)
    if certificates is not None:
        yield from certificate_findings(certificates)
        yield from automatic_certificate_findings(certificates.names, certificates.automatic, certificates.now)
        if certificates.demand is not None:
            yield from demanded_certificate_findings(certificates.demand, certificates.automatic)
    yield from handshake_findings(state.fleet.instances)
    yield from _shortages(failures)
    for pool in state.pools:
        if not is_lost:
            yield from checker_findings(pool, len(state.fleet.instances))
            yield from discovery_findings(pool, state.fleet.at)
        yield from emptied_findings(pool, state.fleet.at)
        yield from pool_findings(pool)
        if not pool.checker.silent:
            yield from first_check_findings(pool, first_checks)
        found = {id_: one for id_, one in failures.get(pool.name, {}).items() if not _is_shortage(one)}
        yield from backend_findings(pool, backends.get(pool.name, ()), found)
        if certificates is not None:
            yield from backend_certificate_findings(pool, backends.get(pool.name, ()), certificates)
        # Without the store these are of the worker that answers, as the figures in the rows of its backends.
        yield from outlier_findings(pool)
        yield from waiting_findings(pool)
        yield from upload_findings(pool)
    answers = state.fleet.answers if state.fleet.local is None else state.fleet.local.answers
    yield from answer_findings(answers, facts, held_back(state.fleet.clients, state.fleet.refused_clients))
    yield from authentication_findings(facts.auth)
    yield from client_findings(state.fleet.clients)
    for pool in state.pools:
        yield from override_findings(pool, state.fleet.at)


def _is_shortage(failure: ConnectFailure | None) -> bool:
    return failure is not None and failure.cause is FailureCause.SHORTAGE


def _shortages(failures: Mapping[str, Mapping[str, ConnectFailure | None]]) -> Iterator[Finding]:
    """One finding for all connects that failed because this process lacks something: no backend is to blame."""
    lacking = [one for of_pool in failures.values() for one in of_pool.values() if _is_shortage(one)]
    for reason in sorted({one.reason for one in lacking if one is not None}):
        yield bad(
            "this instance", f"{reason}: {len(lacking)} connects to backends failed for it",
            "for descriptors raise LimitNOFILE= of its service (`ulimit -n`) and restart it; else free memory or ports",
        )  # fmt: skip
