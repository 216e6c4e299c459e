"""The routes of the API, from the table. Whoever is not admitted does not get further than here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, request

from lbflask.control.api.openapi import PREFIX
from lbflask.control.api.operation import MOST_BYTES, ApiCall, Operation
from lbflask.control.api.problems import handle_errors
from lbflask.control.auth import Authenticator, Principal
from lbflask.core.admin_tokens import Role

_NOBODY = Principal(Role.READ, "nobody")


def blueprint(operations: Sequence[Operation], gate: Authenticator) -> Blueprint:
    """The API as Flask takes it."""
    api = Blueprint("api", __name__, url_prefix=PREFIX)
    handle_errors(api)
    for operation in operations:
        api.add_url_rule(
            operation.path,
            operation.name,
            _view(operation, gate),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    return api


def _view(operation: Operation, gate: Authenticator) -> Callable[..., Response]:
    def view(**parameters: Any) -> Response:
        if operation.role is None:
            gate.check_way(request)
            visitor = _NOBODY
        else:
            visitor = gate.admit(request, operation.role)
        request.max_content_length = MOST_BYTES
        call: ApiCall = operation.call(request, visitor)
        answer = operation.view(call, **parameters)
        if not isinstance(answer, Response):
            answer = Response(answer.model_dump_json(), operation.status, mimetype="application/json")
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    return view
