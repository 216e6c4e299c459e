"""The `requests` Session that forwards: what stands on the wire, and what is kept from one request to the next."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from devtools.scripted_backend import (
    OK,
    Peer,
    ScriptedBackend,
    answering,
    answering_always,
    answering_and_closing,
)
from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.types import Fields
from lbflask.core.model import Backend
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, PreparedBody, forwarding_session
from tests.store.stores import ManualClock

TIMEOUT = (5.0, 10.0)
MUCH = b"x" * 131_072
FIN_WAIT2 = b"\5"  # as in netinet/tcp.h


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with forwarding_session(ConnectionPool(time.monotonic), between_bytes=10.0) as session:
        yield session


def send(
    session: requests.Session,
    backend: ScriptedBackend,
    method: str = "GET",
    target: str = "/",
    fields: Fields | None = None,
    framing: Framing = NO_BODY,
    body: object = None,
    fresh: bool = False,
) -> BackendResponse:
    """As the dispatcher does it."""
    adapter = session.get_adapter(backend.url)
    assert isinstance(adapter, BackendAdapter)
    request = BackendRequest(method, target, fields or [], framing, given_body(body))
    address = backend.address
    request.to(
        Backend("b", address.host, address.port, backend.url, scheme=address.scheme, path=address.path),
        "a",
        fresh=fresh,
    )
    return adapter.transport.send(request, TIMEOUT)


def given_body(body: object) -> PreparedBody | None:
    if body is None:
        return None
    return PreparedBody(body, ()) if isinstance(body, bytes) else PreparedBody(None, body)  # type: ignore[arg-type]


def finish(response: BackendResponse) -> bytes:
    body = b"".join(response.answer.pieces())
    response.release()
    return body


def lines(head: bytes) -> list[bytes]:
    return head.split(b"\r\n")


# What stands on the wire


def test_nothing_is_added_to_a_request(session: requests.Session) -> None:
    """R9: no User-Agent, Accept, Accept-Encoding or Connection of our own."""
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend))
        assert backend.received == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_fields_go_out_in_order_with_case_and_repeats(session: requests.Session) -> None:
    """R5."""
    fields = [("x-b", "1"), ("X-A", "2"), ("x-b", "3"), ("Cookie", "a=1"), ("cookie", "b=2"), ("X-Empty", "")]
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, fields=fields))
        assert lines(backend.received)[2:-2] == [
            b"x-b: 1", b"X-A: 2", b"x-b: 3", b"Cookie: a=1", b"cookie: b=2", b"X-Empty: "
        ]  # fmt: skip


def test_no_byte_of_a_field_is_damaged(session: requests.Session) -> None:
    """R22: latin-1 all the way."""
    value = b"caf\xc3\xa9 \xe9\xff"
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, fields=[("X-Name", value.decode("latin-1"))]))
        assert b"X-Name: " + value in lines(backend.received)


@pytest.mark.parametrize(
    "target",
    [
        "//a//b",
        "/a/../b/./c",
        "/%7Euser/%2f%2F",
        "/%zz%",
        '/<>"{}|\\^`',
        "/a;b=c",
        "/a?",
        "/?a=b&a=c%20d+e",
        "/?q=[x]",
        "*",
        "/..",
    ],
)
def test_the_target_goes_out_byte_for_byte(session: requests.Session, target: str) -> None:
    """R19."""
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, "OPTIONS" if target == "*" else "GET", target))
        assert lines(backend.received)[0].split(b" ")[1] == target.encode()


def test_a_body_of_known_length_has_one_length_and_no_coding(session: requests.Session) -> None:
    """R4: both would be the shape of smuggling."""
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, "POST", framing=Framing(5), body=iter([b"he", b"llo"])))
        assert backend.received == b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def test_a_chunked_body_has_one_coding_and_no_length(session: requests.Session) -> None:
    """R4."""
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, "POST", framing=CHUNKED, body=iter([b"hello"])))
        assert backend.received == (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )


def test_a_body_of_no_bytes_is_still_told(session: requests.Session) -> None:
    """R4, RFC 9110 §8.6: some backends answer 411 to a POST without a length."""
    with ScriptedBackend(answering(OK)) as backend:
        finish(send(session, backend, "POST", framing=Framing(0), body=iter(())))
        assert backend.received == b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


# What comes back


def test_every_set_cookie_arrives_and_none_is_kept(session: requests.Session) -> None:
    """R5, R7: what one client was given is never sent for another."""
    response = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    with ScriptedBackend(answering_always(response)) as backend:
        first = send(session, backend)
        assert [field for field in first.answer.fields if field[0] == "Set-Cookie"] == [
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2"),
        ]
        finish(first)
        finish(send(session, backend))
        session.get(backend.url)
        session.get(backend.url)
        assert b"cookie" not in backend.received.lower()
        assert not session.cookies


def test_a_redirect_is_not_followed_and_its_body_is_whole(session: requests.Session) -> None:
    """R1."""
    response = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 5\r\n\r\nhello"
    with ScriptedBackend(answering_always(response)) as backend:
        answered = send(session, backend)
        assert (answered.answer.status, finish(answered)) == (302, b"hello")
        assert backend.received.count(b"GET ") == 1


def test_a_compressed_body_is_passed_on_as_it_is(session: requests.Session) -> None:
    """R10."""
    response = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    with ScriptedBackend(answering(response)) as backend:
        assert finish(send(session, backend)) == b"\x1f\x8b\x08"


# A plain Session


def test_a_plain_get_works_too(session: requests.Session) -> None:
    response = b"HTTP/1.1 200 Fine\r\nX-A: b\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    with ScriptedBackend(answering_always(response)) as backend:
        got = session.get(f"{backend.url}/path?q=1")
        assert (got.status_code, got.reason, got.text, got.headers["x-a"]) == (200, "Fine", "hello", "b")
        assert lines(backend.received)[0] == b"GET /path?q=1 HTTP/1.1"
        assert lines(backend.received)[1:3] == [f"Host: 127.0.0.1:{backend.port}".encode(), b""]


def test_a_plain_post_sends_its_body_once(session: requests.Session) -> None:
    with ScriptedBackend(answering_always()) as backend:
        session.post(backend.url, data=b"hello", timeout=PATIENCE)
        head, _, body = backend.received.partition(b"\r\n\r\n")
        assert lines(head).count(b"Content-Length: 5") == 1
        assert body == b"hello"


def test_an_empty_piece_of_a_generator_does_not_end_the_body(session: requests.Session) -> None:
    """RFC 9112 §7.1: a chunk of no bytes is the last one."""
    with ScriptedBackend(answering_always()) as backend:
        session.post(backend.url, data=iter([b"he", b"", b"llo"]))
        assert backend.received.endswith(b"\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")


def test_a_response_in_a_with_statement_is_given_back_once(session: requests.Session) -> None:
    """Twice, and two requests would share a connection."""
    with ScriptedBackend(answering_always()) as backend:
        with session.get(backend.url) as got:
            assert got.content == b"ok"
        one, other = send(session, backend), send(session, backend)
        assert one.network_stream is not other.network_stream
        one.close()
        other.close()


def test_a_plain_get_of_a_body_that_is_cut_short_is_a_fault(session: requests.Session) -> None:
    """R13. And the connection is closed: an open one would be a warning, which is an error here."""
    with ScriptedBackend(answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell")) as backend:
        with pytest.raises(Fault) as caught:
            session.get(backend.url)
        assert caught.value.stage is Stage.BODY


def test_proxies_and_passwords_of_the_environment_are_ignored(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R8."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedBackend(answering_always()) as proxy, ScriptedBackend(answering_always()) as backend:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        session.get(backend.url)
        finish(send(session, backend))
        assert proxy.connections == []
        assert backend.received.count(b"GET / HTTP/1.1\r\n") == 2
        assert b"authorization" not in backend.received.lower()


# Which connection


def test_a_connection_is_used_again(session: requests.Session) -> None:
    with ScriptedBackend(answering_always()) as backend:
        for _ in range(3):
            assert finish(send(session, backend)) == b"ok"
        assert len(backend.connections) == 1


def test_a_connection_ends_after_so_many_requests() -> None:
    pool = ConnectionPool(time.monotonic)
    with (
        forwarding_session(pool, between_bytes=PATIENCE, max_requests=2) as session,
        ScriptedBackend(answering_always()) as backend,
    ):
        for _ in range(5):
            assert finish(send(session, backend)) == b"ok"
        assert len(backend.connections) == 3


def test_a_connection_ends_at_an_age() -> None:
    clock = ManualClock(1000.0)
    with (
        forwarding_session(ConnectionPool(clock), between_bytes=PATIENCE, max_age=30.0) as session,
        ScriptedBackend(answering_always()) as backend,
    ):
        for now, connections in [(1000.0, 1), (1029.0, 1), (1031.0, 2), (1060.0, 2), (1062.0, 3)]:
            clock.time = now
            assert finish(send(session, backend)) == b"ok"
            assert len(backend.connections) == connections


def test_two_requests_at_once_have_two_connections(session: requests.Session) -> None:
    with ScriptedBackend(answering_always()) as backend:
        one, other = send(session, backend), send(session, backend)
        finish(one)
        finish(other)
        assert len(backend.connections) == 2


def test_a_fresh_connection_can_be_asked_for(session: requests.Session) -> None:
    with ScriptedBackend(answering_always()) as backend:
        finish(send(session, backend))
        finish(send(session, backend, fresh=True))
        assert len(backend.connections) == 2


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    ],
    ids=["close", "http-1.0", "more-than-announced"],
)
def test_a_connection_that_ends_with_its_response_is_not_used_again(session: requests.Session, response: bytes) -> None:
    """RFC 9112 §9.3 and §9.2. The backend leaves it open, so that only our own rule keeps us from it."""
    with ScriptedBackend(answering_always(response)) as backend:
        assert finish(send(session, backend)) == b"ok"
        assert finish(send(session, backend)) == b"ok"
        assert len(backend.connections) == 2


def test_bytes_that_come_after_a_response_are_not_the_next_response(session: requests.Session) -> None:
    """RFC 9112 §9.2: a backend that sends a body after its response to HEAD, a moment later."""
    go_on = threading.Event()

    def broken(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n")
        peer.wait(go_on)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
        peer.read_to_end()

    with ScriptedBackend(broken, answering_always()) as backend:
        response = send(session, backend, "HEAD")
        stream = response.network_stream
        finish(response)
        go_on.set()
        eventually(lambda: not stream.silent(), "the late bytes are here")
        assert finish(send(session, backend)) == b"ok"


def test_a_response_that_breaks_off_frees_a_backend_that_waits_for_room(session: requests.Session) -> None:
    """R27: an end in order would leave it waiting for the window to open, for as long as the kernel acknowledges."""
    read, full, ended = threading.Event(), threading.Event(), threading.Event()

    def sends_for_ever(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + MUCH)
        peer.wait(read)  # the window is adjusted to what is read, and is filled to the last byte from then on
        peer.fill()
        full.set()
        try:
            peer.send(MUCH)
        finally:
            ended.set()

    with ScriptedBackend(sends_for_ever) as backend:
        response = send(session, backend)
        pieces, stream, left = response.answer.pieces(), response.network_stream, len(MUCH)
        while left:
            left -= len(next(pieces))
        read.set()
        assert full.wait(TIMEOUT[1])
        stream.shutdown(socket.SHUT_RDWR)  # what is read from now on does not open the window
        with socket.socket(fileno=os.dup(stream.fileno())) as same:
            eventually(lambda: same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == FIN_WAIT2, "it has the end")
        while stream.recv(1 << 24):
            pass
        assert not ended.is_set()
        response.close()
        assert ended.wait(TIMEOUT[1])


def test_an_abandoned_response_closes_its_connection(session: requests.Session) -> None:
    """R27: reading the rest could take for ever."""
    with ScriptedBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhell")) as backend:
        send(session, backend).close()
        assert backend.connection(0).ended.wait(PATIENCE)


def test_a_request_on_a_connection_that_the_backend_has_closed_is_a_stale_fault(session: requests.Session) -> None:
    """R15: the fault says that the connection had served and that no byte of an answer came."""
    with ScriptedBackend(answering_and_closing(OK)) as backend:
        finish(send(session, backend))
        assert backend.connection(0).ended.wait(PATIENCE)
        with pytest.raises(Fault) as caught:
            send(session, backend)
        assert (caught.value.reused, caught.value.answered) == (True, False)


@pytest.mark.parametrize(
    ("method", "framing", "body"),
    [("POST", NO_BODY, None), ("PATCH", NO_BODY, None), ("POST", Framing(2), [b"hi"]), ("PUT", Framing(2), [b"hi"])],
)
def test_what_cannot_be_sent_twice_never_meets_a_closed_connection(
    session: requests.Session, method: str, framing: Framing, body: list[bytes] | None
) -> None:
    """R15: neither a method that is not idempotent nor a body, which is read from the client but once."""
    with ScriptedBackend(answering_and_closing(OK)) as backend:
        finish(send(session, backend))
        assert backend.connection(0).ended.wait(PATIENCE)
        assert finish(send(session, backend, method, framing=framing, body=body)) == b"ok"


def test_a_failed_exchange_closes_its_connection(session: requests.Session) -> None:
    """R6: after a client's failure nothing is known of where the next request would begin."""

    def body() -> Iterator[bytes]:
        yield b"x"
        raise Fault(Blame.CLIENT, Stage.SEND, 400, "hung up")

    def taking_all(peer: Peer) -> None:
        peer.read_to_end()

    with ScriptedBackend(taking_all) as backend:
        with pytest.raises(Fault) as caught:
            send(session, backend, "POST", framing=Framing(100), body=body())
        assert caught.value.blame is Blame.CLIENT
        assert backend.connection(0).ended.wait(PATIENCE)
        assert backend.received.endswith(b"\r\n\r\nx")


def test_a_closed_session_closes_its_idle_connections(session: requests.Session) -> None:
    with ScriptedBackend(answering_always()) as backend:
        finish(send(session, backend))
        session.close()
        assert backend.connection(0).ended.wait(PATIENCE)
