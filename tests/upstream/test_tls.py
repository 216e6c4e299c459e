"""Backends under TLS, on real sockets with real handshakes: whom we believe, and what the layer in between changes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.scripted_backend import OK, Peer, Script, ScriptedBackend, answering, answering_always
from devtools.servers import ROOT
from devtools.wait import PATIENCE, eventually
from lbflask.core import retry
from lbflask.core.checks import HealthCheck
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import Address, Backend
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.requests_adapter import forwarding_session
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.socket_stream import SocketStream
from lbflask.upstream.stream import ExchangeTimeouts
from lbflask.upstream.tls import TLSSettings
from tests.support.outgoing import RawRequest, raw_request
from tests.support.tickets import TicketingPeer, ticketing

LONG = PATIENCE
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    """The context of a backend that is who it says."""
    return authority.server("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def rules(authority: Authority) -> TLSSettings:
    return TLSSettings(ca_file=authority.ca_file)


@contextmanager
def connected(backend: ScriptedBackend, rules: TLSSettings) -> Iterator[UpstreamConnection]:
    connection = Dialer(rules).open(backend.address, LONG, 0.0)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: UpstreamConnection, first_byte: float = LONG) -> ResponseReader:
    return connection.exchange(raw_request("GET", GET), ExchangeTimeouts(first_byte, LONG))


def body_of(answer: ResponseReader) -> bytes:
    return b"".join(answer.pieces())


def refusal(server: ssl.SSLContext, rules: TLSSettings) -> Fault:
    """The fault of a connection that comes about only on the wire."""
    with ScriptedBackend(answering(OK), tls=server) as backend, pytest.raises(Fault) as caught:
        Dialer(rules).open(backend.address, LONG, 0.0)
    fault = caught.value
    assert (fault.blame, fault.stage, fault.status) == (Blame.BACKEND, Stage.CONNECT, 502)
    assert retry.replayable(fault, "POST", body_touched=False)
    return fault


# Whom we believe


def test_a_request_under_tls_is_the_same_request(server: ssl.SSLContext, rules: TLSSettings) -> None:
    with ScriptedBackend(answering(OK, OK), tls=server) as backend, connected(backend, rules) as connection:
        assert [body_of(ask(connection)) for _ in range(2)] == [b"ok", b"ok"]
        assert backend.received == GET * 2


def test_a_certificate_of_an_unknown_authority_is_not_accepted(stranger: Authority, rules: TLSSettings) -> None:
    reason = refusal(stranger.server("127.0.0.1"), rules).reason
    assert reason.startswith("its certificate is not accepted: ")
    assert "issuer" in reason


def test_a_certificate_is_not_accepted_because_the_system_says_so(server: ssl.SSLContext) -> None:
    """Without a file of roots those of the system hold, which know nothing of the test's."""
    assert refusal(server, TLSSettings()).reason.startswith("its certificate is not accepted: ")


def test_a_certificate_for_another_name_is_not_accepted(authority: Authority, rules: TLSSettings) -> None:
    reason = refusal(authority.server("elsewhere.example"), rules).reason
    assert reason.startswith("its certificate is not accepted: ")
    assert "127.0.0.1" in reason


def test_without_verification_any_certificate_will_do(stranger: Authority) -> None:
    rules = TLSSettings(verify=False)
    tls = stranger.server("elsewhere.example")
    with ScriptedBackend(answering(OK), tls=tls) as backend, connected(backend, rules) as connection:
        assert body_of(ask(connection)) == b"ok"


class Names:
    """The names that clients asked for by SNI."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def watch(self, context: ssl.SSLContext) -> None:
        def heard(_: object, name: str | None, __: object) -> None:
            self.asked.append(name)

        context.sni_callback = heard  # type: ignore[assignment]


def test_the_configured_name_is_asked_for_and_looked_for(authority: Authority, rules: TLSSettings) -> None:
    """R20."""
    names = Names()
    tls = authority.server("shop.example", adjust=names.watch)
    named = TLSSettings(ca_file=rules.ca_file, server_name="shop.example")
    with ScriptedBackend(answering(OK), tls=tls) as backend, connected(backend, named) as connection:
        assert body_of(ask(connection)) == b"ok"
    assert names.asked == ["shop.example"]
    assert "other.example" in refusal(tls, TLSSettings(ca_file=rules.ca_file, server_name="other.example")).reason


def test_the_host_of_the_backend_is_the_name_unless_told(authority: Authority, rules: TLSSettings) -> None:
    names = Names()
    tls = authority.server("localhost", adjust=names.watch)
    with ScriptedBackend(answering(OK), tls=tls) as backend:
        connection = Dialer(rules).open(Address("https", "localhost", backend.port), LONG, 0.0)
        connection.close()
    assert names.asked == ["localhost"]


def test_a_backend_may_ask_for_our_certificate(authority: Authority, rules: TLSSettings) -> None:
    def strict(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca_file)

    tls = authority.server("127.0.0.1", adjust=strict)
    ours = authority.pair("balancer.example")
    known = TLSSettings(ca_file=rules.ca_file, certificate=ours.certificate, key=ours.key)
    with ScriptedBackend(answering(OK), tls=tls) as backend, connected(backend, known) as connection:
        assert body_of(ask(connection)) == b"ok"
    with (
        ScriptedBackend(answering(OK), tls=tls) as backend,
        pytest.raises(Fault) as caught,
        connected(backend, rules) as connection,
    ):
        ask(connection)  # in TLS 1.3 the refusal comes after the client's handshake
    assert caught.value.blame is Blame.BACKEND


def test_http_1_1_is_all_that_is_offered(authority: Authority, rules: TLSSettings) -> None:
    def modern(context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2", "http/1.1"])

    spoken: list[str | None] = []

    def play(peer: Peer) -> None:
        spoken.append(peer.tls.selected_alpn_protocol())
        answering(OK)(peer)

    tls = authority.server("127.0.0.1", adjust=modern)
    with ScriptedBackend(play, tls=tls) as backend, connected(backend, rules) as connection:
        ask(connection)
    assert spoken == ["http/1.1"]


# Handshakes that come to nothing


def test_a_backend_that_speaks_no_tls_is_told_from_one_that_is_down(rules: TLSSettings) -> None:
    def plain(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.read_to_end()

    with ScriptedBackend(plain) as backend, pytest.raises(Fault) as caught:
        Dialer(rules).open(backend.address._replace(scheme="https"), LONG, 0.0)
    fault = caught.value
    assert (fault.stage, fault.status) == (Stage.CONNECT, 502)
    assert fault.reason.startswith("the TLS handshake failed: ")


def test_a_backend_that_closes_within_the_handshake_is_a_fault_while_connecting(rules: TLSSettings) -> None:
    def closing(peer: Peer) -> None:
        peer.read(1)

    with ScriptedBackend(closing) as backend, pytest.raises(Fault) as caught:
        Dialer(rules).open(backend.address._replace(scheme="https"), LONG, 0.0)
    assert (caught.value.stage, caught.value.status) == (Stage.CONNECT, 502)


def test_a_handshake_has_the_time_of_the_connection(rules: TLSSettings) -> None:
    def deaf(peer: Peer) -> None:
        peer.read_to_end()

    with ScriptedBackend(deaf) as backend:
        with pytest.raises(Fault) as caught:
            Dialer(rules).open(backend.address._replace(scheme="https"), 0.1, 0.0)
        assert backend.connection(0).ended.wait(LONG)
    fault = caught.value
    assert (fault.blame, fault.stage, fault.status) == (Blame.BACKEND, Stage.CONNECT, 504)
    assert fault.reason == "no TLS handshake within 0.1 s"


def test_files_that_have_gone_are_our_own_fault(server: ssl.SSLContext) -> None:
    with ScriptedBackend(answering(OK), tls=server) as backend, pytest.raises(Fault) as caught:
        Dialer(TLSSettings(ca_file="/nowhere.pem")).open(backend.address, LONG, 0.0)
    assert (caught.value.blame, caught.value.stage) == (Blame.SELF, Stage.CONNECT)
    assert "no such file" in caught.value.reason


def test_a_name_that_tls_has_no_form_for_is_a_fault(server: ssl.SSLContext) -> None:
    with ScriptedBackend(answering(OK), tls=server) as backend, pytest.raises(Fault) as caught:
        Dialer(TLSSettings(server_name=".example")).open(backend.address, LONG, 0.0)
    assert caught.value.stage is Stage.CONNECT


def test_the_files_are_read_when_they_are_needed_and_once(server: ssl.SSLContext, rules: TLSSettings) -> None:
    """Not in the master: gevent patches the workers."""
    dialer = Dialer(TLSSettings(ca_file="/nowhere.pem"))
    with ScriptedBackend(answering(OK)) as plain:
        dialer.open(plain.address, LONG, 0.0).close()
    dialer = Dialer(rules)
    with ScriptedBackend(answering(OK), tls=server) as backend:
        for _ in range(2):
            dialer.open(backend.address, LONG, 0.0).close()
        first = dialer._context
        dialer.open(backend.address, LONG, 0.0).close()
        assert dialer._context is first


# What an idle connection shows


QUIET: list[Callable[[UpstreamConnection], bool]] = [lambda one: one.is_silent(), lambda one: one.is_alive()]
LOOKS = pytest.mark.parametrize("good", QUIET, ids=["silent", "quiet"])


@LOOKS
def test_session_tickets_are_no_word_of_the_backends(
    server: ssl.SSLContext, rules: TLSSettings, good: Callable[[UpstreamConnection], bool]
) -> None:
    """They come after the handshake (RFC 8446 §4.6.1), and would be taken for an answer nobody asked for."""
    with ScriptedBackend(answering(OK), tls=server) as backend, connected(backend, rules) as connection:
        eventually(lambda: not UpstreamConnection.is_silent(connection), "the tickets are here")
        assert good(connection)
        assert body_of(ask(connection)) == b"ok"
        assert good(connection)


@LOOKS
def test_a_word_that_nobody_asked_for_is_noticed(
    server: ssl.SSLContext, rules: TLSSettings, good: Callable[[UpstreamConnection], bool]
) -> None:
    """RFC 9112 §9.2."""
    go_on = threading.Event()

    def talkative(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        peer.wait(go_on)
        peer.send(OK)
        peer.read_to_end()

    with ScriptedBackend(talkative, tls=server) as backend, connected(backend, rules) as connection:
        assert body_of(ask(connection)) == b"ok"
        assert good(connection)
        go_on.set()
        eventually(lambda: not good(connection), "the word is here")


@LOOKS
def test_what_came_with_the_end_of_a_response_is_noticed(
    server: ssl.SSLContext, rules: TLSSettings, good: Callable[[UpstreamConnection], bool]
) -> None:
    """It is in the TLS layer by then, where the system sees nothing of it."""

    def talkative(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"x" * 2000)
        peer.read_to_end()

    with ScriptedBackend(talkative, tls=server) as backend, connected(backend, rules) as connection:
        sock = connection._stream
        sock.send(GET)
        assert sock.recv(1000) == b"x" * 1000
        assert SocketStream.silent(sock)
        assert not good(connection)


def goodbye(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    peer.send_close_notify()


def rudely(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)


@pytest.mark.parametrize("closing", [goodbye, rudely])
def test_a_careful_look_sees_that_the_backend_has_closed(
    server: ssl.SSLContext, rules: TLSSettings, closing: Script
) -> None:
    """R15."""
    with ScriptedBackend(closing, tls=server) as backend, connected(backend, rules) as connection:
        assert body_of(ask(connection)) == b"ok"
        assert backend.connection(0).ended.wait(LONG)
        eventually(lambda: not connection.is_alive(), "the end is here")


@pytest.mark.parametrize("closing", [goodbye, rudely])
def test_a_request_that_meets_the_closing_is_stale(server: ssl.SSLContext, rules: TLSSettings, closing: Script) -> None:
    with ScriptedBackend(closing, tls=server) as backend, connected(backend, rules) as connection:
        assert body_of(ask(connection)) == b"ok"
        assert backend.connection(0).ended.wait(LONG)
        with pytest.raises(Fault) as caught:
            ask(connection)
    assert retry.went_stale(caught.value)


# Leave to send a body


def at_once(peer: TicketingPeer) -> None:
    peer.send_raw(peer.tickets)


def in_pieces(peer: TicketingPeer) -> None:
    peer.send_raw(*[peer.tickets[at : at + 1] for at in range(len(peer.tickets))])


def half(peer: TicketingPeer) -> None:
    """The rest is never sent before something else is."""
    peer.send_raw(peer.tickets[:9])


def late(_: TicketingPeer) -> None:
    """They are sent with the answer."""


TICKETS = pytest.mark.parametrize("tickets", [at_once, in_pieces], ids=["at once", "in pieces"])
POST_5 = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@contextmanager
def secured(script: Script) -> Iterator[ScriptedBackend]:
    """A backend whose script sees to TLS itself."""
    with ScriptedBackend(script) as backend:
        backend.address = backend.address._replace(scheme="https")
        yield backend


def expecting() -> RawRequest:
    request = raw_request("POST", POST_5, iter([b"hello"]))
    request.expects_continue = True
    return request


@TICKETS
def test_tickets_before_the_leave_to_go_on_are_not_the_leave(
    server: ssl.SSLContext, rules: TLSSettings, tickets: Callable[[TicketingPeer], None]
) -> None:
    """A readable socket proves nothing of HTTP."""

    def play(peer: TicketingPeer) -> None:
        peer.read_head()
        tickets(peer)
        peer.send(CONTINUE)
        assert peer.read(5) == b"hello"
        peer.send(OK)

    with secured(ticketing(server, play)) as backend, connected(backend, rules) as connection:
        answer = connection.exchange(expecting(), ExchangeTimeouts(LONG, LONG))
        assert (answer.status, answer.continue_received, body_of(answer)) == (200, True, b"ok")
        assert connection.reusable


@pytest.mark.parametrize("tickets", [at_once, in_pieces, half, late], ids=["at once", "in pieces", "half", "late"])
def test_tickets_and_then_silence_are_silence(
    server: ssl.SSLContext, rules: TLSSettings, tickets: Callable[[TicketingPeer], None]
) -> None:
    """The body is sent all the same, and the backend is not to blame (RFC 9110 §10.1.1)."""

    def play(peer: TicketingPeer) -> None:
        peer.read_head()
        tickets(peer)
        assert peer.read(5) == b"hello"
        if tickets in (half, late):
            peer.send_raw(peer.tickets[9 if tickets is half else 0 :])
        peer.send(OK)

    with secured(ticketing(server, play)) as backend, connected(backend, rules) as connection:
        answer = connection.exchange(expecting(), ExchangeTimeouts(LONG, LONG))
        assert (answer.status, answer.continue_received, body_of(answer)) == (200, False, b"ok")


@TICKETS
def test_a_final_answer_behind_tickets_takes_the_place_of_the_leave(
    server: ssl.SSLContext, rules: TLSSettings, tickets: Callable[[TicketingPeer], None]
) -> None:
    def play(peer: TicketingPeer) -> None:
        peer.read_head()
        tickets(peer)
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(OSError, match="the other side has gone"):
            peer.read(1)

    with secured(ticketing(server, play)) as backend, connected(backend, rules) as connection:
        answer = connection.exchange(expecting(), ExchangeTimeouts(LONG, LONG))
        assert (answer.status, connection.reusable) == (403, False)


def test_an_end_behind_tickets_is_noticed(server: ssl.SSLContext, rules: TLSSettings) -> None:
    def play(peer: TicketingPeer) -> None:
        peer.read_head()
        at_once(peer)

    with secured(ticketing(server, play)) as backend, connected(backend, rules) as connection:
        with pytest.raises(Fault) as caught:
            connection.exchange(expecting(), ExchangeTimeouts(LONG, LONG))
        assert (caught.value.blame, caught.value.stage, caught.value.status) == (Blame.BACKEND, Stage.WAIT, 502)


# What ends a wait, and a body


def test_a_silent_backend_is_given_up(server: ssl.SSLContext, rules: TLSSettings) -> None:
    """The watchdog ends the wait from another thread, and must not take the TLS layer away under the reader."""

    def silent(peer: Peer) -> None:
        peer.read_request()
        peer.read_to_end()

    with (
        ScriptedBackend(silent, tls=server) as backend,
        connected(backend, rules) as connection,
        pytest.raises(Fault) as caught,
    ):
        ask(connection, first_byte=0.1)
    assert (caught.value.stage, caught.value.status, caught.value.reason) == (Stage.WAIT, 504, "silent for 0.1 s")


@pytest.mark.parametrize("end", [goodbye, rudely])
def test_a_body_until_the_close_is_whole_only_if_tls_says_so(
    server: ssl.SSLContext, rules: TLSSettings, end: Script
) -> None:
    """RFC 9112 §9.8: anybody on the way can close a connection, but not say that it was the backend."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if end is goodbye:
            peer.send_close_notify()

    with ScriptedBackend(play, tls=server) as backend, connected(backend, rules) as connection:
        answer = ask(connection)
        if end is goodbye:
            assert body_of(answer) == b"all of it"
            return
        with pytest.raises(Fault) as caught:
            body_of(answer)
    assert (caught.value.stage, caught.value.status) == (Stage.BODY, 502)


def test_large_bodies_cross_both_ways(server: ssl.SSLContext, rules: TLSSettings) -> None:
    size = 3_000_000

    def echo(peer: Peer) -> None:
        body = peer.read_body(peer.read_head())
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        peer.read_to_end()

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    pieces = [bytes([number]) * 100_000 for number in range(30)]
    with ScriptedBackend(echo, tls=server) as backend, connected(backend, rules) as connection:
        answer = connection.exchange(raw_request("POST", head, iter(pieces)), ExchangeTimeouts(LONG, LONG))
        assert body_of(answer) == b"".join(pieces)


# In the session, and in the checker


def test_a_session_reuses_connections_under_tls(server: ssl.SSLContext, rules: TLSSettings) -> None:
    pool = ConnectionPool(time.monotonic, Dialer(rules))
    with (
        ScriptedBackend(answering_always(), tls=server) as backend,
        forwarding_session(pool, between_bytes=LONG) as session,
    ):
        assert [session.get(backend.url).text for _ in range(3)] == ["ok"] * 3
        assert session.post(backend.url, data=b"x").text == "ok"
        assert len(backend.connections) == 1
        assert backend.received.startswith(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{backend.port}\r\n\r\n".encode())


def test_tls_and_plain_connections_to_one_port_are_never_mixed_up(server: ssl.SSLContext, rules: TLSSettings) -> None:
    pool = ConnectionPool(time.monotonic, Dialer(rules))
    with ScriptedBackend(answering_always(), tls=server) as backend:
        connection = pool.open(backend.address, LONG)
        pool.give_back(f"https://localhost:{backend.port}", connection)
        assert pool.take(f"http://localhost:{backend.port}", once=False) is None
        pool.close()


def test_a_probe_connects_to_a_backend_under_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        backend = Backend("a", "127.0.0.1", port, f"https://127.0.0.1:{port}", 1, "https")
        assert asyncio.run(Prober()(backend, HealthCheck(timeout=LONG))).ok


@pytest.mark.timeout(6 * PATIENCE)
@pytest.mark.thorough
def test_all_of_this_holds_on_gevents_sockets_too() -> None:
    """Their SSLSocket is one of gevent's own making, with a `read` and a `shutdown` of its own."""
    files = [str(Path(__file__)), str(Path(__file__).with_name("test_tls_sessions.py"))]
    code = (
        "from gevent import monkey; monkey.patch_all(); import sys, pytest; "
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', 'not gevents', *{files!r}]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
