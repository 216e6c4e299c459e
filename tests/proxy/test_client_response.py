"""What the client gets, and the one moment at which a request has ended."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.proxy.client_response import ClientResponse, refusal
from lbflask.upstream.requests_adapter import BackendResponse

BREAK = Fault(Blame.BACKEND, Stage.BODY, 502, "closed the connection within its response", answered=True)


class FakeAnswer:
    """A backend's answer: what has come already, and what comes later, which may be a fault."""

    def __init__(self, here: bytes | None, later: list[bytes | Fault]) -> None:
        self._here = here
        self._later = later
        self.complete = here is not None

    def whole(self) -> bytes | None:
        return self._here

    def pieces(self) -> Iterator[bytes]:
        for piece in self._later:
            if isinstance(piece, Fault):
                raise piece
            yield piece
        self.complete = True


class FakeResponse:
    """Notes how it was ended."""

    def __init__(self, here: bytes | None = None, later: tuple[bytes | Fault, ...] = ()) -> None:
        self.answer = FakeAnswer(here, list(later))
        self.ends: list[str] = []

    def release(self) -> None:
        self.ends.append("released")

    def close(self) -> None:
        self.ends.append("closed")


class Told:
    """Notes the end of the request."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, str, Fault | None]] = []

    def __call__(self, sent: int, cut: str, fault: Fault | None) -> None:
        self.ends.append((sent, cut, fault))


def reply_of(response: FakeResponse | bytes) -> tuple[ClientResponse, Told]:
    told = Told()
    return ClientResponse("200 OK", [], cast("BackendResponse | bytes", response), told), told


def test_a_body_that_is_here_already_goes_out_in_one_piece() -> None:
    response = FakeResponse(b"hello")
    reply, told = reply_of(response)
    assert response.ends == ["released"]  # the connection can serve another request while this one is written
    assert len(reply) == 1
    assert list(reply) == [b"hello"]
    reply.close()
    assert told.ends == [(5, "", None)]


def test_an_empty_body_is_one_piece_too() -> None:
    reply, told = reply_of(FakeResponse(b""))
    assert len(reply) == 1
    assert list(reply) == []
    reply.close()
    assert told.ends == [(0, "", None)]


def test_our_own_answer_is_one_piece() -> None:
    reply, told = reply_of(b"503 sorry\n")
    assert (len(reply), list(reply)) == (1, [b"503 sorry\n"])
    reply.close()
    assert told.ends == [(10, "", None)]


def test_a_body_that_is_on_its_way_has_no_known_number_of_pieces() -> None:
    """PEP 3333: a server would take a length of 1 as leave to frame the response itself."""
    reply, _ = reply_of(FakeResponse(later=(b"a",)))
    with pytest.raises(TypeError):
        len(reply)
    assert not reply.whole
    reply.close()


def test_a_body_is_passed_on_piece_by_piece_and_ends_once() -> None:
    response = FakeResponse(later=(b"", b"he", b"llo"))
    reply, told = reply_of(response)
    assert list(reply) == [b"", b"he", b"llo"]
    assert response.ends == ["released"]
    reply.close()
    reply.close()
    assert response.ends == ["released"]
    assert told.ends == [(5, "", None)]


def test_a_body_that_breaks_off_breaks_the_response_off() -> None:
    """G12, G13: the error that every gunicorn worker takes by cutting the connection, without a traceback."""
    response = FakeResponse(later=(b"he", BREAK))
    reply, told = reply_of(response)
    assert next(reply) == b"he"
    with pytest.raises(BrokenPipeError) as caught:
        next(reply)
    assert caught.value.errno == errno.EPIPE
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(2, "the backend closed the connection within its response", BREAK)]


def test_a_client_that_goes_away_ends_the_request_and_the_backends_connection() -> None:
    """R27."""
    response = FakeResponse(later=(b"he", b"llo"))
    reply, told = reply_of(response)
    next(reply)
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(2, "the client hung up", None)]


@pytest.mark.parametrize("asked", [True, False], ids=["between two pieces", "while the client takes none"])
def test_a_body_whose_time_is_over_is_cut_and_nobody_is_blamed(asked: bool) -> None:
    response, told = FakeResponse(later=(b"he", b"llo")), Told()
    reply = ClientResponse("200 OK", [], cast("BackendResponse", response), told, deadline=time.monotonic() - 1)
    if asked:
        with pytest.raises(BrokenPipeError):
            next(reply)
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(0, "the time for the whole request was over", None)]


def test_a_response_that_nobody_asked_for_a_second_time_has_still_ended() -> None:
    """A server that knows the length may not ask for more once it has all."""
    response = FakeResponse(later=(b"he",))
    reply, told = reply_of(response)
    next(reply)
    response.answer.complete = True
    reply.close()
    assert told.ends == [(2, "", None)]


# Our own short answers


def said(fault: Fault, accept: str = "", retry_after: int | None = None, via: str | None = "lbflask") -> Any:
    status, fields, body = refusal(fault, accept, retry_after, via)
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
