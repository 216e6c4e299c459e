"""The routes of the API, from the table of operations. Authentication happens here, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, request

from lbflask.control.api.openapi import PREFIX
from lbflask.control.api.operation import MAX_BODY_BYTES, ApiCall, Operation, json_response
from lbflask.control.api.problems import handle_errors
from lbflask.control.auth import Authenticator, Principal
from lbflask.core.admin_tokens import Role

_ANONYMOUS = Principal(Role.READ, "nobody")


def blueprint(operations: Sequence[Operation], authenticator: Authenticator) -> Blueprint:
    """The API as a Flask blueprint."""
    api = Blueprint("api", __name__, url_prefix=PREFIX)
    handle_errors(api)
    for operation in operations:
        api.add_url_rule(
            operation.path,
            operation.name,
            _view(operation, authenticator),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    return api


def _view(operation: Operation, authenticator: Authenticator) -> Callable[..., Response]:
    def view(**parameters: Any) -> Response:
        if operation.role is None:
            authenticator.check_origin(request)
            principal = _ANONYMOUS
        else:
            principal = authenticator.admit(request, operation.role)
        request.max_content_length = MAX_BODY_BYTES
        call: ApiCall = operation.call(request, principal)
        response = operation.view(call, **parameters)
        if not isinstance(response, Response):
            response = json_response(response, operation.status)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return view
