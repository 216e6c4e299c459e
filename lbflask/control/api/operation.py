"""What an operation of the API is: enough to route a request to it, to check the request, and to document it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Request, Response
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest

from lbflask.control.api.models import Model
from lbflask.control.api.problems import Refused
from lbflask.control.auth import Principal
from lbflask.core.admin_tokens import Role

#: Bytes of a request's body.
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request that may be carried out. `etag` is what it may change; None for whatever holds."""

    request: Request
    principal: Principal
    query: Any = None
    body: Any = None
    etag: str | None = None


#: Gets the call and the parameters of the path.
View = Callable[..., BaseModel | Response]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `role` is None where anybody may ask; `problems` are the statuses of refusals besides
    those that every operation has.
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
    query: type[Model] | None = None
    media_type: str = "application/json"
    changes: bool = False
    problems: tuple[int, ...] = field(default=())
    later: bool = False  #: whether it may also answer 202, since what was asked for is only under way

    def call(self, request: Request, principal: Principal) -> ApiCall:
        """The request, checked. Raises Refused."""
        return ApiCall(request, principal, self._query(request), self._body(request), self._etag(request))

    def _query(self, request: Request) -> Any:
        if self.query is None:
            return None
        values = {name: value for name, value in request.args.items() if name in self.query.model_fields}
        return _validated(self.query, values, 400)

    def _body(self, request: Request) -> Any:
        if self.body is None:
            return None
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


def _validated(model: type[Model], values: Any, status: int) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise Refused(status, f"{location}: {first['msg']}" if location else first["msg"]) from None
