"""Resumed handshakes with backends, on real sockets: which connections get a session, and how many are kept."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from devtools.certificates import Authority
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.wait import PATIENCE
from lbflask.core.faults import Fault
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.stream import ExchangeTimeouts
from lbflask.upstream.tls import TLSSettings
from lbflask.upstream.tls_sessions import MAX_KEPT, MAX_SESSIONS, TLSSessions
from tests.support.outgoing import raw_request

LONG = PATIENCE
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("sessions"))


class Resumptions:
    """A backend that answers every request, and notes for each connection whether its session was resumed."""

    def __init__(self, authority: Authority, adjust: Callable[[ssl.SSLContext], None] | None = None) -> None:
        self.authority = authority
        self.seen: list[bool] = []
        self.context = authority.server("127.0.0.1", adjust=adjust)
        self.backend = ScriptedBackend(self._play, tls=self.context)

    def _play(self, peer: Peer) -> None:
        self.seen.append(bool(peer.tls.session_reused))
        while peer.read_head():
            peer.send(OK)

    def dialer(self, wall_clock: Callable[[], float] = time.time) -> Dialer:
        return Dialer(TLSSettings(ca_file=self.authority.ca_file), wall_clock=wall_clock)

    def open(self, dialer: Dialer) -> UpstreamConnection:
        return dialer.open(self.backend.address, LONG, 0.0)

    def use(self, dialer: Dialer) -> None:
        """One connection with one request."""
        connection = self.open(dialer)
        ask(connection)
        connection.close()


def ask(connection: UpstreamConnection) -> None:
    reader = connection.exchange(raw_request("GET", GET), ExchangeTimeouts(LONG, LONG))
    assert b"".join(reader.pieces()) == b"ok"


@pytest.fixture
def backend(authority: Authority) -> Iterator[Resumptions]:
    made = Resumptions(authority)
    with made.backend:
        yield made


def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def adjust(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    return adjust


@VERSIONS
def test_each_connection_resumes_the_session_of_an_earlier_one(authority: Authority, version: ssl.TLSVersion) -> None:
    made = Resumptions(authority, only(version))
    dialer = made.dialer()
    with made.backend as scripted:
        for _ in range(4):
            made.use(dialer)
        assert made.seen == [False, True, True, True]
        assert dialer.certificate_expiry(scripted.address) is not None, "of the certificate that was presented first"


def test_a_session_of_a_connection_in_use_serves_others(backend: Resumptions) -> None:
    dialer = backend.dialer()
    first = backend.open(dialer)
    ask(first)
    assert first.is_silent()
    backend.use(dialer)
    assert backend.seen == [False, True]
    first.close()
    backend.use(dialer)
    assert backend.seen == [False, True, True]


def test_a_ticket_is_used_once(backend: Resumptions) -> None:
    dialer = backend.dialer()
    backend.use(dialer)
    connections = [backend.open(dialer) for _ in range(2)]
    for connection in connections:
        ask(connection)
        connection.close()
    assert backend.seen == [False, True, False]


@VERSIONS
def test_a_backend_without_sessions_is_reached_all_the_same(authority: Authority, version: ssl.TLSVersion) -> None:
    def none(context: ssl.SSLContext) -> None:
        only(version)(context)
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET

    made = Resumptions(authority, none)
    dialer = made.dialer()
    with made.backend:
        for _ in range(3):
            connection = made.open(dialer)
            ask(connection)
            assert connection.is_alive()
            ask(connection)
            connection.close()
    if version is ssl.TLSVersion.TLSv1_3:
        assert made.seen == [False] * 3
    assert len(made.seen) == 3


def test_a_backend_with_new_keys_gets_a_full_handshake(authority: Authority, backend: Resumptions) -> None:
    """As after its restart: it cannot decrypt the ticket."""
    dialer = backend.dialer()
    backend.use(dialer)
    restarted = authority.server("127.0.0.1")

    def play(peer: Peer) -> None:
        peer.secure(restarted)
        backend._play(peer)

    with ScriptedBackend(play) as other:
        address = other.address._replace(scheme="https")
        session = dialer._sessions.take(f"https://127.0.0.1:{backend.backend.port}")
        assert session is not None
        dialer._sessions.keep(f"https://127.0.0.1:{other.port}", session)
        connection = dialer.open(address, LONG, 0.0)
        ask(connection)
        connection.close()
    assert backend.seen == [False, False]


def test_other_settings_share_no_sessions(authority: Authority, backend: Resumptions) -> None:
    """A backend is verified anew by other roots, although its session was accepted by the former ones."""
    backend.use(backend.dialer())
    stranger = Dialer(TLSSettings())
    with pytest.raises(Fault):
        stranger.open(backend.backend.address, LONG, 0.0)


@VERSIONS
def test_no_session_outlives_the_certificate(authority: Authority, version: ssl.TLSVersion) -> None:
    """Only a full handshake verifies it, so that its end is noticed."""
    made, moments = Resumptions(authority, only(version)), [time.time()]
    dialer = made.dialer(lambda: moments[-1])
    with made.backend as scripted:
        made.use(dialer)
        made.use(dialer)
        expiry = dialer.certificate_expiry(scripted.address)
        assert expiry is not None
        moments.append(expiry)
        made.use(dialer)
        moments.append(expiry - 1.0)
        made.use(dialer)
    assert made.seen == [False, True, False, True]


def test_a_session_whose_handshake_fails_is_not_offered_again(backend: Resumptions) -> None:
    dialer = backend.dialer()
    backend.use(dialer)
    hang_up = threading.Event()

    def closes(peer: Peer) -> None:
        peer.read(1)
        hang_up.set()

    origin = f"https://127.0.0.1:{backend.backend.port}"
    with ScriptedBackend(closes) as broken:
        session = dialer._sessions.take(origin)
        assert session is not None
        dialer._sessions.keep(f"https://127.0.0.1:{broken.port}", session)
        with pytest.raises(Fault):
            dialer.open(broken.address._replace(scheme="https"), LONG, 0.0)
        assert hang_up.wait(LONG)
        assert dialer._sessions.take(f"https://127.0.0.1:{broken.port}") is None


# How many are kept


@pytest.fixture(scope="module")
def session(authority: Authority) -> ssl.SSLSession:
    made = Resumptions(authority)
    dialer = made.dialer()
    with made.backend as scripted:
        made.use(dialer)
        found = dialer._sessions.take(f"https://127.0.0.1:{scripted.port}")
    assert found is not None
    return found


def taken(sessions: TLSSessions, origin: str) -> int:
    count = 0
    while sessions.take(origin) is not None:
        count += 1
    return count


def test_the_sessions_of_a_backend_are_bounded(session: ssl.SSLSession) -> None:
    sessions = TLSSessions()
    for _ in range(MAX_KEPT + 3):
        sessions.keep("a", session)
    assert repr(sessions) == f"<TLSSessions {MAX_KEPT} of 1 backends>"
    assert taken(sessions, "a") == MAX_KEPT
    assert repr(sessions) == "<TLSSessions 0 of 0 backends>"


def test_the_sessions_of_all_backends_are_bounded(session: ssl.SSLSession) -> None:
    sessions = TLSSessions()
    for number in range(MAX_SESSIONS + 1):
        sessions.keep(str(number), session)
    assert repr(sessions) == f"<TLSSessions {MAX_SESSIONS} of {MAX_SESSIONS} backends>"
    assert (taken(sessions, "0"), taken(sessions, str(MAX_SESSIONS))) == (0, 1)
