"""Findings about backends that get requests and owe the first byte of their responses for long."""

from __future__ import annotations

from collections.abc import Iterator

from lbflask.control.api.models import BackendView, Finding, PoolView
from lbflask.control.doctor.findings import bad, warning
from lbflask.control.views import NOTABLE_WAIT, waiting_text
from lbflask.core.model import Health
from lbflask.core.slow_uploads import matter


def waiting_findings(pool: PoolView) -> Iterator[Finding]:
    """Backends with a request that has waited for NOTABLE_WAIT seconds: an error if no other gets a response either."""
    for backend in pool.backends:
        if backend.oldest_wait is None or backend.oldest_wait < NOTABLE_WAIT:
            continue
        answers = backend.p50 is not None
        finding = f"{waiting_text(backend.waiting, backend.oldest_wait)}{_circumstances(backend, answers=answers)}"
        yield (warning if answers else bad)(f"backend {backend.id}", finding, _advice(backend))


def _circumstances(backend: BackendView, *, answers: bool) -> str:
    """Whether its checks pass, and whether it answers other requests."""
    checks = "; its checks pass" if backend.health.state is Health.UP else ""
    return checks + ("; it answers others" if answers else "; it has answered no request for ten seconds")


def _advice(backend: BackendView) -> str:
    """To end the slow uploads if such hold the backend: regular requests may wait for a thread behind them."""
    if backend.uploads is not None and matter(backend.uploads.slow, backend.in_flight):
        return "the slow uploads that hold it come first: other requests may wait behind them for one of its threads"
    return (
        f"if these requests should not take as long: `lbflask off {backend.id}` sends new ones elsewhere; look for "
        "what they wait for in its log and its threads"
    )
