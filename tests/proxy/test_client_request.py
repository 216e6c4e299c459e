"""A client's request, read out of the environ of our own worker and of stock ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.types import Fields
from lbflask.proxy import client_request
from lbflask.proxy.client_request import ClientBody, ClientRequest


def environ(**changes: Any) -> dict[str, Any]:
    """What gunicorn hands over for a plain GET; a value of None removes the key."""
    base = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/path?q=1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": "8080",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    return {key: value for key, value in (base | changes).items() if value is not None}


def read(**changes: Any) -> ClientRequest:
    return client_request.from_environ(environ(**changes))


def limited(body: ClientBody | None) -> ClientBody:
    """The body with a limit of ten bytes."""
    assert body is not None
    body.set_limit(10)
    return body


def refused(**changes: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        read(**changes)
    assert (caught.value.blame, caught.value.stage) == (Blame.CLIENT, Stage.CHOOSE)
    return caught.value


def pieces_of(*pieces: bytes | Exception) -> Callable[[], bytes]:
    """A reader that gives one after another, and then the end."""
    left = list(pieces)

    def read_piece() -> bytes:
        piece = left.pop(0) if left else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    return read_piece


class FakeExchange:
    """Our own worker's word on a request, its body coming in these pieces."""

    def __init__(self, fields: Fields, *pieces: bytes, at_hand: bytes | None = None) -> None:
        self.fields = fields
        self.read_body = pieces_of(*pieces)
        self.body_at_hand = lambda: at_hand
        self.expects_continue = False
        self.listener = ""
        self.trailers: Fields = []


# The head


def test_a_request_is_read_as_it_came() -> None:
    fields = [("Host", "shop.example"), ("x-a", "1"), ("X-A", "2")]
    request = read(**{"lbflask.exchange": FakeExchange(fields)})
    assert (request.method, request.raw_target, request.target.text) == ("GET", "/path?q=1", "/path?q=1")
    assert (request.host, request.peer, request.scheme) == ("shop.example", "192.0.2.1", "http")
    assert request.fields is fields
    assert request.body is None


def test_a_stock_worker_tells_the_fields_as_well_as_wsgi_can() -> None:
    """G15: order and case are lost, nothing else."""
    request = read(HTTP_X_FORWARDED_FOR="10.0.0.1", CONTENT_TYPE="text/plain", CONTENT_LENGTH="5")
    assert ("Host", "shop.example") in request.fields
    assert ("X-Forwarded-For", "10.0.0.1") in request.fields
    assert ("Content-Type", "text/plain") in request.fields


def test_a_peer_without_an_address_came_through_a_unix_socket() -> None:
    assert read(REMOTE_ADDR="").peer == "unix:"


def test_the_authority_of_an_absolute_target_replaces_the_host() -> None:
    """G16, RFC 9112 §3.2.2."""
    request = read(RAW_URI="http://other.example:81/a?b")
    assert (request.host, request.target.text) == ("other.example:81", "/a?b")


def test_http_1_0_needs_no_host() -> None:
    assert read(SERVER_PROTOCOL="HTTP/1.0", HTTP_HOST=None).host == ""


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"HTTP_HOST": None}, 400),
        ({"HTTP_HOST": "user@shop.example"}, 400),
        ({"HTTP_HOST": "a b"}, 400),
        ({"HTTP_HOST": "a, b"}, 400),
        ({"HTTP_HOST": "a/b"}, 400),
        ({"RAW_URI": "http://user:secret@shop.example/"}, 400),
        ({"RAW_URI": "shop.example:443"}, 400),
        ({"RAW_URI": "/a#b"}, 400),
        ({"RAW_URI": "*"}, 400),
        ({"RAW_URI": "shop.example:443", "REQUEST_METHOD": "CONNECT"}, 501),
    ],
)
def test_what_cannot_be_forwarded_is_the_clients_fault(changes: dict[str, Any], status: int) -> None:
    """RFC 9112 §3.2, RFC 9110 §7.2 and §4.2.4."""
    assert refused(**changes).status == status


# The framing


@pytest.mark.parametrize(
    ("changes", "framing"),
    [
        ({}, NO_BODY),
        ({"CONTENT_LENGTH": ""}, NO_BODY),
        ({"CONTENT_LENGTH": "0"}, Framing(0)),
        ({"CONTENT_LENGTH": "5"}, Framing(5)),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, CHUNKED),
        ({"HTTP_TRANSFER_ENCODING": "Chunked "}, CHUNKED),
    ],
)
def test_the_framing_is_the_clients(changes: dict[str, Any], framing: Framing) -> None:
    assert read(**changes).framing == framing


def test_a_length_of_no_bytes_is_told_apart_from_no_length() -> None:
    """RFC 9110 §8.6: some backends answer 411 to a POST without a length."""
    assert read(CONTENT_LENGTH="0").body is not None
    assert read().body is None


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked", "identity", "chunked, chunked"])
def test_a_coding_that_nobody_would_undo_is_refused(coding: str) -> None:
    """RFC 9112 §6.1: forwarded as plain chunks, the body would mean something else."""
    assert refused(HTTP_TRANSFER_ENCODING=coding).status == 501


def test_a_length_beyond_the_limit_is_refused_before_any_of_it_is_read() -> None:
    """G18: the client is not even told to go on."""
    with pytest.raises(Fault) as caught:
        limited(read(CONTENT_LENGTH="11").body)
    assert (caught.value.status, caught.value.blame, caught.value.stage) == (413, Blame.CLIENT, Stage.CHOOSE)
    assert limited(read(CONTENT_LENGTH="10").body).count == 0
    assert read(CONTENT_LENGTH="999999999999").framing.length == 999999999999


# The body


def test_a_body_is_read_piece_by_piece_from_our_own_worker() -> None:
    """G17: as it comes, not when it is complete."""
    request = read(CONTENT_LENGTH="10", **{"lbflask.exchange": FakeExchange([], b"hello", b"world")})
    body = request.body
    assert body is not None
    assert not body.touched
    pieces = iter(body)
    assert next(pieces) == b"hello"
    assert (body.touched, body.count, body.complete) == (True, 5, False)
    assert list(pieces) == [b"world"]
    assert body.complete


def test_a_body_that_is_here_already_may_be_sent_more_than_once() -> None:
    body = read(CONTENT_LENGTH="5", **{"lbflask.exchange": FakeExchange([], at_hand=b"hello")}).body
    assert body is not None
    assert (body.whole, body.touched, body.complete) == (b"hello", False, True)


def test_of_the_trailers_only_those_that_may_follow_a_body_are_passed_on() -> None:
    """RFC 9110 §6.5.1."""
    exchange = FakeExchange([], b"hello")
    exchange.trailers = [("Digest", "x"), ("Content-Length", "7"), ("Host", "evil")]
    body = read(HTTP_TRANSFER_ENCODING="chunked", **{"lbflask.exchange": exchange}).body
    assert body is not None
    assert body.trailers == [("Digest", "x")]


def test_a_body_is_read_from_wsgi_input_elsewhere() -> None:
    body = read(CONTENT_LENGTH="5", **{"wsgi.input": io.BytesIO(b"hello")}).body
    assert body is not None
    assert list(body) == [b"hello"]


def test_nothing_is_read_beyond_the_length() -> None:
    body = ClientBody(pieces_of(b"hello", AssertionError("read too much")), 5)
    assert list(body) == [b"hello"]


def failing(body: ClientBody) -> Fault:
    with pytest.raises(Fault) as caught:
        list(body)
    assert (caught.value.blame, caught.value.stage) == (Blame.CLIENT, Stage.SEND)
    assert not body.complete
    return caught.value


def test_a_client_that_hangs_up_within_its_body_is_to_blame() -> None:
    """G20, R6."""
    assert failing(ClientBody(pieces_of(b"he"), 5)).status == 400


def test_a_client_that_stops_sending_is_told_so() -> None:
    """RFC 9110 §15.5.9."""
    assert failing(ClientBody(pieces_of(b"he", TimeoutError()), 5)).status == 408


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset"), ValueError("bad chunk"), BrokenPipeError(32, "")]
)
def test_whatever_the_server_raises_for_a_bad_body_is_the_clients_fault(error: Exception) -> None:
    """G20: each server has exceptions of its own."""
    assert failing(ClientBody(pieces_of(b"he", error), None)).status == 400


def test_a_chunked_body_is_counted_against_the_limit() -> None:
    assert failing(limited(ClientBody(pieces_of(b"hello", b"world!"), None))).status == 413
    assert list(limited(ClientBody(pieces_of(b"hello", b"world"), None))) == [b"hello", b"world"]
