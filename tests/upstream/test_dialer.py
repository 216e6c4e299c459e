"""How connections begin: what is reached, and what it is called when it is not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import runtime_directory
from devtools.wait import PATIENCE
from lbflask.core.checks import HealthCheck
from lbflask.core.failure_causes import FailureCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.health import Observation
from lbflask.core.model import Address, Backend
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.requests_adapter import forwarding_session
from lbflask.upstream.stream import ExchangeTimeouts
from tests.support.outgoing import raw_request

LONG = PATIENCE
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def fault_of(address: Address, timeout: float = LONG) -> Fault:
    with pytest.raises(Fault) as caught:
        Dialer().open(address, timeout, 0.0)
    assert (caught.value.blame, caught.value.stage) == (Blame.BACKEND, Stage.CONNECT)
    return caught.value


def asked(connection: UpstreamConnection) -> bytes:
    try:
        return b"".join(connection.exchange(raw_request("GET", GET), ExchangeTimeouts(LONG, LONG)).pieces())
    finally:
        connection.close()


# TCP


def test_a_refused_connection_is_a_fault_while_connecting() -> None:
    """R28."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and not listening
        fault = fault_of(Address("http", *bound.getsockname()))
    assert (fault.status, fault.reason, fault.failure) == (502, "connection refused", FailureCause.REFUSED)


@pytest.mark.parametrize("name", ["label-too-long-for-dns-" * 4, "..", "a..b"])
def test_a_name_that_dns_has_no_form_for_is_a_fault_while_connecting(name: str) -> None:
    """R28."""
    fault = fault_of(Address("http", name, 80))
    assert fault.status == 502
    assert "name" in fault.reason
    assert fault.failure is FailureCause.NAME


@contextmanager
def deaf(listener: socket.socket, address: str | tuple[str, int]) -> Iterator[None]:
    """Listens, and lets nobody in: its queue is full."""
    with listener:
        listener.bind(address)
        listener.listen(0)
        waiting = [socket.socket(listener.family) for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        try:
            yield
        finally:
            for sock in waiting:
                sock.close()


def test_a_connection_that_takes_too_long_is_a_timeout_while_connecting() -> None:
    """R14: the time-out for connecting is its own."""
    listener = socket.socket()
    with deaf(listener, ("127.0.0.1", 0)):
        fault = fault_of(Address("http", *listener.getsockname()), 0.1)
    assert (fault.status, fault.reason, fault.failure) == (504, "no connection within 0.1 s", FailureCause.TIMED_OUT)


# Unix sockets


@pytest.fixture
def path() -> Iterator[Path]:
    with runtime_directory() as directory:
        yield directory / "app.sock"


def at(path: Path) -> Address:
    return Address("unix", "localhost", 0, str(path))


def backend(path: Path) -> Backend:
    return Backend("app", "localhost", 0, f"unix:{path}", 1, "unix", str(path))


def test_a_backend_at_a_unix_socket_is_spoken_to_like_any_other(path: Path) -> None:
    with ScriptedBackend(answering_always(), path=path) as backend:
        assert asked(Dialer().open(at(path), LONG, 0.0)) == b"ok"
        assert backend.received == GET


def test_two_sockets_are_two_addresses(path: Path) -> None:
    other = path.with_name("other.sock")
    pool = ConnectionPool(time.monotonic)
    with ScriptedBackend(answering_always(), path=path), ScriptedBackend(answering_always(), path=other):
        connection = pool.open(at(path), LONG)
        pool.give_back(f"unix:{path}", connection)
        assert pool.take(f"unix:{other}", once=True) is None
        assert pool.take(f"unix:{path}", once=True) is connection
        connection.close()


def test_a_plain_get_of_a_unix_url_asks_for_the_root(path: Path) -> None:
    pool = ConnectionPool(time.monotonic)
    with (
        ScriptedBackend(answering_always(), path=path) as backend,
        forwarding_session(pool, between_bytes=LONG) as session,
    ):
        assert session.get(backend.url).text == "ok"
        assert backend.received == b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_socket_that_is_not_there_is_a_fault_while_connecting(path: Path) -> None:
    fault = fault_of(at(path))
    assert (fault.status, fault.reason, fault.failure) == (502, "no such file or directory", FailureCause.NO_SOCKET)


def test_a_socket_where_nobody_listens_refuses(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert fault_of(at(path)).reason == "connection refused"


def test_a_path_that_the_system_has_no_room_for_is_a_fault_too() -> None:
    assert "path too long" in fault_of(at(Path("/" + "a" * 200))).reason


def test_a_socket_with_a_full_queue_is_a_timeout(path: Path) -> None:
    with deaf(socket.socket(socket.AF_UNIX), str(path)):
        fault = fault_of(at(path), 0.1)
    assert (fault.status, fault.reason, fault.failure) == (504, "no connection within 0.1 s", FailureCause.TIMED_OUT)


def test_a_probe_connects_to_the_socket(path: Path) -> None:
    with ScriptedBackend(answering_always(), path=path) as house:
        assert asyncio.run(Prober()(backend(path), HealthCheck(timeout=LONG))) == Observation(True, "connected")
        assert house.connection(0).ended.wait(LONG)


def test_a_probe_of_a_socket_tells_why_it_is_down(path: Path) -> None:
    assert asyncio.run(Prober()(backend(path), HealthCheck(timeout=LONG))) == Observation(
        False, "no such file or directory", FailureCause.NO_SOCKET
    )
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert asyncio.run(Prober()(backend(path), HealthCheck(timeout=LONG))) == Observation(
            False, "connection refused", FailureCause.REFUSED
        )


def test_a_probe_of_a_socket_with_a_full_queue_is_a_timeout(path: Path) -> None:
    with deaf(socket.socket(socket.AF_UNIX), str(path)):
        assert asyncio.run(Prober()(backend(path), HealthCheck(timeout=0.2))) == Observation(
            False, "no connection within 0.2 s", FailureCause.TIMED_OUT
        )
