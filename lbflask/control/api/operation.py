"""Definition of an API operation: enough to route, validate and document its requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Request, Response
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest

from lbflask.control.api.base_model import Model
from lbflask.control.api.problems import Refused
from lbflask.control.auth import Principal
from lbflask.core.admin_tokens import Role

#: Maximum size of a request body.
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A valid, authorized request. `etag` is the override that it expects; None for any."""

    request: Request
    principal: Principal
    query: Any = None
    body: Any = None
    etag: str | None = None


#: Called with the ApiCall and the path parameters.
View = Callable[..., BaseModel | Response]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `role` is None for operations without authentication; `problems` are error statuses
    beyond the common ones.
    """

    name: str
    method: str
    path: str
    summary: str
    view: View
    answer: type[Model] | None
    role: Role | None = Role.READ
    status: int = 200
    body: type[Model] | None = None
    body_optional: bool = False  #: whether no body stands for one with the defaults
    query: type[Model] | None = None
    media_type: str = "application/json"
    changes: bool = False
    problems: tuple[int, ...] = field(default=())
    later: bool = False  #: whether 202 is possible: accepted, under way

    def call(self, request: Request, principal: Principal) -> ApiCall:
        """The validated request. Raises Refused."""
        return ApiCall(request, principal, self._query(request), self._body(request), self._etag(request))

    def _query(self, request: Request) -> Any:
        if self.query is None:
            return None
        try:
            known = {field.alias or name for name, field in self.query.model_fields.items()}
            values = {name: value for name, value in request.args.items() if name in known}
        except UnicodeDecodeError:  # of a server that lets such bytes through
            raise Refused(400, "the query is not UTF-8") from None
        return _validated(self.query, values, 400)

    def _body(self, request: Request) -> Any:
        if self.body is None:
            return None
        if self.body_optional and not request.get_data():
            return self.body()
        if request.mimetype != "application/json":
            raise Refused(415, "the body must be JSON, with Content-Type: application/json")
        try:
            values = request.get_json()
        except (BadRequest, RecursionError):
            raise Refused(400, "the body is not JSON") from None
        return _validated(self.body, values, 422)

    def _etag(self, request: Request) -> str | None:
        if not self.changes or not request.headers.get("If-Match"):
            return None
        tags = request.if_match
        if tags.star_tag:
            return None
        strong = sorted(tags.as_set())
        if len(strong) != 1:
            raise Refused(400, "If-Match must be one strong entity tag, or *")
        return strong[0]


def json_response(document: BaseModel, status: int = 200) -> Response:
    """A response with the document."""
    return Response(document.model_dump_json(), status, mimetype="application/json")


def _validated(model: type[Model], values: Any, status: int) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise Refused(status, f"{location}: {first['msg']}" if location else first["msg"]) from None
