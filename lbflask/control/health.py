"""`GET /health`: whether backends can serve and the store is reachable. `GET /live`: whether the process runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from flask import Blueprint, Request, Response, jsonify, make_response, request

from lbflask.core import eligibility, slow_start
from lbflask.core.eligibility import Fallback
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Pool, Snapshot
from lbflask.fleet.fleet import Fleet


def view(pools: Sequence[Pool], fleet: Fleet, *, details: bool, ending: bool = False) -> tuple[int, dict[str, Any]]:
    """Status code and document. 200 while at least one backend can serve, else 503.

    `draining` is 503, too: requests are served, but balancers in front should send them elsewhere, since the server is
    `ending` or an operator drains the instance.

    `status` is `ok`, `degraded` (serving, but without the shared store), `failing_open` (serving, but with backends
    that should not), `partly_down` (a pool has no backend that can serve, others have) or `down`. `details` adds data
    for operators: the backends and the error of the store.
    """
    serving: dict[str, tuple[int, Fallback]] = {}
    document: dict[str, Any] = {"status": "", "store": "unreachable" if fleet.degraded else "connected", "pools": {}}
    if details and fleet.degraded:
        document["store_error"] = fleet.why
    for pool in pools:
        snapshot = fleet.snapshot(pool.name)
        backends = members(pool, snapshot)
        now = fleet.now()
        selection = eligibility.select(pool, snapshot, now)
        eligible = {candidate.backend.id for candidate in selection.candidates}
        serving[pool.name] = len(eligible), selection.resort
        pool_document: dict[str, Any] = {"backends": len(backends), "serving": len(eligible)}
        if details:
            loads = fleet.loads(pool.name)
            pool_document["states"] = {
                backend.id: {
                    **_state(backend, snapshot, loads, eligible),
                    "warm_percent": slow_start.percent(pool, backend, snapshot, now),
                }
                for backend in backends
            }
            pool_document["times_failing_open"] = fleet.pools[pool.name].fallback_count
            pool_document["checker_silent_for"] = snapshot.heartbeat
        document["pools"][pool.name] = pool_document
    counts = [(count, bool(resort)) for count, resort in serving.values()]
    drain = fleet.drain
    draining = ending or drain is not None
    document["status"] = "draining" if draining else status_of(counts, degraded=fleet.degraded)
    if details and draining:
        document["draining"] = {
            "shutdown": ending,
            "who": "" if drain is None else drain.actor,
            "until": None if drain is None else drain.until,
        }
    return (503 if document["status"] in ("down", "draining") else 200), document


def status_of(serving: Collection[tuple[int, bool]], *, degraded: bool) -> str:
    """The status, from the number of serving backends of each pool and whether the pool fails open."""
    counts = [count for count, _ in serving]
    if not any(counts):
        return "down"
    if not all(counts):
        return "partly_down"
    return "failing_open" if any(resort for _, resort in serving) else "degraded" if degraded else "ok"


def _state(backend: Backend, snapshot: Snapshot, loads: Mapping[str, int], eligible: Collection[str]) -> dict[str, Any]:
    active = eligibility.active_health(backend, snapshot)
    return {
        "url": backend.url,
        "weight": backend.weight,
        "backup": backend.backup,
        "mode": mode_of(backend, snapshot).value,
        "serving": backend.id in eligible,
        "health": active.health.value,
        "reason": active.reason,
        "since": active.since,
        "ejected": eligibility.ejected(backend, snapshot),
        "in_flight": loads.get(backend.id, 0),
    }


def blueprint(
    pools: Callable[[], Sequence[Pool]],
    fleet: Fleet,
    worker: Callable[[], dict[str, Any]],
    may_see_details: Callable[[Request], bool],
    ending: Callable[[], bool] = lambda: False,
) -> Blueprint:
    """The routes, for public and admin listeners. `pools` returns the current pools, `worker` the facts of the process
    that answers; both are details. `ending` is whether the server is about to end. `/live` is 200 regardless of
    backends, store and drain.
    """
    health = Blueprint("health", __name__)

    @health.get("/health")
    def get_health() -> Response:
        details = may_see_details(request)
        code, document = view(pools(), fleet, details=details, ending=ending())
        if details:
            document["worker"] = worker()
        response = make_response(jsonify(document), code)
        response.headers["Cache-Control"] = "no-store"
        return response

    @health.get("/live")
    def get_live() -> Response:
        response = jsonify({"status": "live"})
        response.headers["Cache-Control"] = "no-store"
        return response

    return health
