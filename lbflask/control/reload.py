"""`POST /api/v1/reload`: read the configuration anew, as SIGHUP does, and say what came of it. Admin listener only."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request

from lbflask.config.handover import NoAnswer, Outcome


def blueprint(reload: Callable[[], Outcome]) -> Blueprint:
    """The route; `reload` may raise NoAnswer.

    200: in effect, `in_place` names the keys that have changed. 202: new workers take over, `by_new_workers` says for
    whose sake. 422: the configuration has an error, which `detail` tells, and nothing has changed. 503: nobody knows.
    Errors are problem details (RFC 9457).
    """
    api = Blueprint("reload", __name__)

    @api.post("/api/v1/reload")
    def post_reload() -> Response:
        if not request.environ.get("lbflask.admin"):
            return problem(404, "Not Found", "the balancer is steered through its admin listener")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            return problem(403, "Forbidden", "a page of another origin may not ask for this")
        try:
            outcome = reload()
        except NoAnswer as error:
            return problem(503, "Nobody answered", str(error))
        if outcome.refused:
            return problem(422, "The configuration was not reloaded", outcome.refused)
        response = jsonify(
            config_version=outcome.version, in_place=outcome.in_place, by_new_workers=outcome.by_new_workers
        )
        response.status_code = 202 if outcome.by_new_workers else 200
        response.headers["Cache-Control"] = "no-store"
        return response

    return api


def problem(status: int, title: str, detail: str) -> Response:
    """Problem details (RFC 9457)."""
    response = jsonify(title=title, status=status, detail=detail)
    response.status_code = status
    response.content_type = "application/problem+json"
    response.headers["Cache-Control"] = "no-store"
    return response
