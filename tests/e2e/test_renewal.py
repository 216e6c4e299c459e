"""Certificates are chosen by name, and renewed ones are taken by all workers at once, under open connections."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.certificates import Authority, Pair
from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, get
from devtools.wait import PATIENCE, eventually
from tests.e2e.test_certificates import findings, metrics
from tests.e2e.test_stock_workers import WORKERS
from tests.e2e.test_transports import replace

pytestmark = pytest.mark.e2e


class Edge(Gunicorn):
    """gunicorn with two certificates in a file of its own."""

    def __init__(self, directory: Path, store: str, backend: str, *options: str, settings: str = "") -> None:
        self.authority = Authority(directory)
        self.one, self.two = self.authority.pair("one.example"), self.authority.pair("*.two.example")
        self.file = directory / "lbflask.toml"
        self.write(self.one, self.two, settings=settings)
        super().__init__(
            *options, workers=2, wait=False, config=self.file, redis_url=store, backends=backend, admin_bind=""
        ) if options else super().__init__(workers=2, config=self.file, redis_url=store, backends=backend)

    def write(self, *pairs: Pair, settings: str = "") -> None:
        tables = ", ".join(f"{{ cert = '{pair.certificate}', key = '{pair.key}' }}" for pair in pairs)
        self.file.write_text(f"[tls]\ncertificates = [{tables}]\n{settings}")

    def connect(self, name: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return self.authority.trust().wrap_socket(plain, server_hostname=name)

    def certificate(self, name: str) -> bytes | None:
        with self.connect(name) as client:
            return client.getpeercert(binary_form=True)

    def reload(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(get(self.admin_port, "/api/v1/reload", "POST").body)
        return answer


def request(client: ssl.SSLSocket) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"ok"):
        piece = client.recv(65_536)
        assert piece
        received += piece
    return received


@pytest.fixture(scope="module")
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(answering_always()) as running:
        yield running


def test_renewed_files_are_served_by_all_workers_and_connections_stay(
    store: str, backend: ScriptedBackend, tmp_path: Path
) -> None:
    with Edge(tmp_path, store, backend.url) as balancer:
        workers, before = balancer.workers(), balancer.certificate("one.example")
        other = balancer.certificate("a.two.example")
        assert other != before
        with balancer.connect("one.example") as client:
            request(client)
            replace(balancer.one, balancer.authority.pair("one.example"))
            # In a row, so that both workers have answered with the new one.
            eventually(
                lambda: all(balancer.certificate("one.example") != before for _ in range(20)), "all have the new one"
            )
            request(client)
            renewed = balancer.certificate("one.example")

            shutil.copy(balancer.authority.pair("one.example").key, balancer.one.key)
            setting = "tls.certificates[0].cert"
            told = eventually(lambda: findings(balancer).get(setting), "the doctor names it")
            assert (told["level"], "the key is not that of the certificate" in told["finding"]) == ("bad", True)
            labels = f'{{certificate="{setting}"}}'
            eventually(lambda: metrics(balancer, "certificate_unusable")[labels] == 1, "it is counted")
            assert metrics(balancer, "certificate_unusable")[labels.replace("0", "1")] == 0
            assert len(metrics(balancer, "certificate_expiry_timestamp_seconds")) == 2
            assert (
                f"{setting} = '{balancer.one.certificate}': has changed, and the certificate from " in balancer.output
            )
            assert balancer.certificate("one.example") == renewed
            assert "is not the key of the certificate" in str(balancer.reload()["detail"])
            replace(balancer.one, balancer.authority.pair("one.example"))
            eventually(lambda: all(setting not in findings(balancer) for _ in range(10)), "it is mended")
            request(client)
        assert balancer.certificate("a.two.example") == other
        assert balancer.workers() == workers
        balancer.assert_no_traceback()
        assert balancer.stop() == 0


def test_a_reload_changes_certificates_ciphers_and_hsts_in_place(
    store: str, backend: ScriptedBackend, tmp_path: Path
) -> None:
    with Edge(tmp_path, store, backend.url) as balancer:
        workers, three = balancer.workers(), balancer.authority.pair("three.example")
        with balancer.connect("one.example") as client:
            assert b"strict-transport" not in request(client).lower()
        balancer.write(balancer.one, three, settings="hsts = { max_age = 60, include_subdomains = true }\n")
        answer = balancer.reload()
        assert answer["by_new_workers"] == []
        assert {"tls.certificates", "tls.hsts"} <= {*answer["in_place"]}  # type: ignore[misc]
        eventually(lambda: all(serves(balancer, "three.example") for _ in range(20)), "all have the new one")
        for path in (b"/", b"/health", b"/none"):
            with balancer.connect("three.example") as client:
                client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                assert b"\r\nStrict-Transport-Security: max-age=60; includeSubDomains\r\n" in client.recv(65_536)
        assert get(balancer.admin_port, "/health").field("Strict-Transport-Security") is None
        assert balancer.workers() == workers
        balancer.write(balancer.one, settings="minimum = 'TLSv1.3'\n")
        assert balancer.reload()["by_new_workers"] == ["tls.minimum"]
        balancer.await_workers(without=workers)
        with pytest.raises(OSError, match=r"."):  # an alert, or a connection that is cut
            old(balancer)
        balancer.assert_no_traceback()
        assert balancer.stop() == 0


def serves(balancer: Edge, name: str) -> bool:
    try:
        return balancer.certificate(name) is not None
    except ssl.SSLCertVerificationError:
        return False


def old(balancer: Edge) -> None:
    """A client with TLS 1.2."""
    context = balancer.authority.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", balancer.port), PATIENCE) as plain:
        context.wrap_socket(plain, server_hostname="one.example").close()


@pytest.mark.thorough
@pytest.mark.parametrize("worker", [name for name in WORKERS if name != "own"])
def test_stock_workers_choose_and_renew_too(worker: str, store: str, backend: ScriptedBackend, tmp_path: Path) -> None:
    with Edge(tmp_path, store, backend.url, *WORKERS[worker], settings="hsts = true\n") as balancer:
        balancer.await_start(lambda: "Booting worker" in balancer.output, "it has started")
        eventually(lambda: serves(balancer, "x.two.example"), "it serves")
        before = balancer.certificate("one.example")
        with balancer.connect("x.two.example") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"Strict-Transport-Security: max-age=63072000\r\n" in client.recv(65_536)
        replace(balancer.one, balancer.authority.pair("one.example"))
        eventually(
            lambda: all(balancer.certificate("one.example") != before for _ in range(20)), "all have the new one"
        )
        balancer.assert_no_traceback()
        assert balancer.stop() == 0
