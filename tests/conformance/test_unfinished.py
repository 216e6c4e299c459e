"""Requests that a backend answers before it has all of them: what it still waits for must not be read out of the next
request (RFC 9112 §9.3, §9.5), which would reach a target that no route has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from queue import Queue

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer
from tests.conformance.cases import NEXT, ask, chunks, reply, sized
from tests.conformance.servers import Rig
from tests.support.programmed import ProgrammedBackend, Received, next_of

EXPECT = b"Expect: 100-continue"
LENGTH = b"Content-Length: 100"
CHUNKED = b"Transfer-Encoding: chunked"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Unfinished:
    """A request of which the backend gets only the head and `part` of the body."""

    name: str
    head: bytes
    part: bytes = b""

    @property
    def method(self) -> str:
        return self.head.split(b" ")[0].decode()


REQUESTS = [
    Unfinished("a length, expecting", ask(LENGTH, EXPECT, method=b"POST")),
    Unfinished("chunks, expecting", ask(CHUNKED, EXPECT, method=b"POST")),
    Unfinished("HEAD, expecting", ask(LENGTH, EXPECT, method=b"HEAD")),
    Unfinished("a length, nothing of it", ask(LENGTH, method=b"POST")),
    Unfinished("a length, some of it", ask(LENGTH, method=b"POST"), b"some"),
    Unfinished("a GET with a length", ask(LENGTH)),
    Unfinished("chunks, none of them", ask(CHUNKED, method=b"PUT")),
    Unfinished("chunks but the last", ask(CHUNKED, method=b"PUT"), chunks(b"some")[:-5]),
]
ANSWERS = {
    "plain": sized(b"no", status=b"403 Forbidden"),
    "not plain": sized(b"no", b"X-Empty:", status=b"403 Forbidden"),
    "chunks": reply(CHUNKED, status=b"200 OK") + chunks(b"no"),
    "204": reply(status=b"204 No Content"),
    "304": reply(LENGTH, status=b"304 Not Modified"),
    "417": sized(b"", status=b"417 Expectation Failed"),
    "100 and the final one": CONTINUE + sized(b"no", status=b"401 Unauthorized"),
    "103 and the final one": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(b"no", status=b"403 Forbidden"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda case: case.name)
def test_a_connection_that_awaits_a_body_carries_no_other_request(
    request_: Unfinished, answer: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    left: Queue[bytes] = Queue()

    def answering(peer: Peer, seen: Received) -> None:
        if seen.target == b"/next":
            peer.send(OK)
            return
        if request_.part:
            peer.read_until(b"some")
        peer.send(answer)
        left.put(peer.read_to_end())

    backend.answer = answering
    client.send(request_.head + request_.part)
    got = client.answer(request_.method)
    while got.status < 200:
        got = client.answer(request_.method)
    assert got.status == int(answer.rpartition(b"HTTP/1.1 ")[2][:3])
    with rig.connect() as other:
        assert other.ask(NEXT).body == b"ok"
    assert b"/next" not in next_of(left)
    assert backend.requests[-1].target == b"/next"


def test_a_body_that_is_requested_and_answered_before_it_arrives(
    rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """100 first, and while the client's body is awaited the final answer."""
    left: Queue[bytes] = Queue()

    def answering(peer: Peer, seen: Received) -> None:
        if seen.target == b"/next":
            peer.send(OK)
            return
        peer.send(CONTINUE)
        peer.read_until(b"some")
        peer.send(sized(b"no", status=b"403 Forbidden"))
        left.put(peer.read_to_end())

    backend.answer = answering
    client.send(ask(LENGTH, EXPECT, method=b"POST"))
    assert client.read_until(b"\r\n\r\n") == CONTINUE
    client.send(b"some")
    assert client.answer().status == 403
    with rig.connect() as other:
        assert other.ask(NEXT).body == b"ok"
    assert next_of(left) == b""


@pytest.mark.parametrize("part", [b"", b"some"], ids=["nothing of it", "some of it"])
@pytest.mark.parametrize("expecting", [False, True], ids=["at once", "expecting"])
def test_protocols_are_not_switched_within_a_request(
    part: bytes, expecting: bool, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9110 §7.8: what follows on the client's connection is still its body."""
    left: Queue[bytes] = Queue()

    def answering(peer: Peer, seen: Received) -> None:
        if part and not expecting:
            peer.read_until(part)
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x-echo/1\r\n\r\n")
        left.put(peer.read_to_end())

    backend.answer = answering
    fields = (LENGTH, b"Connection: upgrade", b"Upgrade: x-echo/1", *([EXPECT] if expecting else []))
    client.send(ask(*fields, method=b"POST") + part)
    answer = client.answer()
    while answer.status == 100:
        answer = client.answer()
    assert (answer.status, answer.values(b"connection")) == (502, [b"close"])
    assert next_of(left) == b""
