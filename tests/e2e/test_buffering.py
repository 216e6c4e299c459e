"""One synchronous worker behind buffers: a slow client holds its buffer, and others are answered meanwhile.

No test waits for a time to pass: the slow client is held until the other one has its answer. Without a buffer that
answer does not come.
"""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.environment import HOST, ROOT
from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, Process, free_port, get, listens
from devtools.sync_app import LARGE
from devtools.wait import PATIENCE, eventually

pytestmark = pytest.mark.e2e

#: The worker of the balancer. `sync` would serve one client at a time by itself.
WORKERS = {"own": (), "gevent": ("-k", "gevent"), "gthread": ("-k", "gthread", "--threads", "8")}
BODY = b"x" * 60


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """The port of an application on one synchronous worker."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-k", "sync", "-w", "1", "-t", "300", "-b", f"{HOST}:{port}"]
    elsewhere = ROOT / "tests"  # a folder without our gunicorn.conf.py
    with Process([*command, "--pythonpath", str(ROOT), "devtools.sync_app:app"], cwd=elsewhere) as process:
        process.await_start(lambda: listens(port), "the application listens")
        yield port


@dataclass(frozen=True, slots=True)
class Edge:
    """A balancer before the application, and whether it runs on our worker."""

    balancer: Gunicorn
    is_own: bool

    def in_flight(self) -> int:
        requests: int = self.balancer.health(self.balancer.admin_port)[1]["worker"]["requests"]
        return requests

    def figure(self, name: str) -> float:
        lines = get(self.balancer.admin_port, "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"lbflask_{name}"))


@pytest.fixture(
    scope="module",
    params=["own", pytest.param("gevent", marks=pytest.mark.long), pytest.param("gthread", marks=pytest.mark.thorough)],
)
def edge(request: pytest.FixtureRequest, store: str, backend: int) -> Iterator[Edge]:
    with Gunicorn(
        *WORKERS[request.param],
        redis_url=store,
        backends=f"http://{HOST}:{backend}",
        namespace=f"buffers-{request.param}",
        buffering__requests="1MiB",
        buffering__responses="1MiB",
    ) as balancer:
        yield Edge(balancer, request.param == "own")
        assert balancer.stop() == 0
        balancer.assert_no_traceback()


def test_a_slow_upload_holds_no_worker(edge: Edge) -> None:
    with RawClient(edge.balancer.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n" + BODY[:-1])
        eventually(lambda: edge.in_flight() == 1, "the upload has begun")
        assert get(edge.balancer.port).body == b"small"
        client.send(BODY[-1:])
        assert client.answer().body == b"60"


def test_a_slow_upload_in_chunks_holds_no_worker_and_gets_a_length(edge: Edge) -> None:
    with RawClient(edge.balancer.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3c\r\n" + BODY + b"\r\n")
        eventually(lambda: edge.in_flight() == 1, "the upload has begun")
        assert get(edge.balancer.port).body == b"small"
        client.send(b"0\r\n\r\n")
        answer = client.answer()
        assert (answer.body, answer.values(b"X-Framing")) == (b"60", [b"60"])


def test_a_body_that_waits_for_a_100_gets_it_from_here(edge: Edge) -> None:
    with RawClient(edge.balancer.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 60\r\n\r\n")
        assert client.head().status == 100
        assert get(edge.balancer.port).body == b"small"
        client.send(BODY)
        assert client.answer().body == b"60"


def test_a_large_upload_passes_through_a_file(edge: Edge) -> None:
    size = 5 << 20
    with RawClient(edge.balancer.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"y" * (size - 1))
        if edge.is_own:
            eventually(lambda: edge.figure("buffered_bytes") == size - 1, "it is in the buffer")
        assert get(edge.balancer.port).body == b"small"
        client.send(b"y")
        assert client.answer().body == b"%d" % size
    eventually(lambda: edge.figure("buffered_bytes") == 0, "nothing is left of it")


def read_to(sock: socket.socket, size: int) -> bytes:
    """So many bytes of a response, behind its head."""
    data = bytearray()
    head = -1
    while head < 0 or len(data) < head + 4 + size:
        piece = sock.recv(1 << 20)
        assert piece, f"closed after {len(data)} bytes"
        data += piece
        head = data.find(b"\r\n\r\n") if head < 0 else head
    return bytes(data[head + 4 :])


def slow_reader(port: int) -> socket.socket:
    """A client whose system takes little before the client reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect((HOST, port))
    return sock


def expected_digest() -> str:
    return hashlib.sha256(b"0123456789abcdef" * (LARGE // 16)).hexdigest()


def test_a_slow_reader_holds_no_worker(edge: Edge) -> None:
    with slow_reader(edge.balancer.port) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: edge.in_flight() == 1, "it has begun")
        assert get(edge.balancer.port).body == b"small"
        assert hashlib.sha256(read_to(sock, LARGE)).hexdigest() == expected_digest()
    eventually(lambda: edge.figure("buffered_bytes") == 0, "nothing is left of it")


def test_a_slow_reader_that_leaves_leaves_nothing(edge: Edge) -> None:
    with slow_reader(edge.balancer.port) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: edge.figure("buffered_bytes") > 0, "a part of it is in the buffer")
    eventually(lambda: edge.in_flight() == 0, "it has ended")
    eventually(lambda: edge.figure("buffered_bytes") == 0, "nothing is left of it")
    assert get(edge.balancer.port).body == b"small"


@pytest.mark.long
def test_clients_under_tls_are_buffered_too(store: str, backend: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        authority = Authority(tmp_path)
        pair = authority.pair("localhost", "127.0.0.1")
        balancer = stack.enter_context(
            Gunicorn(
                redis_url=store,
                backends=f"http://{HOST}:{backend}",
                namespace="buffers-tls",
                tls__certificate=pair.certificate,
                tls__key=pair.key,
                buffering__responses="64KiB",
            )
        )
        context = authority.trust()
        sock = stack.enter_context(context.wrap_socket(slow_reader(balancer.port), server_hostname="localhost"))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(1)
        other = stack.enter_context(
            context.wrap_socket(socket.create_connection((HOST, balancer.port), PATIENCE), server_hostname="localhost")
        )
        other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_to(other, 5) == b"small"
