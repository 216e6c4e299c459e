"""Lengths that peers name: one that fits in 63 bits is passed on as it comes, whatever the memory; others are refused.

A number that a peer has chosen is never a size of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Event

import pytest

from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import Peer
from tests.conformance.cases import ask, assert_alive, assert_told_shortly, reply
from tests.conformance.servers import Rig, fresh
from tests.support.programmed import ProgrammedBackend, Received, next_of, says

MOST = (1 << 63) - 1
#: Lengths of which no more than a part is ever sent.
LONG = [1 << 31, 1 << 32, 50_000_000_000, 10**15, 1 << 62, MOST]
#: As decimal numbers: beyond 63 bits, beyond 64 bits, of more digits than Python reads, and what only Python reads.
TOO_LONG = [
    b"9223372036854775808", b"9999999999999999999", b"18446744073709551615", b"18446744073709551616",
    b"18446744073709551621", b"1" + b"0" * 30, b"9" * 100, b"9" * 5000,
]  # fmt: skip
NO_LENGTH = [b"\xb2", b"5\xb2", b"\xbc", b"+5", b"-5", b"5_0", b"0x5", b"5.0", b"5 5", b"1e3", b"\xd9\xa3"]
#: The same as sizes of chunks.
TOO_LARGE = [b"8000000000000000", b"ffffffffffffffff", b"10000000000000000", b"10000000000000005", b"f" * 5000]
#: Bytes that a worker may take beside what it has: far more than it needs for one request.
ROOM = 48 << 20


def _shown(value: bytes) -> str:
    return value.decode("latin-1") if len(value) <= 40 else f"{len(value)} digits"


@pytest.fixture
def rig(unlimited: Rig) -> Iterator[Rig]:
    yield from fresh(unlimited)


def peak(rig: Rig) -> int:
    """The most memory that the worker has ever held, in bytes."""
    (worker,) = rig.balancer.workers()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def takes(count: int, backend: ProgrammedBackend) -> tuple[Queue[bytes], Event]:
    """The backend reads so many bytes of a body, and the rest until the end. The event says that it may answer."""
    taken: Queue[bytes] = Queue()
    over = Event()

    def answer(peer: Peer, _: Received) -> None:
        taken.put(peer.read(count))
        peer.wait(over)
        peer.close()

    backend.answer = answer
    return taken, over


# Requests


@pytest.mark.parametrize("together", [True, False], ids=["with the head", "behind the head"])
@pytest.mark.parametrize("length", LONG)
def test_a_long_body_is_passed_on_as_it_comes(
    length: int, together: bool, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    taken, over = takes(5, backend)
    head = ask(b"Content-Length: %d" % length, method=b"POST")
    client.send(head + b"hello" if together else head)
    if not together:
        client.send(b"hello")
    assert next_of(taken) == b"hello"
    assert backend.request.values(b"content-length") == [b"%d" % length]
    over.set()
    assert client.answer().status == 502


@pytest.mark.parametrize("size", LONG)
def test_a_long_chunk_is_passed_on_as_it_comes(size: int, client: RawClient, backend: ProgrammedBackend) -> None:
    taken, over = takes(10, backend)
    client.send(ask(b"Transfer-Encoding: chunked", method=b"POST") + b"%x\r\nhello" % size)
    assert next_of(taken) == b"5\r\nhello\r\n"
    over.set()
    assert client.answer().status == 502


@pytest.mark.parametrize(
    ("fields", "begins"),
    [((b"Content-Length: 50000000000",), b""), ((b"Transfer-Encoding: chunked",), b"ba43b7400\r\n")],
    ids=["length", "chunk"],
)
def test_a_long_body_takes_no_memory(
    fields: tuple[bytes, ...], begins: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """However much of it has passed."""
    before = peak(rig)
    much = 100 << 20

    def answer(peer: Peer, _: Received) -> None:
        read = 0
        while read < much and (piece := peer.read(1 << 16)):
            read += len(piece)
            peer.received = b""
        peer.close()

    backend.answer = answer
    client.send(ask(*fields, method=b"POST") + begins)
    piece = b"x" * (1 << 20)
    with suppress(OSError):
        for _ in range(101):
            client.send(piece)
    assert client.answer().status == 502
    assert peak(rig) - before < ROOM


@pytest.mark.parametrize("length", TOO_LONG + NO_LENGTH, ids=_shown)
def test_a_length_that_is_none_or_too_long_is_refused(length: bytes, rig: Rig, backend: ProgrammedBackend) -> None:
    """RFC 9110 §8.6: also where it would be some smaller number to a reader of 64 bits."""
    for method, fields in ((b"POST", ()), (b"POST", (b"Expect: 100-continue",)), (b"GET", ()), (b"HEAD", ())):
        with rig.connect() as client:
            client.send(ask(b"Content-Length: " + length, *fields, method=method))
            answer = client.answer()
            assert (answer.status, answer.values(b"connection")) == (400, [b"close"])
            assert client.rest() == b""
    assert backend.requests == []


@pytest.mark.parametrize("length", TOO_LONG, ids=_shown)
def test_the_control_plane_refuses_it_too(length: bytes, rig: Rig) -> None:
    for port in (rig.port, rig.balancer.admin_port):
        with RawClient(port, rig.patience) as client:
            client.send(ask(b"Content-Length: " + length, target=b"/health", method=b"POST"))
            assert client.answer().status == 400


@pytest.mark.parametrize("size", TOO_LARGE, ids=_shown)
def test_a_chunk_that_is_too_large_is_refused(size: bytes, client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §7.1: recipients must anticipate large numbers."""
    backend.takes_all()
    client.send(ask(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhello\r\n" + size + b"\r\nhello")
    answer = client.answer()
    assert (answer.status, answer.values(b"connection")) == (400, [b"close"])


@pytest.mark.parametrize("zeros", [1, 20, 4000])
def test_zeros_before_a_length_say_nothing(zeros: int, client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §8.6: it is one number however it is written."""
    bodies = backend.takes_the_body()
    client.send(ask(b"Content-Length: " + b"0" * zeros + b"5", method=b"POST") + b"hello")
    assert client.answer().status == 200
    assert next_of(bodies) == b"hello"


# Responses


@pytest.mark.parametrize("length", LONG)
def test_a_long_response_is_passed_on_as_it_comes(
    length: int, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    before = peak(rig)
    got = Event()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(reply(b"Content-Length: %d" % length, body=b"hello"))
        peer.wait(got)
        peer.close()

    backend.answer = answer
    client.send(ask())
    try:
        assert client.head().values(b"content-length") == [b"%d" % length]
        assert client.read(5) == b"hello"
    finally:
        got.set()
    with pytest.raises(ConnectionCut):
        client.rest()
    assert peak(rig) - before < ROOM


@pytest.mark.parametrize("length", TOO_LONG + NO_LENGTH, ids=_shown)
def test_a_response_that_is_too_long_is_none(
    length: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9110 §8.6: the client would be told a length that it cannot read."""
    for method, status in ((b"GET", b"200 OK"), (b"HEAD", b"200 OK"), (b"GET", b"304 Not Modified")):
        backend.answer = says(reply(b"Content-Length: " + length, status=status))
        client.send(ask(method=method))
        answer = client.answer(method.decode())
        assert answer.status == 502
        if method == b"GET":
            assert_told_shortly(answer)
    assert_alive(rig, client)


@pytest.mark.parametrize("size", [b"10000000000000000", b"f" * 17, b"f" * 5000], ids=_shown)
def test_a_chunk_of_a_response_that_is_too_large_is_none(
    size: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    backend.answer = says(reply(b"Transfer-Encoding: chunked", body=size + b"\r\nhello"))
    client.send(ask())
    assert client.answer().status == 502
    assert_alive(rig, client)
