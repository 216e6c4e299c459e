"""What the client gets, and the one moment at which a request has ended."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.proxy.client_response import ClientResponse
from lbflask.upstream.backend_transport import BackendResponse

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


class FakeResponse(BackendResponse):
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

    def __call__(self, *outcome: Any) -> None:
        self.ends.append(outcome)


def reply_of(response: FakeResponse | bytes) -> tuple[ClientResponse, Told]:
    told = Told()
    return ClientResponse("200 OK", [], response, told), told


def test_a_body_that_is_here_already_goes_out_in_one_piece() -> None:
    response = FakeResponse(b"hello")
    reply, told = reply_of(response)
    assert response.ends == []
    assert len(reply) == 1
    assert next(reply) == b"hello"
    assert response.ends == ["released"]  # the connection can serve another request while this one is written
    assert list(reply) == []
    reply.close()
    assert told.ends == [(5, "", None, None)]


def test_an_empty_body_is_one_piece_too() -> None:
    reply, told = reply_of(FakeResponse(b""))
    assert len(reply) == 1
    assert list(reply) == []
    reply.close()
    assert told.ends == [(0, "", None, None)]


def test_our_own_answer_is_one_piece() -> None:
    reply, told = reply_of(b"503 sorry\n")
    assert (len(reply), list(reply)) == (1, [b"503 sorry\n"])
    reply.close()
    assert told.ends == [(10, "", None, None)]


def test_a_body_that_is_on_its_way_has_no_known_number_of_pieces() -> None:
    """PEP 3333: a server would take a length of 1 as leave to frame the response itself."""
    reply, _ = reply_of(FakeResponse(later=(b"a",)))
    with pytest.raises(TypeError):
        len(reply)
    reply.close()


def test_a_body_is_passed_on_piece_by_piece_and_ends_once() -> None:
    response = FakeResponse(later=(b"", b"he", b"llo"))
    reply, told = reply_of(response)
    assert list(reply) == [b"", b"he", b"llo"]
    assert response.ends == ["released"]
    reply.close()
    reply.close()
    assert response.ends == ["released"]
    assert told.ends == [(5, "", None, None)]


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
    assert told.ends == [
        (2, "the backend closed the connection within its response", BREAK, AnswerCause.BACKEND_FAILED)
    ]


def test_a_client_that_goes_away_ends_the_request_and_the_backends_connection() -> None:
    """R27."""
    response = FakeResponse(later=(b"he", b"llo"))
    reply, told = reply_of(response)
    next(reply)
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(2, "the client hung up", None, AnswerCause.CLIENT_LEFT)]


@pytest.mark.parametrize("asked", [True, False], ids=["between two pieces", "while the client takes none"])
def test_a_body_whose_time_is_over_is_cut_and_nobody_is_blamed(asked: bool) -> None:
    response, told = FakeResponse(later=(b"he", b"llo")), Told()
    reply = ClientResponse("200 OK", [], response, told, deadline=time.monotonic() - 1)
    if asked:
        with pytest.raises(BrokenPipeError):
            next(reply)
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(0, "the time for the whole request was over", None, AnswerCause.TIMEOUT)]


def test_a_response_that_nobody_asked_for_a_second_time_has_still_ended() -> None:
    """A server that knows the length may not ask for more once it has all."""
    response = FakeResponse(later=(b"he",))
    reply, told = reply_of(response)
    next(reply)
    response.answer.complete = True
    reply.close()
    assert told.ends == [(2, "", None, None)]


def test_a_buffered_body_that_nobody_reads_is_released_at_the_end() -> None:
    response = FakeResponse(b"hello")
    reply, told = reply_of(response)
    reply.close()
    assert response.ends == ["closed"]
    assert told.ends == [(0, "", None, None)]


def test_a_deadline_is_judged_by_the_clock_that_set_it() -> None:
    now = 100.0
    response, told = FakeResponse(later=(b"he", b"llo")), Told()
    reply = ClientResponse("200 OK", [], response, told, deadline=101.0, clock=lambda: now)
    assert next(reply) == b"he"
    now = 101.5
    with pytest.raises(BrokenPipeError):
        next(reply)
    assert told.ends == [(2, "the time for the whole request was over", None, AnswerCause.TIMEOUT)]


def test_a_response_shows_its_state() -> None:
    reply, _ = reply_of(FakeResponse(later=(b"he",)))
    assert repr(reply) == "ClientResponse(200 OK, streamed, 0 bytes sent)"
    reply.close()
    assert repr(reply) == "ClientResponse(200 OK, streamed, finished)"
