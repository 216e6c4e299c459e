"""The admin API: authentication by header fields, queries and bodies of requests, and the command line's client."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from flask import Request
from werkzeug.test import EnvironBuilder

from fuzz.properties.fields import lines_of
from lbflask.cli.api_client import ApiClient, Unreachable, admin_url, token_from
from lbflask.config.admin import AdminConfig
from lbflask.control.api.endpoints import AdminApi
from lbflask.control.api.operation import Operation
from lbflask.control.api.problems import Refused
from lbflask.control.auth import Authenticator, Principal, TokenSet
from lbflask.control.explain import parse_query
from lbflask.core.admin_tokens import Role

SECRET = "alice-has-a-secret-token"
_OPERATOR = Principal(Role.OPERATOR, "alice")


@cache
def _operations() -> tuple[Operation, ...]:
    unused: Any = None
    return tuple(AdminApi(unused, unused, "", unused, unused).table())


def _authenticators() -> list[Authenticator]:
    settings: Any = [AdminConfig(), AdminConfig.model_validate({"tokens": [f"operator:alice:{SECRET}"]})]
    return [Authenticator(TokenSet(each), lambda: 1_700_000_000.0) for each in settings]


AUTHENTICATORS = _authenticators()


def _request(text: str, body: bytes = b"") -> Request:
    """A request with these lines of a head."""
    environ = EnvironBuilder(path="/", method="POST", data=body).get_environ()
    environ |= {"lbflask.admin": True, "CONTENT_TYPE": "application/json", "HTTP_HOST": "127.0.0.1"}
    for name, value in lines_of(text):
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return Request(environ)


def credentials(text: str) -> None:
    """Lines of a head: no client is admitted without a token where one is required, and all errors are refusals."""
    for authenticator in AUTHENTICATORS:
        for check in (authenticator.may_see_details, lambda one: authenticator.admit(one, Role.OPERATOR)):  # noqa: B023
            try:
                admitted = check(_request(text))
            except Refused as refused:
                assert refused.status in (401, 403)
                continue
            assert not (admitted and authenticator.tokens.required) or SECRET in text


def body(data: bytes) -> None:
    """Query and body, in two lines, of each operation: refused, or a call."""
    query, _, document = data.partition(b"\n")
    for operation in _operations():
        asked = _request("", document)
        asked.environ["QUERY_STRING"] = query.decode("latin-1")
        asked.environ["HTTP_IF_MATCH"] = query.decode("latin-1")
        try:
            call = operation.call(Request(asked.environ), _OPERATOR)
        except Refused as refused:
            assert refused.status in (400, 413, 415, 422)
        else:
            assert operation.body is None or isinstance(call.body, operation.body)
            assert operation.query is None or isinstance(call.query, operation.query)


def explanation(text: str) -> None:
    """Method, URL, client and header lines, each in a line: rejected, or a request."""
    method, url, client, *headers = [*text.split("\n"), "", ""]
    try:
        query = parse_query(method, url, headers[:-2], client)
    except ValueError as error:
        assert str(error)
        return
    assert query.target == "*" or query.target.startswith("/")


def url(text: str) -> None:
    """The URL of the admin API: rejected with advice, or a client of it."""
    token_from({"LBFLASK_ADMIN_TOKEN": text}, None)
    admin_url(text)
    if re.match(r"\s*https:", text, re.IGNORECASE):
        return  # which reads the certificates of the machine each time
    try:
        client = ApiClient(text)._client(1.0)  # a request would connect
    except Unreachable as error:
        assert str(error)
    else:
        client.close()
