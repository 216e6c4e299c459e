"""Answers that come before the request was read: the client gets them, and the worker keeps nothing of the connection.

One balancer with a plain and a TLS listener, before backends that answer as the target of a request names.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.parsers import PARSERS
from devtools.raw_client import RawClient
from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.servers import Gunicorn
from devtools.wait import eventually
from tests.support.counting import Counted
from tests.support.selection import first_of

pytestmark = pytest.mark.early

#: Bytes of a body that the balancer accepts.
BODY_LIMIT = 200_000
#: Seconds for which the balancer would wait for a client that it still serves.
GRACEFUL = 40.0


def status(code: int, *fields: bytes, body: bytes = b"no") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d No" % code, b"Content-Length: %d" % len(body), *fields]) + b"\r\n\r\n" + body


def keeps(peer: Peer) -> None:
    """The backend answers, and waits for the rest of the body."""
    peer.send(status(401))
    peer.read_to_end()


def closes(peer: Peer) -> None:
    peer.send(status(413, b"Connection: close"))
    peer.close()


def finishes(peer: Peer) -> None:
    """The backend answers until it closes, and goes on reading."""
    peer.send(b"HTTP/1.1 403 No\r\n\r\nno")
    peer.finish()
    peer.read_to_end()


def chunks(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 413 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nn\r\n")
    peer.send(b"1\r\no\r\n0\r\n\r\n")
    peer.read_to_end()


def dies(peer: Peer) -> None:
    peer.close()


def resets(peer: Peer) -> None:
    peer.reset()


def talks_nonsense(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    peer.read_to_end()


#: What the backend does as soon as it has the head, and what the client then gets.
ANSWERS: dict[str, tuple[Callable[[Peer], None], int]] = {
    "keeps": (keeps, 401),
    "closes": (closes, 413),
    "finishes": (finishes, 403),
    "chunks": (chunks, 413),
    "dies": (dies, 502),
    "resets": (resets, 502),
    "nonsense": (talks_nonsense, 502),
}

#: The end of a request's head, and what of its body is sent. The last is refused before a backend has seen it.
BODIES: dict[str, bytes] = {
    "length, none of it": b"Content-Length: 100000\r\n\r\n",
    "length, a part of it": b"Content-Length: 100000\r\n\r\n0123456789",
    "length, expecting": b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    "chunks, none": b"Transfer-Encoding: chunked\r\n\r\n",
    "chunks, one": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunks, a part of one": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "too long": b"Content-Length: %d\r\n\r\n0123456789" % (BODY_LIMIT + 1),
}


#: Each with each.
EARLY = list(itertools.product(ANSWERS, BODIES))


def leaves(sock: socket.socket) -> None:
    sock.close()


def half_closes(sock: socket.socket) -> None:
    """The client says that no more will come, and waits for the balancer's end."""
    with suppress(OSError):  # the balancer's end has come already
        socket.socket.shutdown(sock, socket.SHUT_WR)
    await_end(sock)


def breaks_off(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def goes_on(sock: socket.socket) -> None:
    """The client sends more of its body."""
    with suppress(OSError):
        sock.sendall(b"0123456789" * 100)
    sock.close()


def stays(_: socket.socket) -> None:
    """The client keeps its end open, and says nothing more."""


ENDINGS = (leaves, half_closes, breaks_off, goes_on, stays)
TRANSPORTS = ("http", "https")


def settled(listeners: Listeners, transport: str) -> tuple[int, int]:
    """Descriptors and greenlets of the worker when they change no more."""
    last: list[tuple[int, int]] = []

    def stay() -> bool:
        last.append(listeners.held(transport))
        return len(last) > 20 and len(set(last[-20:])) == 1

    eventually(stay, "descriptors and greenlets change no more", every=0.1)
    return last[-1]


def await_end(sock: socket.socket) -> None:
    with suppress(OSError):
        while sock.recv(65_536):
            pass


class TlsClient(RawClient):
    """The same under TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


@dataclass
class Listeners:
    """A balancer with a listener of each transport, and what its worker holds when it has nothing to do."""

    balancers: dict[str, Gunicorn]
    counted: dict[str, Counted]
    context: ssl.SSLContext
    store: str

    def connect(self, transport: str) -> RawClient:
        port = self.balancers[transport].port
        return RawClient(port) if transport == "http" else TlsClient(port, self.context)

    def held(self, transport: str) -> tuple[int, int]:
        """Descriptors and greenlets of the worker."""
        balancer, counted = self.balancers[transport], self.counted[transport]
        return counted.descriptors(balancer, self.store), counted.greenlets(balancer)


def play(peer: Peer) -> None:
    head = peer.read_head()
    if head:
        ANSWERS[head.split(b" ")[1].decode()[1:]][0](peer)


@pytest.fixture(scope="module", params=first_of(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def listeners(parser: str, _shared_valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    authority = Authority(Path(tmp_path_factory.mktemp("authority")))
    pair = authority.pair("127.0.0.1")
    balancers: dict[str, Gunicorn] = {}
    counted: dict[str, Counted] = {}
    with ScriptedBackend(play) as backend:
        try:
            for transport in TRANSPORTS:
                counted[transport] = Counted(Path(tmp_path_factory.mktemp(transport)))
                tls = {"tls__certificate": pair.certificate, "tls__key": pair.key} if transport == "https" else {}
                arguments = (*counted[transport].arguments, "--http-parser", parser)
                balancers[transport] = start(_shared_valkey, backend.url, *arguments, **tls)
            yield Listeners(balancers, counted, authority.trust(), _shared_valkey)
        finally:
            for balancer in balancers.values():
                balancer.kill()


def start(store: str, backend: str, *arguments: str, **settings: object) -> Gunicorn:
    return Gunicorn(
        *arguments, workers=1, redis_url=store, namespace="early", backends=backend, access_log="",
        ejection__failures=0, limits__body=BODY_LIMIT, timeouts__graceful=GRACEFUL, **settings,
    )  # fmt: skip


def ask(client: RawClient, answer: str, body: str) -> int:
    """Send a request, and read the status of its answer."""
    client.send(b"PUT /%b HTTP/1.1\r\nHost: a\r\n%b" % (answer.encode(), BODIES[body]))
    got = client.head()
    while got.status == 100:
        got = client.head()
    return got.status


@pytest.mark.timeout(400)  # hundreds of connections, on a machine that may be busy
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.thorough
def test_early_answers_leave_nothing_behind(
    listeners: Listeners, parser: str, transport: str, pytestconfig: pytest.Config
) -> None:
    """RFC 9112 §9.5, §9.6: whatever the backend does, the body is like, and the client does then."""
    cases = [(*early, ends) for early in EARLY for ends in ENDINGS]
    least = 1000 if pytestconfig.getoption("--all") else 200
    rounds = -(-least // len(cases)) if parser == "fast" else 1
    balancer = listeners.balancers[transport]
    for answer, body in EARLY:  # what is opened once, and stays
        with listeners.connect(transport) as client:
            ask(client, answer, body)
    before = settled(listeners, transport)
    with ExitStack() as stack:
        staying: list[RawClient] = []
        for answer, body, ends in cases * rounds:
            client = stack.enter_context(listeners.connect(transport))
            expected = 413 if body == "too long" else ANSWERS[answer][1]
            assert ask(client, answer, body) == expected, (answer, body, ends)
            ends(client.sock)
            if ends is stays:
                staying.append(client)
        for client in staying:
            await_end(client.sock)
    now = settled(listeners, transport)
    assert now[0] <= before[0], "descriptors"
    assert now[1] <= before[1], "greenlets"
    assert balancer.stop() == 0
    assert "were cut" not in balancer.output
    balancer.assert_no_traceback()


@pytest.mark.timeout(200)
def test_a_stop_does_not_wait_for_clients_that_have_early_answers(redis_url: str) -> None:
    """A client that keeps its end open has one second to read the answer."""
    with (
        ScriptedBackend(play) as backend,
        start(redis_url, backend.url) as balancer,
        ExitStack() as stack,
    ):
        for answer, body in EARLY:
            client = stack.enter_context(RawClient(balancer.port))
            ask(client, answer, body)
        began = time.monotonic()
        assert balancer.stop() == 0
        assert time.monotonic() - began < GRACEFUL / 2
        assert "were cut" not in balancer.output
