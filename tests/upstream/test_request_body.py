"""A body on its way to a backend: alone, and beside the wait for the response."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Queue

import pytest

from devtools.scripted_backend import OK
from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import CHUNKED, Framing
from lbflask.core.http.types import Fields
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.exchange_state import ExchangeEvent, ExchangeState
from lbflask.upstream.request_body import BodySender
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.socket_stream import SocketStream
from lbflask.upstream.stream import NEVER, ExchangeTimeouts
from tests.support.outgoing import RawRequest

LONG = PATIENCE
PATIENT = ExchangeTimeouts(LONG, LONG)
#: More than a socket takes that nobody reads from.
MUCH = b"x" * (1 << 24)
GONE = Fault(Blame.CLIENT, Stage.SEND, 400, "the client hung up within its body")

Wires = tuple[UpstreamConnection, socket.socket]
Step = bytes | Fault | None


@dataclass
class Body:
    """A body whose pieces the test puts into a queue: bytes, a client's fault, None for the end."""

    concurrent: bool = True
    trailers: Fields = field(default_factory=list)
    whole: bytes | None = None
    steps: Queue[Step] = field(default_factory=Queue)

    @property
    def repeatable(self) -> bool:
        return self.whole is not None

    def comes(self, *steps: Step) -> Body:
        for step in steps:
            self.steps.put(step)
        return self

    def __iter__(self) -> Iterator[bytes]:
        while (step := self.steps.get(timeout=LONG)) is not None:
            if isinstance(step, Fault):
                raise step
            yield step


@pytest.fixture
def body() -> Iterator[Body]:
    """A body that ends with its test at the latest; nobody is left who sends it."""
    body = Body()
    yield body
    body.comes(None)
    eventually(lambda: uploads() == 0, "nobody sends any more")


def uploads() -> int:
    """How many bodies are being sent beside the wait for a response."""
    return sum(thread.name == "upload" for thread in threading.enumerate())


@pytest.fixture
def wires() -> Iterator[Wires]:
    """A connection, and the backend's end of it."""
    ours, backend = socket.socketpair()
    backend.settimeout(LONG)
    connection = UpstreamConnection(SocketStream(ours), 0.0)
    yield connection, backend
    connection.close()
    backend.close()


def to_the_end(backend: socket.socket) -> bytes:
    data = b""
    while piece := backend.recv(65_536):
        data += piece
    return data


def read(backend: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := backend.recv(count - len(data))):
        data += piece
    return data


def post(body: Body, framing: Framing = CHUNKED) -> RawRequest:
    return RawRequest("POST", b"HEAD", body, framing)


class Asking:
    """An exchange on a thread of its own: its answer, or the fault that became of it."""

    def __init__(self, connection: UpstreamConnection, body: Body, timing: ExchangeTimeouts = PATIENT) -> None:
        self._outcome: Queue[ResponseReader | Fault] = Queue()
        self._thread = threading.Thread(target=self._ask, args=(connection, body, timing), daemon=True)
        self._thread.start()

    def _ask(self, connection: UpstreamConnection, body: Body, timing: ExchangeTimeouts) -> None:
        try:
            self._outcome.put(connection.exchange(post(body), timing))
        except Fault as fault:
            self._outcome.put(fault)

    @property
    def waits(self) -> bool:
        return self._outcome.empty()

    def answer(self) -> ResponseReader:
        outcome = self._outcome.get(timeout=LONG)
        assert isinstance(outcome, ResponseReader), outcome
        return outcome

    def fault(self) -> tuple[Blame, Stage, int, str]:
        outcome = self._outcome.get(timeout=LONG)
        assert isinstance(outcome, Fault), outcome
        return outcome.blame, outcome.stage, outcome.status, outcome.reason


# Alone


def test_a_body_of_known_length_goes_out_as_it_is(wires: Wires, body: Body) -> None:
    connection, backend = wires
    connection.advance(ExchangeEvent.REQUEST_STARTED)
    BodySender(connection, body.comes(b"one", b"two", None), chunked=False, timeout=LONG).run()
    assert connection.state is ExchangeState.WAITING
    assert read(backend, 6) == b"onetwo"


def test_chunks_go_out_one_by_one_and_then_the_trailers(wires: Wires, body: Body) -> None:
    """RFC 9112 §7.1."""
    connection, backend = wires
    body.trailers = [("X-Checksum", "1"), ("x-a", "\xe9")]
    body.comes(b"one", b"x" * 17, None)
    connection.advance(ExchangeEvent.REQUEST_STARTED)
    BodySender(connection, body, chunked=True, timeout=LONG).run()
    connection.close()
    assert to_the_end(backend) == (
        b"3\r\none\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\nX-Checksum: 1\r\nx-a: \xe9\r\n\r\n"
    )  # fmt: skip


def test_a_client_that_fails_ends_it_without_an_end_of_the_body(wires: Wires, body: Body) -> None:
    """RFC 9112 §8: half a body must not look like a whole one."""
    connection, backend = wires
    connection.advance(ExchangeEvent.REQUEST_STARTED)
    with pytest.raises(Fault) as caught:
        BodySender(connection, body.comes(b"one", GONE), chunked=True, timeout=LONG).run()
    assert caught.value is GONE
    assert not connection.request_sent
    connection.close()
    assert to_the_end(backend) == b"3\r\none\r\n"


def test_a_backend_that_is_gone_is_an_error_of_the_socket(wires: Wires, body: Body) -> None:
    connection, backend = wires
    backend.close()
    connection.advance(ExchangeEvent.REQUEST_STARTED)
    with pytest.raises(BrokenPipeError):
        BodySender(connection, body.comes(b"one", None), chunked=False, timeout=LONG).run()
    assert not connection.request_sent


# Beside the wait for the response


def test_pieces_leave_as_they_come_and_the_answer_to_all_of_them_is_read(wires: Wires, body: Body) -> None:
    connection, backend = wires
    asking = Asking(connection, body)
    assert read(backend, 4) == b"HEAD"
    for word in (b"one", b"two"):
        body.comes(word)
        assert read(backend, 8) == b"3\r\n" + word + b"\r\n"
    body.comes(None)
    assert read(backend, 5) == b"0\r\n\r\n"
    backend.sendall(OK)
    answer = asking.answer()
    assert answer.whole() == b"ok"
    eventually(lambda: connection.reusable, "the upload is over")


def test_an_answer_does_not_wait_for_the_rest_of_the_body(wires: Wires, body: Body) -> None:
    """R24: its connection is not used again, since the rest would stand before the next request."""
    connection, backend = wires
    body.comes(b"one")
    asking = Asking(connection, body)
    assert read(backend, 12) == b"HEAD3\r\none\r\n"
    backend.sendall(OK)
    answer = asking.answer()
    assert answer.complete
    assert not connection.reusable
    body.comes(None)
    eventually(lambda: connection.reusable, "the upload is complete after all")


def test_an_answer_may_come_in_turn_with_the_body(wires: Wires, body: Body) -> None:
    """Full duplex: each piece is answered before the next one is there."""
    connection, backend = wires
    asking = Asking(connection, body)
    assert read(backend, 4) == b"HEAD"
    backend.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = asking.answer()
    pieces = answer.pieces()
    assert next(pieces) == b""
    for word in (b"one", b"two", b"six"):
        body.comes(word)
        backend.sendall(read(backend, 8))
        assert next(pieces) == word
    body.comes(None)
    backend.sendall(read(backend, 5))
    assert list(pieces) == []
    eventually(lambda: connection.reusable, "the upload is over")


def test_a_client_that_fails_ends_the_wait_and_the_fault_is_its_own(wires: Wires, body: Body) -> None:
    """And the backend sees a request that broke off."""
    connection, backend = wires
    asking = Asking(connection, body.comes(b"one", GONE))
    assert asking.fault() == (Blame.CLIENT, Stage.SEND, 400, GONE.reason)
    assert to_the_end(backend) == b"HEAD3\r\none\r\n"


def test_a_client_that_fails_within_the_response_ends_that_too(wires: Wires, body: Body) -> None:
    connection, backend = wires
    asking = Asking(connection, body)
    backend.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    pieces = asking.answer().pieces()
    assert next(pieces) == b"hello"
    body.comes(GONE)
    with pytest.raises(Fault) as caught:
        next(pieces)
    assert caught.value is GONE


def test_a_backend_that_takes_nothing_more_may_still_answer(wires: Wires, body: Body) -> None:
    """R24, RFC 9112 §9.5: that it has closed is no reason not to hear what it said."""
    connection, backend = wires
    asking = Asking(connection, body)
    assert read(backend, 4) == b"HEAD"
    backend.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\n" + b"x" * 99)
    answer = asking.answer()
    backend.sendall(b"x")
    backend.close()
    body.comes(b"one", None)
    assert b"".join(answer.pieces()) == b"x" * 100
    assert (answer.status, answer.complete, connection.reusable) == (413, True, False)


def test_a_backend_that_closes_within_the_body_and_says_nothing_is_to_blame(wires: Wires, body: Body) -> None:
    connection, backend = wires
    asking = Asking(connection, body.comes(b"one"))
    assert read(backend, 12) == b"HEAD3\r\none\r\n"
    backend.close()
    assert asking.fault()[::2] == (Blame.BACKEND, 502)


def test_a_backend_that_takes_no_byte_for_too_long_is_given_up(wires: Wires, body: Body) -> None:
    """However long it would get for its answer."""
    connection, _ = wires
    asking = Asking(connection, body.comes(MUCH), ExchangeTimeouts(first_byte=LONG, between_bytes=0.05))
    assert asking.fault() == (Blame.BACKEND, Stage.SEND, 504, "took no byte of the request for 0.05 s")


def test_a_client_that_takes_its_time_is_not_the_backends_fault(wires: Wires, body: Body) -> None:
    """The time for the first byte begins when all of the request was sent."""
    connection, backend = wires
    body.comes(b"one")
    asking = Asking(connection, body, ExchangeTimeouts(first_byte=0.05, between_bytes=LONG))
    assert read(backend, 12) == b"HEAD3\r\none\r\n"
    eventually(lambda: connection.send_deadline == NEVER, "nothing is being sent")
    connection.check_deadline(time.monotonic() + 1000)
    assert asking.waits
    body.comes(None)
    assert asking.fault() == (Blame.BACKEND, Stage.WAIT, 504, "silent for 0.05 s")
    assert to_the_end(backend) == b"0\r\n\r\n"


def test_a_request_that_has_not_arrived_when_its_time_is_over_is_the_clients_fault(wires: Wires, body: Body) -> None:
    connection, backend = wires
    body.comes(b"one")
    asking = Asking(connection, body, ExchangeTimeouts(LONG, LONG, time.monotonic() + 0.05))
    assert asking.fault() == (Blame.CLIENT, Stage.SEND, 408, "the request took too long to arrive")
    assert to_the_end(backend) == b"HEAD3\r\none\r\n"


@pytest.mark.parametrize("gone", [True, False], ids=["client gone", "connection cut"])
def test_the_end_of_the_exchange_ends_the_upload(gone: bool, wires: Wires, body: Body) -> None:
    """Nothing goes on sending to a backend whose connection was given up."""
    connection, _ = wires
    asking = Asking(connection, body.comes(MUCH, MUCH, MUCH))
    eventually(lambda: uploads() == 1, "it is being sent")
    if gone:
        connection.abandon(connection.exchanges)
    else:
        connection.cut()
    blame, _, status, _ = asking.fault()
    assert (blame, status) == ((Blame.CLIENT, 499) if gone else (Blame.BACKEND, 502))
    eventually(lambda: uploads() == 0, "nobody sends any more")
