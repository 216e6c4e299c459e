"""Sessions that clients resume with any worker, and what remains when the files of the certificate change."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from devtools.certificates import Authority, Pair
from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, get
from devtools.wait import PATIENCE, eventually
from lbflask.server.worker.tls_context import InheritedContext

#: Connections that are held open: more than one worker gets some, since new ones are shared by count.
CONNECTIONS = 8


class Client:
    """A client with one version of TLS that keeps the session of its first connection."""

    def __init__(self, port: int, authority: Authority, version: ssl.TLSVersion) -> None:
        self._port = port
        self._context = authority.trust()
        self._context.minimum_version = self._context.maximum_version = version
        with self.connect() as first:
            request(first)
            self.session = first.session

    def connect(self, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        return self._context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)


def request(client: ssl.SSLSocket) -> bytes:
    """A request; the tickets of TLS 1.3 come with its response."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"ok"):
        received += client.recv(65_536)
    return received


def counts(balancer: Gunicorn) -> dict[str, float]:
    lines = get(balancer.admin_port, "/metrics").body.decode().splitlines()
    found = [line.split() for line in lines if line.startswith("lbflask_tls_handshakes_")]
    return {name: float(value) for name, value in found}


@pytest.mark.e2e
def test_clients_resume_sessions_with_any_worker_also_with_one_that_starts_later(
    redis_url: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("127.0.0.1")
    with (
        ScriptedBackend(answering_always()) as backend,
        Gunicorn(
            workers=2, backends=backend.url, redis_url=redis_url, tls__certificate=pair.certificate, tls__key=pair.key
        ) as balancer,
    ):
        resumed = 0
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = Client(balancer.port, authority, version)
            with ExitStack() as stack:
                for _ in range(CONNECTIONS):
                    connection = stack.enter_context(client.connect(client.session))
                    request(connection)
                    assert connection.session_reused
            resumed += CONNECTIONS
        completed = {"lbflask_tls_handshakes_total": resumed + 2, "lbflask_tls_handshakes_resumed_total": resumed}
        eventually(lambda: counts(balancer) == completed, "they are counted")

        Path(pair.certificate).write_text("half of a certificate")
        (ended, *others) = balancer.workers()
        os.kill(ended, signal.SIGTERM)
        balancer.await_workers(without=[ended])
        for survivor in others:
            os.kill(survivor, signal.SIGTERM)
        balancer.await_workers(without=[ended, *others])
        with client.connect(client.session) as connection:
            request(connection)
            assert connection.session_reused, "the context is the one that the master has loaded"


def settings(make: Callable[[], ssl.SSLContext], *, tls: bool = True) -> SimpleNamespace:
    """gunicorn's, with `ssl_context` of a configuration file."""
    return SimpleNamespace(is_ssl=tls, ssl_context=lambda _settings, _default: make())


def test_each_reload_makes_a_context_and_each_worker_finds_it(tmp_path: Path) -> None:
    pair: Pair = Authority(tmp_path).pair("127.0.0.1")
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        made[-1].load_cert_chain(pair.certificate, pair.key)
        return made[-1]

    inherited = InheritedContext()
    for reload in range(2):
        given = settings(make)
        for _worker in range(3):
            inherited.prepare(given)
            assert inherited.of(given) is made[reload]
    assert len(made) == 2


def test_without_tls_there_is_none() -> None:
    def make() -> ssl.SSLContext:
        raise AssertionError

    inherited = InheritedContext()
    inherited.prepare(settings(make, tls=False))
    assert inherited.of(settings(make, tls=False)) is None


def test_files_that_cannot_be_loaded_end_the_worker_and_not_the_master() -> None:
    def make() -> ssl.SSLContext:
        raise FileNotFoundError(2, "no such file")

    inherited, given = InheritedContext(), settings(make)
    inherited.prepare(given)
    with pytest.raises(FileNotFoundError):
        inherited.of(given)
