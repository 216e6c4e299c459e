"""The state machine of a connection, walked by real bytes: each event in each state."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Queue

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Fault
from lbflask.core.http.framing import Framing
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.exchange_state import READY, SENT, TRANSITIONS, UPLOADING, ExchangeEvent, ExchangeState
from lbflask.upstream.requests_adapter import PreparedBody
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.socket_stream import SocketStream
from lbflask.upstream.stream import ExchangeTimeouts
from tests.support.outgoing import RawRequest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


class Rig:
    """A connection, the backend's end of it, and a client that delivers a body piece by piece."""

    def __init__(self) -> None:
        ours, self.backend = socket.socketpair()
        self.backend.settimeout(PATIENCE)
        self.connection = UpstreamConnection(SocketStream(ours), 0.0, "http://a:1")
        self.body: Queue[bytes | None] = Queue()
        self._readers: Queue[ResponseReader] = Queue()
        self._threads: list[threading.Thread] = []

    def close(self) -> None:
        """The backend and the client are gone: whatever waits for them ends."""
        self.backend.close()
        self.body.put(None)
        for thread in self._threads:
            thread.join(PATIENCE)
        eventually(lambda: all(thread.name != "upload" for thread in threading.enumerate()), "no body is being sent")
        self.connection.close()

    def start_request(self) -> None:
        thread = threading.Thread(target=self._exchange, daemon=True)
        self._threads.append(thread)
        thread.start()
        self._receive(HEAD)

    def _exchange(self) -> None:
        body = PreparedBody(None, iter(self.body.get, None), concurrent=True)
        request = RawRequest("POST", HEAD, body, Framing(4), upgrade="echo")
        with suppress(Fault):
            self._readers.put(self.connection.exchange(request, ExchangeTimeouts(PATIENCE, PATIENCE)))

    def finish_request(self) -> None:
        self.body.put(b"body")
        self._receive(b"body")
        self.body.put(None)

    def break_off_request(self) -> None:
        self.backend.shutdown(socket.SHUT_RD)  # sending fails from now on, while receiving does not
        self.body.put(b"body")

    def start_response(self) -> None:
        self.backend.sendall(RESPONSE_HEAD)

    def end_response(self) -> None:
        self._read_body(b"ok")

    def end_last_response(self) -> None:
        self._read_body(b"ok, and more")

    def switch_protocols(self) -> None:
        self.backend.sendall(SWITCH)

    def close_connection(self) -> None:
        self.connection.close()

    def _receive(self, expected: bytes) -> None:
        received = b""
        while len(received) < len(expected) and (data := self.backend.recv(len(expected) - len(received))):
            received += data
        assert received == expected

    def _read_body(self, data: bytes) -> None:
        """Send the data, behind the head in one packet if that was not sent yet, and read the body."""
        awaited = self.connection.state in (ExchangeState.SENDING, ExchangeState.WAITING, ExchangeState.CUT_OFF)
        self.backend.sendall(RESPONSE_HEAD + data if awaited else data)
        assert b"".join(self._readers.get(timeout=PATIENCE).pieces()) == b"ok"

    def do(self, *events: ExchangeEvent) -> None:
        """Make them happen, by what the client, the backend or the owner of the connection does."""
        for event in events:
            target = TRANSITIONS[self.connection.state][event]
            ACTIONS[event](self)
            eventually(lambda state=target: self.connection.state is state, f"{event.name} leads to {target.name}")


S, E = ExchangeState, ExchangeEvent

ACTIONS: dict[ExchangeEvent, Callable[[Rig], None]] = {
    E.REQUEST_STARTED: Rig.start_request,
    E.REQUEST_SENT: Rig.finish_request,
    E.REQUEST_BROKEN_OFF: Rig.break_off_request,
    E.RESPONSE_STARTED: Rig.start_response,
    E.RESPONSE_ENDED: Rig.end_response,
    E.LAST_RESPONSE_ENDED: Rig.end_last_response,
    E.PROTOCOL_SWITCHED: Rig.switch_protocols,
    E.CLOSED: Rig.close_connection,
}

#: How each state is reached, with a sender that is still busy wherever one can be.
EARLY = (E.REQUEST_STARTED, E.RESPONSE_STARTED)
PATHS: dict[ExchangeState, tuple[ExchangeEvent, ...]] = {
    S.NEW: (),
    S.SENDING: (E.REQUEST_STARTED,),
    S.WAITING: (E.REQUEST_STARTED, E.REQUEST_SENT),
    S.CUT_OFF: (E.REQUEST_STARTED, E.REQUEST_BROKEN_OFF),
    S.DUPLEX: EARLY,
    S.BODY: (*EARLY, E.REQUEST_SENT),
    S.LAST_BODY: (*EARLY, E.REQUEST_BROKEN_OFF),
    S.RESPONDED: (*EARLY, E.RESPONSE_ENDED),
    S.IDLE: (E.REQUEST_STARTED, E.REQUEST_SENT, E.RESPONSE_STARTED, E.RESPONSE_ENDED),
    S.MUST_CLOSE: (*EARLY, E.LAST_RESPONSE_ENDED),
    S.TUNNEL: (E.REQUEST_STARTED, E.REQUEST_SENT, E.PROTOCOL_SWITCHED),
    S.CLOSED: (*EARLY, E.CLOSED),
}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def finish_after_close(rig: Rig) -> None:
    """The last piece was sent, and the connection closed, before the client announced the end of its body."""
    rig.body.put(None)


@pytest.mark.parametrize("event", ExchangeEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", ExchangeState, ids=lambda state: state.name)
def test_each_event_in_each_state(state: ExchangeState, event: ExchangeEvent, rig: Rig) -> None:
    """RFC 9112 §9.3: allowed ones happen by real bytes, others raise, and change nothing."""
    rig.do(*PATHS[state])
    connection = rig.connection
    assert connection.state is state
    if event not in TRANSITIONS[state]:
        with pytest.raises(RuntimeError, match=f"^{event.name} is not possible: .*{state.name}"):
            connection.advance(event)
        assert connection.state is state
    elif (state, event) == (S.CLOSED, E.REQUEST_SENT):
        finish_after_close(rig)
        eventually(lambda: all(thread.name != "upload" for thread in threading.enumerate()), "the sender has ended")
        assert connection.state is S.CLOSED
    else:
        rig.do(event)


@pytest.mark.parametrize("state", ExchangeState, ids=lambda state: state.name)
def test_only_a_connection_without_an_unfinished_exchange_is_reusable(state: ExchangeState, rig: Rig) -> None:
    rig.do(*PATHS[state])
    assert rig.connection.reusable is (state in READY)
    assert (E.REQUEST_STARTED in TRANSITIONS[state]) is (state in READY)


def test_a_request_is_never_both_sent_and_being_sent() -> None:
    assert not SENT & UPLOADING
    assert all(E.REQUEST_SENT in TRANSITIONS[state] for state in UPLOADING)
    assert not any(E.REQUEST_SENT in TRANSITIONS[state] for state in SENT)


def test_a_second_request_before_the_end_of_the_first_is_refused(rig: Rig) -> None:
    rig.do(*EARLY)
    with pytest.raises(RuntimeError, match="REQUEST_STARTED is not possible: <UpstreamConnection http://a:1 DUPLEX"):
        rig.connection.exchange(RawRequest("GET", HEAD), ExchangeTimeouts())


def test_a_client_that_goes_after_its_exchange_ends_no_other(rig: Rig) -> None:
    """Its callback may run late, when the connection carries the request of another client."""
    first = rig.connection.exchanges + 1
    rig.do(*PATHS[S.IDLE])
    rig.connection.abandon(first)
    assert rig.connection.reusable
    rig.do(E.REQUEST_STARTED, E.REQUEST_SENT)
    rig.connection.abandon(first)
    rig.do(E.RESPONSE_STARTED, E.RESPONSE_ENDED)
    assert rig.connection.reusable


@pytest.mark.parametrize("state", [S.NEW, S.DUPLEX, S.IDLE, S.CLOSED], ids=lambda state: state.name)
def test_a_connection_shows_origin_state_and_number_of_exchanges(state: ExchangeState, rig: Rig) -> None:
    rig.do(*PATHS[state])
    exchanges = 0 if state is S.NEW else 1
    assert repr(rig.connection) == f"<UpstreamConnection http://a:1 {state.name} exchanges={exchanges}>"
