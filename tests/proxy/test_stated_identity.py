"""What clients state of users reaches no backend, in the head or behind the body."""

from __future__ import annotations

from typing import cast

from lbflask.core.http.framing import CHUNKED
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.client_request import ClientBody, ServerExchange
from lbflask.proxy.stated_identity import StatedIdentity
from tests.proxy.test_router import request

ORIGIN = RequestOrigin("192.0.2.1", "http", "shop", "80")
CHECK = StatedIdentity(["Remote-User", "X-Roles"])


class Chunked:
    """An exchange whose body has trailer fields."""

    def __init__(self) -> None:
        self.trailers = [("X-Sum", "1"), ("remote-user", "root"), ("X.Roles", "admin")]


def test_a_head_keeps_its_other_fields() -> None:
    plain = request("/", [("Accept", "*/*")])
    assert CHECK.admit(plain, ORIGIN) is plain
    forged = request("/", [("REMOTE-USER", "root"), ("Accept", "*/*"), ("X_Roles", "admin")])
    assert CHECK.admit(forged, ORIGIN).fields == [("Accept", "*/*")]
    assert len(forged.fields) == 3
    assert "X-Roles" in repr(CHECK)


def test_trailers_keep_their_other_fields() -> None:
    upload = request("/")
    upload.framing, upload.body = CHUNKED, ClientBody(bytes, None, cast("ServerExchange", Chunked()))
    passed = CHECK.admit(upload, ORIGIN)
    assert passed.body is not None
    assert passed.body.trailers == [("X-Sum", "1")]
