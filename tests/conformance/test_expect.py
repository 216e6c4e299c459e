"""`Expect: 100-continue` (RFC 9110 §10.1.1): it is for the backend to say whether it wants the body."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Event

import pytest

from devtools.certificates import Authority
from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import get
from tests.conformance.cases import NEXT, ask, assert_alive, post, sized
from tests.conformance.servers import BODY_LIMIT, Rig, start
from tests.support.programmed import ProgrammedBackend, Received, next_of, says
from tests.support.tickets import TicketingPeer, ticketing

EXPECTING = ask(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_the_backend_decides_and_its_100_is_passed_on(rig: Rig, client: RawClient, backend: ProgrammedBackend) -> None:
    """G18: the client is told to go on when the backend has said so, and once."""
    seen: Queue[bytes] = Queue()
    go_on = Event()

    def answer(peer: Peer, request: Received) -> None:
        seen.put(request.head)
        peer.wait(go_on)
        peer.send(CONTINUE)
        seen.put(peer.read(5))
        peer.send(OK)

    backend.answer = answer
    client.send(EXPECTING)
    try:
        assert b"\r\nExpect: 100-continue\r\n" in next_of(seen)
    finally:
        go_on.set()
    assert client.read_until(b"\r\n\r\n") == CONTINUE
    client.send(b"hello")
    assert next_of(seen) == b"hello"
    assert client.answer().line == b"HTTP/1.1 200 OK"
    assert_alive(rig, client)


def test_a_silent_backend_is_not_waited_for_long(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §10.1.1: many do not know of it; after a second the body is asked for all the same."""
    bodies = backend.takes_the_body()
    client.send(EXPECTING)
    assert client.read_until(b"\r\n\r\n") == CONTINUE
    client.send(b"hello")
    assert client.answer().line == b"HTTP/1.1 200 OK"
    assert next_of(bodies) == b"hello"


def test_a_final_response_replaces_the_100(client: RawClient, backend: ProgrammedBackend) -> None:
    """G18, R24: the body is not asked for, and since it may come all the same the connection ends."""
    backend.answer = lambda peer, request: peer.send(sized(b"no", status=b"401 Who"))
    client.send(EXPECTING)
    answer = client.answer()
    assert (answer.status, answer.body) == (401, b"no")
    assert answer.values(b"connection") == [b"close"]
    assert client.rest() == b""


def test_a_client_that_does_not_wait_is_served(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §10.1.1: it may send its body at once."""
    bodies = backend.takes_the_body()
    client.send(EXPECTING + b"hello")
    answer = client.answer()
    while answer.status == 100:
        answer = client.answer()
    assert answer.status == 200
    assert next_of(bodies) == b"hello"


def test_a_100_that_arrives_late_is_not_the_response(rig: Rig, client: RawClient, backend: ProgrammedBackend) -> None:
    """R2: nor is it passed on after the body was sent."""

    def answer(peer: Peer, request: Received) -> None:
        peer.read(5)
        peer.send(CONTINUE + OK)

    backend.answer = answer
    client.send(post())
    assert client.answer().line == b"HTTP/1.1 200 OK"
    assert_alive(rig, client)


def test_an_expectation_without_a_body_is_not_answered(rig: Rig, client: RawClient) -> None:
    """RFC 9110 §10.1.1."""
    assert client.ask(ask(b"Expect: 100-continue")).status == 200
    assert_alive(rig, client)


def test_a_client_of_http_1_0_never_gets_a_100(client: RawClient) -> None:
    """RFC 9110 §10.1.1."""
    client.send(ask(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST", version=b"1.0") + b"hello")
    assert client.answer().line == b"HTTP/1.1 200 OK"


def test_who_is_refused_is_not_told_to_go_on(client: RawClient, backend: ProgrammedBackend) -> None:
    """G18: the first thing it hears is the refusal."""
    client.send(ask(b"Content-Length: %d" % (BODY_LIMIT + 1), b"Expect: 100-continue", method=b"POST"))
    answer = client.answer()
    assert (answer.status, answer.values(b"connection")) == (413, [b"close"])
    assert client.rest() == b""
    assert backend.requests == []


def test_chunks_may_be_waited_for_as_well(client: RawClient, backend: ProgrammedBackend) -> None:
    """G18."""
    bodies = backend.takes_the_body()
    client.send(ask(b"Transfer-Encoding: chunked", b"Expect: 100-Continue", method=b"POST"))
    assert client.read_until(b"\r\n\r\n") == CONTINUE
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert client.answer().status == 200
    assert next_of(bodies) == b"5\r\nhello\r\n0\r\n\r\n"
    backend.answer = says(OK)
    assert client.ask(NEXT).status == 200


def asks_for_the_body(peer: TicketingPeer) -> None:
    peer.send(CONTINUE)
    assert peer.read(5) == b"hello"
    peer.send(OK)


def takes_the_body(peer: TicketingPeer) -> None:
    assert peer.read(5) == b"hello"
    peer.send(OK)


@pytest.mark.parametrize("answer", [asks_for_the_body, takes_the_body])
@pytest.mark.parametrize("in_pieces", [False, True], ids=["tickets", "tickets in pieces"])
@pytest.mark.sampled(2)
def test_session_tickets_are_not_taken_for_an_answer(
    in_pieces: bool,
    answer: Callable[[TicketingPeer], None],
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """RFC 8446 §4.6.1: a readable socket proves nothing of HTTP, and the backend is not to blame for it."""
    authority = Authority(tmp_path_factory.mktemp("authority"))

    def play(peer: TicketingPeer) -> None:
        tickets = [peer.tickets[at : at + 1] for at in range(len(peer.tickets))] if in_pieces else [peer.tickets]
        while head := peer.read_head():
            peer.send_raw(*tickets)
            tickets = []
            if b"Expect" in head:
                answer(peer)
            else:
                peer.send(OK)

    with ScriptedBackend(ticketing(authority.server("127.0.0.1"), play)) as house:
        settings = {"backends": f"https://127.0.0.1:{house.port}", "backend_tls__ca_file": authority.ca_file}
        for rig in start("tickets", redis_url, ejection__failures=1, **settings):
            for _ in range(5):
                with rig.connect() as client:
                    client.send(EXPECTING)
                    assert client.read_until(b"\r\n\r\n") == CONTINUE
                    client.send(b"hello")
                    assert client.answer().line == b"HTTP/1.1 200 OK"
            assert get(rig.port).status == 200
