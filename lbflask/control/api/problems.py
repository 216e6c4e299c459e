"""Errors as problem details (RFC 9457). Internal errors are logged, and their details are never sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from lbflask.control.api.models import Problem
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.store.ports import StoreUnavailable

log = logging.getLogger("lbflask.admin")

MEDIA_TYPE = "application/problem+json"


class Refused(Exception):
    """The request is rejected with problem details. `kind` is the type of the problem, for programs."""

    def __init__(
        self, status: int, detail: str, fields: Mapping[str, str] | None = None, kind: str = "about:blank"
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.fields = dict(fields or {})
        self.kind = kind


def problem_response(
    status: int, detail: str, fields: Mapping[str, str] | None = None, kind: str = "about:blank"
) -> Response:
    """A response with problem details."""
    title = reason_phrase(status) or "Error"
    problem = Problem(type=kind, title=title, status=status, detail=detail)
    response = Response(problem.model_dump_json(), f"{status} {title}", mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(fields or {})
    return response


def handle_errors(blueprint: Blueprint) -> None:
    """Answer every error of the app with problem details, also for paths of no blueprint."""
    blueprint.app_errorhandler(Refused)(
        lambda error: problem_response(error.status, error.detail, error.fields, error.kind)
    )
    blueprint.app_errorhandler(StoreUnavailable)(_unavailable)
    blueprint.app_errorhandler(HTTPException)(_http)
    blueprint.app_errorhandler(Exception)(_unexpected)


def _unavailable(error: StoreUnavailable) -> Response:
    return problem_response(503, f"the store is unreachable, nothing was changed: {error}", {"Retry-After": "1"})


def _http(error: HTTPException) -> Response:
    fields = {name: value for name, value in error.get_headers() if name.lower() == "allow"}
    detail = "not found" if error.code == 404 else error.description or error.name
    return problem_response(error.code or 500, detail, fields)


def _unexpected(error: Exception) -> Response:
    log.error("error in the admin API at %s %s", request.method, request.path, exc_info=error)
    return problem_response(500, "the admin API failed; the error log has the details")
