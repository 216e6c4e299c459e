"""Upgrades (RFC 9110 §7.8): a backend that switches gets a tunnel, one that does not gives an ordinary answer."""

from __future__ import annotations

from queue import Queue
from threading import Event

import pytest

from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import Peer
from devtools.wait import PATIENCE
from tests.conformance.cases import Junk, ask, assert_alive, post, sized
from tests.conformance.servers import Rig
from tests.support.programmed import ProgrammedBackend, Received, next_of, says, says_and_closes

WEBSOCKET = ask(
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
OTHER = ask(b"Connection: upgrade", b"Upgrade: x-echo/1")
SWITCHED = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x-echo/1\r\n\r\n"


def echoes(accepted: bytes) -> object:
    """An answer: switch, and send back whatever comes, until the other side has said all."""

    def answer(peer: Peer, _: Received) -> None:
        peer.send(accepted)
        while line := peer.read_until(b"\n"):
            peer.send(line)
        peer.send(b"bye\n")
        peer.close()

    return answer


@pytest.mark.parametrize(
    ("request_", "accepted", "protocol"),
    [(WEBSOCKET, ACCEPTED, b"websocket"), (OTHER, SWITCHED, b"x-echo/1")],
    ids=["WebSocket", "another protocol"],
)
def test_a_protocol_that_is_switched_to_is_tunnelled(
    request_: bytes, accepted: bytes, protocol: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G21, R3, RFC 9110 §7.8: both ways, any bytes, until both sides have ended."""
    backend.answer = echoes(accepted)
    client.send(request_)
    head = client.head()
    assert head.status == 101
    assert head.line == accepted.split(b"\r\n")[0]
    assert head.values(b"upgrade") == [protocol]
    assert [value.lower() for value in head.values(b"connection")] == [b"upgrade"]
    assert b"transfer-encoding" not in head.names
    assert backend.request.values(b"upgrade") == [protocol]
    assert [value.lower() for value in backend.request.values(b"connection")] == [b"upgrade"]
    for word in (b"\x81\x05hello\n", bytes(range(256)) + b"\n", b"GET / HTTP/1.1\r\n\r\n"):
        client.send(word)
        assert client.read(len(word)) == word
    client.finish()
    assert client.rest() == b"bye\n"


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"content-length:0", b"Transfer-Encoding: chunked"])
def test_a_switch_frames_no_body(field: bytes, client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §8.6, RFC 9112 §6.1."""
    backend.answer = echoes(ACCEPTED[:-2] + field + b"\r\nX-A: b\r\n\r\nearly\n")
    client.send(WEBSOCKET)
    head = client.head()
    assert (head.status, head.values(b"x-a")) == (101, [b"b"])
    assert not {b"content-length", b"transfer-encoding"} & {*head.names}
    assert client.read_until(b"\n") == b"early\n"


def test_the_handshake_of_websocket_is_the_two_sides_own(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21, RFC 6455 §4: keys, versions, protocols and extensions are passed on as they are."""
    backend.answer = echoes(ACCEPTED.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: b\r\n\r\n"))
    client.send(
        WEBSOCKET[:-2] + b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    head = client.head()
    assert head.values(b"sec-websocket-accept") == [b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    assert head.values(b"sec-websocket-protocol") == [b"b"]
    seen = backend.request
    assert seen.values(b"sec-websocket-key") == [b"dGhlIHNhbXBsZSBub25jZQ=="]
    assert seen.values(b"sec-websocket-version") == [b"13"]
    assert seen.values(b"sec-websocket-protocol") == [b"a, b"]
    assert seen.values(b"sec-websocket-extensions") == [b"permessage-deflate"]
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]


def test_early_data_of_the_client_is_kept(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21: bytes that come with the head belong to the tunnel."""
    backend.answer = echoes(SWITCHED)
    client.send(OTHER + b"early\n")
    assert client.head().status == 101
    assert client.read_until(b"\n") == b"early\n"


def test_data_of_the_backend_after_its_response_head_is_kept(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21, R3."""
    backend.answer = echoes(SWITCHED + b"welcome\n")
    client.send(OTHER)
    assert client.head().status == 101
    assert client.read_until(b"\n") == b"welcome\n"
    client.send(b"hello\n")
    assert client.read_until(b"\n") == b"hello\n"


def test_a_backend_that_closes_the_tunnel_closes_it_for_the_client(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """G21, RFC 9110 §9.3.6: what it said last still arrives."""
    backend.answer = says_and_closes(SWITCHED + b"bye\n")
    client.send(OTHER)
    assert client.head().status == 101
    assert client.rest() == b"bye\n"


def test_a_backend_that_has_sent_all_may_still_receive(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21: half a close is passed on as half a close."""
    heard: Queue[bytes] = Queue()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(SWITCHED + b"all\n")
        peer.finish()
        heard.put(peer.read_until(b"\n"))

    backend.answer = answer
    client.send(OTHER)
    assert client.head().status == 101
    assert client.rest() == b"all\n"
    client.send(b"thanks\n")
    assert next_of(heard) == b"thanks\n"


def test_a_client_that_is_gone_ends_the_tunnel(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21."""
    ended = Event()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(SWITCHED)
        peer.read_to_end()
        ended.set()

    backend.answer = answer
    client.send(OTHER)
    assert client.head().status == 101
    client.sock.close()
    assert ended.wait(PATIENCE)


def test_a_tunnel_that_breaks_breaks(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21: a reset of the backend's is no orderly end."""
    broken = Event()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(SWITCHED + b"hello\n")
        peer.wait(broken)
        peer.reset()

    backend.answer = answer
    client.send(OTHER)
    try:
        assert client.head().status == 101
        assert client.read_until(b"\n") == b"hello\n"
    finally:
        broken.set()
    with pytest.raises(ConnectionCut):
        client.read(1)


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"426 Upgrade Required"])
def test_a_refused_upgrade_is_an_ordinary_answer(
    status: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9110 §7.8: and the connection carries the next request."""
    backend.answer = says(sized(b"no", b"Sec-WebSocket-Version: 13", status=status))
    answer = client.ask(WEBSOCKET)
    assert (answer.line, answer.body) == (b"HTTP/1.1 " + status, b"no")
    assert answer.values(b"sec-websocket-version") == [b"13"]
    assert_alive(rig, client)


JUNK = [
    Junk("101 for who asked for nothing", "R3, RFC 9110 §15.2.2", SWITCHED),
    Junk("101 for another protocol than was offered", "R3, RFC 9110 §7.8", ACCEPTED, request=OTHER),
    Junk(
        "101 that does not say what for",
        "R3, RFC 9110 §15.2.2",
        b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\n\r\n",
        request=OTHER,
    ),
]


@pytest.mark.parametrize("case", JUNK, ids=lambda case: case.name)
def test_who_switches_unasked_is_no_backend(case: Junk, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize(
    "request_",
    [
        ask(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        ask(b"Connection: Upgrade", b"Upgrade: H2C"),
        ask(b"Connection: Upgrade", b"Upgrade: h2"),
        ask(b"Upgrade: websocket"),
        ask(b"Upgrade: websocket", b"Connection: keep-alive"),
        ask(b"Connection: Upgrade"),
        ask(b"Connection: Upgrade", b"Upgrade: websocket", version=b"1.0"),
        ask(b"Connection: Upgrade", b"Upgrade: "),
        ask(b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
    ],
    ids=[
        "h2c",
        "h2c, whatever the case",
        "h2",
        "without Connection",
        "not named by Connection",
        "without Upgrade",
        "in HTTP/1.0",
        "of nothing",
        "TLS",
    ],
)
def test_an_offer_that_must_not_be_passed_on(request_: bytes, client: RawClient, backend: ProgrammedBackend) -> None:
    """G21, RFC 9110 §7.8, RFC 9113 §3.1: the request is an ordinary one, and no way around us."""
    assert client.ask(request_).status == 200
    seen = backend.request
    assert b"upgrade" not in seen.names
    assert b"http2-settings" not in seen.names
    assert seen.values(b"connection") in ([], [b"keep-alive"])


def test_of_several_offers_h2c_is_left_out(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §7.8, RFC 9113 §3.1."""
    client.ask(ask(b"Connection: upgrade", b"Upgrade: h2c, x-echo/1"))
    assert backend.request.values(b"upgrade") in ([], [b"x-echo/1"])


def test_an_upgrade_of_a_request_with_a_body(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §7.8: the body comes before the tunnel, or there is no tunnel; it is never taken for the tunnel's."""
    bodies = backend.takes_the_body(sized(b"no"))
    client.send(post(b"hello", b"Connection: upgrade", b"Upgrade: x-echo/1"))
    assert client.answer().status in (200, 400, 501)
    if backend.requests:
        assert next_of(bodies) == b"hello"
