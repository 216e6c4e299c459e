"""A shortage of this process is no failure of a peer, wherever a socket is opened, read or written."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.wait import PATIENCE
from lbflask.core import ejection, retry
from lbflask.core.checks import HealthCheck
from lbflask.core.faults import Blame, Fault, Resource, Shortage, Stage
from lbflask.core.health import Observation
from lbflask.core.model import Address, Backend
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.deadlines import DeadlineSweeper
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.requests_adapter import PreparedBody
from lbflask.upstream.resolver import HostAddress, SystemResolver
from lbflask.upstream.shortage import resource_of, shortage
from lbflask.upstream.stream import ExchangeTimeouts, NetworkStream
from lbflask.upstream.tls import TLSSettings
from tests.support.outgoing import raw_request

LONG = PATIENCE
OURS = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOSPC: Resource.DESCRIPTORS,
    errno.ENOBUFS: Resource.MEMORY,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOSR: Resource.MEMORY,
    errno.EADDRNOTAVAIL: Resource.PORTS,
    errno.EADDRINUSE: Resource.PORTS,
    errno.EAGAIN: Resource.PORTS,
    errno.ENETDOWN: Resource.NETWORK,
}
THEIRS = (
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE, errno.ETIMEDOUT),
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTCONN, errno.EPROTO),
)
EACH = pytest.mark.parametrize("number", OURS, ids=errno.errorcode.get)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def named(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def assert_ours(fault: Fault, stage: Stage, resource: Resource) -> None:
    """It blames no backend, in whatever reads a fault."""
    assert isinstance(fault, Shortage)
    assert (fault.blame, fault.stage, fault.status, fault.resource) == (Blame.SELF, stage, 503, resource)
    assert ejection.weight_of_fault(fault) == 0
    assert not retry.replayable(fault, "GET", body_touched=False)
    assert not retry.went_stale(fault)


# What is whose


@EACH
def test_what_is_ours(number: int) -> None:
    found = shortage(named(number), Stage.SEND)
    assert found is not None
    assert_ours(found, Stage.SEND, OURS[number])
    assert os.strerror(number).lower() in found.reason


@pytest.mark.parametrize("number", THEIRS, ids=errno.errorcode.get)
def test_what_is_theirs(number: int) -> None:
    assert resource_of(named(number)) is None


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (MemoryError(), Resource.MEMORY),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), Resource.MEMORY),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), None),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None),
        (ssl.SSLError(ssl.SSL_ERROR_SSL, "[SSL] wrong version number"), None),
        (ssl.SSLError(errno.EMFILE, "numbers of TLS are not those of the system"), None),
        (TimeoutError(), None),
        (OSError(), None),
        (UnicodeError("label too long"), None),
    ],
    ids=repr,
)
def test_errors_that_have_numbers_of_their_own(error: Exception, resource: Resource | None) -> None:
    assert resource_of(error) is resource


# Opening connections


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(answering_always()) as backend:
        yield backend


def failure(address: Address, dialer: Dialer | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        (dialer or Dialer()).open(address, LONG, 0.0)
    return caught.value


@EACH
@pytest.mark.parametrize("step", ["__init__", "connect"])
def test_a_connection_that_cannot_be_opened(
    step: str, number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, step, raising(named(number)))
    assert_ours(failure(backend.address), Stage.CONNECT, OURS[number])


@EACH
def test_a_unix_socket_that_cannot_be_opened(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "__init__", raising(named(number)))
    assert_ours(failure(Address("unix", "localhost", 0, "/nowhere.sock")), Stage.CONNECT, OURS[number])


@EACH
def test_a_handshake_that_lacks_something_here(
    number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", raising(named(number)))
    assert_ours(failure(backend.address._replace(scheme="https")), Stage.CONNECT, OURS[number])


@EACH
def test_files_that_cannot_be_opened_for_want_of_something(
    number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", raising(named(number)))
    assert_ours(failure(backend.address._replace(scheme="https")), Stage.CONNECT, OURS[number])


@EACH
def test_a_lookup_that_lacks_something_here(number: int) -> None:
    dialer = Dialer(resolver=SystemResolver(raising(named(number))))
    assert_ours(failure(Address("http", "web.test", 80), dialer), Stage.CONNECT, OURS[number])


def test_a_dead_backend_is_dead_though_one_of_its_addresses_cannot_be_used_here() -> None:
    """`localhost` on a machine without IPv6, for one."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        there = [HostAddress(socket.AF_INET, "255.255.255.255"), HostAddress(socket.AF_INET, "127.0.0.1")]
        dialer = Dialer(resolver=SystemResolver(lambda _: there))
        fault = failure(Address("http", "web.test", bound.getsockname()[1]), dialer)
    assert (fault.blame, fault.stage) == (Blame.BACKEND, Stage.CONNECT)


def test_all_addresses_of_a_name_together_have_the_time_of_one() -> None:
    """R14: and none of them takes all of it."""
    with socket.socket() as bound, ScriptedBackend(answering_always()) as backend:
        bound.bind(("127.0.0.2", backend.port))
        bound.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(bound.getsockname())
        there = [HostAddress(socket.AF_INET, "127.0.0.2"), HostAddress(socket.AF_INET, "127.0.0.1")]
        dialer = Dialer(resolver=SystemResolver(lambda _: there))
        dialer.open(Address("http", "web.test", backend.port), 2.0, 0.0).close()
        for sock in waiting:
            sock.close()


def test_a_watchdog_that_could_not_begin_begins_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting:
        def check_deadline(self, now: float) -> None:
            seen.set()

    seen, watchdog = threading.Event(), DeadlineSweeper()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        with pytest.raises(OSError, match="can't start new thread") as caught:
            watchdog.watch(Waiting())
        assert resource_of(caught.value) is Resource.THREADS
    waiting = Waiting()
    watchdog.watch(waiting)
    assert seen.wait(LONG)
    watchdog.forget(waiting)


# Exchanges


class BrokenWire:
    """A wire that fails with the given errors."""

    def __init__(self, send: Exception | None = None, recv: Exception | None = None) -> None:
        self._send, self._recv = send, recv

    def send(self, data: bytes) -> int:
        if self._send is not None:
            raise self._send
        return len(data)

    def recv(self, _: int, __: int = 0) -> bytes:
        if self._recv is not None:
            raise self._recv
        return b""

    def shutdown(self, _: int) -> None:
        pass

    def close(self) -> None:
        pass


def exchange(wire: BrokenWire, body: Any = None) -> Fault:
    request = raw_request("POST", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    request.body = body
    connection = UpstreamConnection(cast("NetworkStream", wire), 0.0)
    try:
        with pytest.raises(Fault) as caught:
            connection.exchange(request, ExchangeTimeouts(LONG, LONG))
    finally:
        connection.close()
    return caught.value


@EACH
@pytest.mark.parametrize(
    "body", [None, PreparedBody(b"hello", ()), PreparedBody(None, [b"hello"])], ids=["none", "whole", "pieces"]
)
def test_a_request_that_cannot_be_sent(number: int, body: PreparedBody | None) -> None:
    assert_ours(exchange(BrokenWire(send=named(number)), body), Stage.SEND, OURS[number])


@EACH
def test_a_response_that_cannot_be_read(number: int) -> None:
    assert_ours(exchange(BrokenWire(recv=named(number))), Stage.WAIT, OURS[number])


class WireThatTakesTheHead(BrokenWire):
    """Only the head is sent; a read waits until the connection is cut."""

    def __init__(self, send: Exception) -> None:
        super().__init__(send)
        self._sent, self._cut = False, threading.Event()

    def send(self, data: bytes) -> int:
        if self._sent:
            return super().send(data)
        self._sent = True
        return len(data)

    def recv(self, _: int, __: int = 0) -> bytes:
        assert self._cut.wait(LONG)
        return b""

    def shutdown(self, _: int) -> None:
        self._cut.set()


@EACH
def test_a_body_that_cannot_be_sent_beside_the_wait(number: int) -> None:
    body = PreparedBody(None, [b"hello"], concurrent=True)
    assert_ours(exchange(WireThatTakesTheHead(named(number)), body), Stage.SEND, OURS[number])


def test_a_body_that_no_thread_can_send(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = UpstreamConnection(cast("NetworkStream", BrokenWire()), 0.0)
    request = raw_request("POST", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    request.body = PreparedBody(None, [b"hello"], concurrent=True)
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
    with pytest.raises(Fault) as caught:
        connection.exchange(request, ExchangeTimeouts(LONG, LONG))
    connection.close()
    assert_ours(caught.value, Stage.SEND, Resource.THREADS)


# Probes


def probe(
    target: Backend, check: HealthCheck, tls: TLSSettings | None = None, resolver: SystemResolver | None = None
) -> Observation:
    return asyncio.run(Prober(tls, resolver)(target, check))


def at(port: int, scheme: str = "http", host: str = "127.0.0.1") -> Backend:
    return Backend("a", host, port, f"{scheme}://{host}:{port}", scheme=scheme)


@EACH
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_probe_that_cannot_be_made_shows_nothing(
    kind: str, number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", raising(named(number)))
    with pytest.raises(Shortage) as caught:
        probe(at(backend.port), HealthCheck(kind=kind, timeout=LONG))
    assert_ours(caught.value, Stage.CONNECT, OURS[number])


@EACH
def test_a_probe_whose_name_cannot_be_looked_up_for_want_of_something(number: int) -> None:
    resolver = SystemResolver(raising(named(number)))
    with pytest.raises(Shortage):
        probe(at(80, host="web.test"), HealthCheck(timeout=LONG), resolver=resolver)


@EACH
def test_a_probe_whose_files_cannot_be_opened_for_want_of_something(
    number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", raising(named(number)))
    with pytest.raises(Shortage):
        probe(at(backend.port, "https"), HealthCheck(kind="https", timeout=LONG), TLSSettings())


@pytest.mark.parametrize("number", [number for number in OURS if number != errno.EAGAIN], ids=errno.errorcode.get)
def test_a_probe_of_a_unix_socket_that_cannot_be_made_shows_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But EAGAIN means that the backlog of the other side is full."""
    target = Backend("a", "localhost", 0, "unix:/a", scheme="unix", path=str(tmp_path / "a"))

    async def scene() -> Observation:
        monkeypatch.setattr(socket.socket, "connect", raising(named(number)))
        return await Prober()(target, HealthCheck(timeout=LONG))

    with pytest.raises(Shortage):
        asyncio.run(scene())


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_a_probe_that_breaks_off_for_want_of_something_shows_nothing(
    number: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> Observation:
        loop = asyncio.get_running_loop()
        broken: list[object] = []
        loop.set_exception_handler(lambda _, context: broken.append(context))
        monkeypatch.setattr(socket.socket, "send", raising(named(number)))
        try:
            return await Prober()(at(backend.port), HealthCheck(kind="http", timeout=LONG))
        finally:
            assert not broken

    with pytest.raises(Shortage):
        asyncio.run(scene())
