"""`GET /health`: can this balancer serve, and does it know what the fleet knows?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from lbflask.core import eligibility
from lbflask.core.model import Pool
from lbflask.state.fleet import Fleet


def view(pool: Pool, fleet: Fleet, *, details: bool) -> tuple[int, dict[str, Any]]:
    """Status code and document. 200 while at least one backend can serve, else 503.

    `status` is `ok`, `degraded` (serving, but without the shared store), `failing_open` (serving, but with
    backends that should not) or `down`. `details` adds what only operators should read: the backends, and why the store
    is out of reach.
    """
    snapshot = fleet.snapshot(pool.name)
    candidates, resort = eligibility.select(pool, snapshot)
    able = {candidate.backend.id for candidate in candidates}
    status = "down" if not able else "failing_open" if resort else "degraded" if fleet.degraded else "ok"
    document: dict[str, Any] = {
        "status": status,
        "store": "unreachable" if fleet.degraded else "connected",
        "pools": {pool.name: {"backends": len(pool.backends), "serving": len(able)}},
    }
    if details:
        if fleet.degraded:
            document["store_error"] = fleet.why
        loads = fleet.loads(pool.name)
        states: dict[str, Any] = {}
        for backend in pool.backends:
            active = eligibility.active_health(backend, snapshot)
            states[backend.id] = {
                "url": backend.url,
                "weight": backend.weight,
                "backup": backend.backup,
                "serving": backend.id in able,
                "health": active.health.value,
                "reason": active.reason,
                "since": active.since,
                "ejected": eligibility.ejected(backend, snapshot),
                "in_flight": loads.get(backend.id, 0),
            }
        document["pools"][pool.name]["states"] = states
        document["pools"][pool.name]["times_failing_open"] = fleet.resorted(pool.name)
        document["checker_silent_for"] = snapshot.heartbeat
    return (200 if able else 503), document


def blueprint(pool: Pool, fleet: Fleet, worker: Callable[[], dict[str, int]]) -> Blueprint:
    """The route, for both listeners. The admin listener's answer has the details, and what `worker` says of the process
    that happens to answer.
    """
    health = Blueprint("health", __name__)

    @health.get("/health")
    def get_health() -> Response:
        details = bool(request.environ.get("lbflask.admin"))
        code, document = view(pool, fleet, details=details)
        if details:
            document["worker"] = worker()
        response = jsonify(document)
        response.status_code = code
        response.headers["Cache-Control"] = "no-store"
        return response

    return health
