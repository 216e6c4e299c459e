"""Error responses of the balancer: their formats, and what they keep to themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.types import Fields
from lbflask.proxy.error_response import error_response
from lbflask.proxy.settings import ProxySettings


def said(fault: Fault, accept: str = "", retry_after: int | None = None, via: str | None = "lbflask") -> Any:
    status, fields, body = error_response(fault, accept, ProxySettings(via=via), retry_after)
    assert dict(fields)["Content-Length"] == str(len(body))
    return status, fields, body


CLIENTS = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
BACKENDS = Fault(Blame.BACKEND, Stage.CONNECT, 502, "10.0.0.7 refused")


def test_a_refusal_is_text_unless_json_is_asked_for() -> None:
    status, fields, body = said(CLIENTS)
    assert status == "400 Bad Request"
    assert ("Content-Type", "text/plain; charset=utf-8") in fields
    assert body == b"400 Bad Request: the Host is missing\n"


@pytest.mark.parametrize(
    "accept", ["application/json", "text/html, application/json;q=0.9", "application/problem+json"]
)
def test_a_refusal_is_json_for_who_asks_for_it(accept: str) -> None:
    _, fields, body = said(CLIENTS, accept)
    assert ("Content-Type", "application/json") in fields
    assert json.loads(body) == {"status": 400, "error": "Bad Request", "detail": "the Host is missing"}


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_refusal_says_nothing_of_the_backends(status: int) -> None:
    _, _, body = said(Fault(Blame.BACKEND, Stage.WAIT, status, "10.0.0.7 refused"))
    assert b"10.0.0.7" not in body
    assert body.startswith(str(status).encode())


def test_no_cache_keeps_a_refusal() -> None:
    """RFC 9111 §5.2.2.5."""
    assert ("Cache-Control", "no-store") in said(BACKENDS)[1]


def test_a_refusal_names_the_balancer_and_when_to_come_back_if_asked_to() -> None:
    """RFC 9110 §10.2.3 and §7.6.3."""
    fields: Fields = said(BACKENDS, retry_after=7)[1]
    assert ("Retry-After", "7") in fields
    assert ("Via", "1.1 lbflask") in fields
    assert {name for name, _ in said(BACKENDS, via=None)[1]} == {"Content-Type", "Content-Length", "Cache-Control"}
