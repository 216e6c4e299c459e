"""Automatic certificates from a real ACME server, for instances that share a store."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
import redis

from devtools.environment import HOST
from devtools.ports import free_port
from devtools.servers import Gunicorn, Process, get, start_checker, urls, valkey
from devtools.wait import PATIENCE, eventually
from tests.support.acme_authority import AcmeAuthority

pytestmark = pytest.mark.e2e

KEY = "a key of the operator's, for tests only"
NAMES = ("shop.example", "api.shop.example", "www.shop.example")


class Site:
    """Instances that share a store, their checkers, and the authority that validates at `http` and `https`."""

    def __init__(self, directory: Path, store: str, demos: list[int], *names: str, validity: int = 0) -> None:
        self.directory = directory
        self._open = ExitStack()
        self.http, self.https = free_port(), free_port()
        self.authority = self._open.enter_context(
            AcmeAuthority(directory, http_port=self.http, tls_port=self.https, validity=validity)
        )
        self.authority.resolve(*names)
        self.settings: dict[str, object] = {
            "backends": urls(demos),
            "redis_url": store,
            "namespace": directory.name,
            "health__lease": 1.0,
            "tls__acme__domains": ",".join(names),
            "tls__acme__directory": self.authority.directory,
            "tls__acme__ca": self.authority.ca_file,
            "tls__acme__key": KEY,
        }

    def balancer(self, storage: str, http: int = 0, https: int = 0, **settings: object) -> Gunicorn:
        """An instance; without ports it is the one at which the authority validates."""
        common = self._settings(storage, http or self.http, https or self.https)
        return self._open.enter_context(Gunicorn(**{**common, "bind": None, **settings}))

    def checker(self, storage: str, **settings: object) -> Process:
        common = self._settings(storage, self.http, self.https)
        return self._open.enter_context(start_checker(**{**common, **settings}))

    def _settings(self, storage: str, http: int, https: int) -> dict[str, object]:
        file = self.directory / f"{storage}-{http}.toml"
        file.write_text(
            f"""
            [[listeners]]
            bind = "{HOST}:{http}"
            redirect = "https"

            [[listeners]]
            bind = "{HOST}:{https}"
            tls = true
            """,
            "utf-8",
        )
        return {**self.settings, "config": file, "tls__acme__storage": self.directory / storage}

    def orders(self) -> int:
        """The orders that the authority has got."""
        return self.authority.log.count("POST /order-plz")

    def serial(self, port: int, name: str) -> int:
        """The serial number of the certificate for this name, which the authority has issued. Raises SSLError."""
        with (
            socket.create_connection((HOST, port), PATIENCE) as plain,
            self.authority.roots().wrap_socket(plain, server_hostname=name) as connection,
        ):
            certificate = connection.getpeercert()
            assert certificate
            assert certificate["subjectAltName"] in ((("DNS", name),), (("DNS", "*." + name.partition(".")[2]),))
            return int(str(certificate["serialNumber"]), 16)

    def serves(self, port: int, *names: str) -> bool:
        """Whether new connections get certificates of the authority."""
        try:
            return all(self.serial(port, name) for name in names)
        except ssl.SSLCertVerificationError:
            return False

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def site(tmp_path: Path, store: str, demos: list[int]) -> Iterator[Site]:
    site = Site(tmp_path, store, demos, *NAMES)
    yield site
    site.close()


def issued(*checkers: Process) -> list[str]:
    """The names whose certificates these checkers have got, each once for each certificate."""
    return sorted(found for one in checkers for found in re.findall(r"certificates: (\S+) is issued", one.output))


def test_three_names_are_issued_once_for_two_instances(site: Site, store: str) -> None:
    site.balancer("one")
    http, https = free_port(), free_port()
    site.balancer("two", http, https)
    assert not site.serves(site.https, NAMES[0]), "self-signed until then"
    checkers = [site.checker("one"), site.checker("two")]
    eventually(lambda: len(issued(*checkers)) >= 3, "all are issued", 60)
    assert issued(*checkers) == sorted(NAMES)
    assert site.orders() == 3
    # What the store holds can be read by nobody without the key.
    with redis.Redis.from_url(store) as client:
        records = client.hgetall(f"{{{site.settings['namespace']}:}}:certificates")
    assert {name.decode() for name in records} >= {"account", *(f"certificate:{name}" for name in NAMES)}
    assert all(record.startswith(b"v1.") and b"BEGIN" not in record for record in records.values())
    # Both instances hold a copy, and neither a token that nobody waits for.
    for storage in ("one", "two"):
        copy = site.directory / storage / "certificates.json"
        eventually(lambda copy=copy: copy.exists() and b"www.shop.example" in copy.read_bytes(), f"a copy in {storage}")
    for port in (site.https, https):
        eventually(lambda port=port: site.serves(port, *NAMES), "both instances present them")
    # An unknown token is a request like any other, and others are redirected.
    for port in (site.http, http):
        assert get(port, "/.well-known/acme-challenge/unknown").body.startswith(b"hello")
        assert get(port, "/").status == 308


@pytest.mark.long
def test_names_that_fail_back_off_and_leave_the_others_alone(site: Site) -> None:
    site.authority.forget(NAMES[1])
    site.balancer("one")
    checker = site.checker("one")
    eventually(lambda: len(issued(checker)) == 2, "the others are issued", 60)
    line = eventually(
        lambda: re.search(rf"no certificate for {NAMES[1]}, next try in (\d+) s: (.*)", checker.output), "it fails"
    )
    assert int(line[1]) >= 60
    assert line[2].isprintable()
    assert NAMES[1] not in issued(checker)


@pytest.mark.long
def test_an_emptied_store_gets_back_what_the_disk_has(site: Site, store: str) -> None:
    only = {"tls__acme__domains": NAMES[0]}
    site.balancer("one", **only)
    checker = site.checker("one", **only)
    eventually(lambda: issued(checker), "it is issued", 60)
    with redis.Redis.from_url(store) as client:
        client.flushall()
        key = f"{{{site.settings['namespace']}:}}:certificates"
        eventually(lambda: client.hexists(key, f"certificate:{NAMES[0]}"), "it is written again", 60)
    assert site.orders() == 1


@pytest.mark.long
def test_a_name_is_validated_by_a_handshake(site: Site) -> None:
    only = {"tls__acme__domains": NAMES[0], "tls__acme__challenge": "tls-alpn-01"}
    site.balancer("one", **only)
    checker = site.checker("one", **only)
    eventually(lambda: issued(checker), "it is issued", 60)
    eventually(lambda: site.serves(site.https, NAMES[0]), "it is presented")


#: Bytes of a response that clients are slow to take, and of one part of it.
LARGE, PART = 48 << 20, 1 << 16
#: Seconds for one part while the client is slow.
SLOWLY = 0.15


class Echo(socketserver.StreamRequestHandler):
    """Switches to a protocol that echoes lines (RFC 9110 §7.8), sends a large body, or answers."""

    def handle(self) -> None:
        head = list(iter(lambda: self.rfile.readline().strip().lower(), b""))
        if head[0].startswith(b"get /large "):
            self.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n".encode())
            for number in range(LARGE // PART):
                self.wfile.write(number.to_bytes(4) * (PART // 4))
            return
        if b"upgrade: echo" not in head:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while line := self.rfile.readline():
            self.wfile.write(line)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a backend that switches protocols."""
    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def connected(site: Site, port: int, request: bytes) -> ssl.SSLSocket:
    """A connection after this request line, with further fields."""
    plain = socket.create_connection((HOST, port), PATIENCE)
    connection = site.authority.roots().wrap_socket(plain, server_hostname=NAMES[0])
    connection.sendall(request + b"\r\nHost: shop.example\r\n\r\n")
    return connection


def ask(port: int, trust: ssl.SSLContext) -> str:
    """The serial number of the certificate on a new connection, after a request that succeeds. Raises OSError."""
    with (
        socket.create_connection((HOST, port), PATIENCE) as plain,
        trust.wrap_socket(plain, server_hostname=NAMES[0]) as connection,
    ):
        certificate = connection.getpeercert()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(4096), b""))
        assert response.startswith(b"HTTP/1.1 200"), response
        assert certificate
        return str(certificate["serialNumber"])


class Clients:
    """Clients that ask all instances until the end of the block. `seen` has the begin of each request
    that succeeded and the certificate of its connection, `failures` why others did not.
    """

    def __init__(self, trust: ssl.SSLContext, *ports: int, each: int = 2) -> None:
        self.seen: list[tuple[float, int, str]] = []
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(port, trust), daemon=True) for port in ports for _ in range(each)
        ]

    def _ask(self, port: int, trust: ssl.SSLContext) -> None:
        while not self._ended.wait(0.02):
            begun = time.monotonic()
            try:
                self.seen.append((begun, port, ask(port, trust)))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.mark.long
def test_a_renewal_under_load_fails_no_request_and_reaches_all_workers(tmp_path: Path, store: str, echo: int) -> None:
    """Several clients of two instances, a tunnel and a large download through each, all of them open throughout."""
    site = Site(tmp_path, store, [echo], NAMES[0], validity=45)
    try:
        second = free_port()
        balancers = [site.balancer("one", workers=2), site.balancer("two", free_port(), second, workers=2)]
        ports = (site.https, second)
        checker = site.checker("one")
        for port in ports:
            eventually(lambda port=port: site.serves(port, NAMES[0]), "it is issued", 60)
        trust = site.authority.roots()
        before = ask(site.https, trust)
        upgrade = b"GET /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo"
        tunnels = [connected(site, port, upgrade) for port in ports]
        assert all(tunnel.recv(4096).startswith(b"HTTP/1.1 101") for tunnel in tunnels)
        downloads = [Download(connected(site, port, b"GET /large HTTP/1.1")) for port in ports]
        assert "is renewed" not in checker.output, "all are under way before"
        with Clients(trust, *ports) as clients:
            eventually(lambda: "is renewed" in checker.output, "it is renewed", 90)
            renewed_at = time.monotonic()
            eventually(lambda: all(late(clients, port, renewed_at + 2, 20) for port in ports), "both serve on", 60)
        assert all(download.is_under_way() for download in downloads)
        assert all(download.finish() for download in downloads)
        assert clients.failures == []
        assert {serial for moment, _, serial in clients.seen if moment < renewed_at - 5} == {before}
        assert before not in {serial for moment, _, serial in clients.seen if moment > renewed_at + 2}, "at all workers"
        for tunnel in tunnels:
            tunnel.sendall(b"still here\n")
            assert tunnel.recv(100) == b"still here\n"
            tunnel.close()
        for balancer in balancers:
            assert balancer.output.count("Booting worker") == 2, "no new worker"
            balancer.assert_no_traceback()
    finally:
        site.close()


class Download:
    """A large response that a client takes slowly until it is to finish."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection, self._body = connection, connection.makefile("rb")
        assert self._body.readline() == b"HTTP/1.1 200 OK\r\n"
        while self._body.readline().strip():
            pass
        self._in_haste = threading.Event()
        self._parts: list[bool] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for number in range(LARGE // PART):
            self._in_haste.wait(SLOWLY)
            self._parts.append(self._body.read(PART) == number.to_bytes(4) * (PART // 4))

    def is_under_way(self) -> bool:
        return 0 < len(self._parts) < LARGE // PART

    def finish(self) -> bool:
        """Take the rest. Returns whether all of it is what the backend has sent."""
        self._in_haste.set()
        self._thread.join(PATIENCE)
        self._body.close()
        self._connection.close()
        return len(self._parts) == LARGE // PART and all(self._parts)


def late(clients: Clients, port: int, since: float, count: int) -> bool:
    """Whether so many requests at the port began after the moment."""
    return sum(at == port and moment > since for moment, at, _ in list(clients.seen)) >= count


@pytest.mark.long
def test_without_its_store_an_instance_serves_from_memory_and_then_from_disk(tmp_path: Path, demos: list[int]) -> None:
    port = free_port()
    with valkey(port=port) as url:
        site = Site(tmp_path, url, demos, NAMES[0])
        balancer = site.balancer("one")
        site.checker("one")
        eventually(lambda: site.serves(site.https, NAMES[0]), "it is issued", 60)
        eventually((tmp_path / "one" / "certificates.json").exists, "a copy is written")
    try:
        eventually(lambda: balancer.health()[1]["status"] == "degraded", "the store is noticed to be dead")
        assert site.serves(site.https, NAMES[0])
        balancer.stop()
        site.balancer("one")
        assert site.serves(site.https, NAMES[0]), "from disk, at once"
    finally:
        site.close()


@pytest.mark.thorough
def test_a_name_and_a_backend_are_all_that_is_needed(tmp_path: Path, demos: list[int]) -> None:
    """`lbflask serve --domain`, with a store and a key of its own."""
    http, https, admin = free_port(), free_port(), free_port()
    with AcmeAuthority(tmp_path, http_port=http, tls_port=https) as authority:
        authority.resolve(NAMES[0])
        environ = {
            "STATE_DIRECTORY": str(tmp_path / "state"),
            "XDG_RUNTIME_DIR": str(tmp_path),
            "LBFLASK_TLS__ACME__DIRECTORY": authority.directory,
            "LBFLASK_TLS__ACME__CA": authority.ca_file,
            "LBFLASK_ADMIN_BIND": f"{HOST}:{admin}",
        }
        options = ["--http-port", str(http), "--https-port", str(https), "--backend", urls(demos[:1])]
        command = [sys.executable, "-m", "lbflask", "serve", "--domain", NAMES[0], *options]
        with Process(command, environ, cwd=tmp_path) as served:

            def greeting() -> bytes:
                with (
                    socket.create_connection((HOST, https), PATIENCE) as plain,
                    authority.roots().wrap_socket(plain, server_hostname=NAMES[0]) as connection,
                ):
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                    return b"".join(iter(lambda: connection.recv(4096), b""))

            assert eventually(greeting, "it serves by https", 60).startswith(b"HTTP/1.1 200")
            assert get(http, "/").status == 308
            assert {path.name for path in (tmp_path / "state" / "acme" / "lbflask").iterdir()} == {
                "certificates.json",
                "certificates.key",
            }
            assert served.stop() == 0
