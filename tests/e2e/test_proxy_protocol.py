"""A proxy in front that begins each connection with a header of the PROXY protocol, and strangers that do the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn
from devtools.wait import PATIENCE, eventually
from lbflask.core.proxy_protocol import header, header_without_client
from tests.e2e.test_transports import naming

pytestmark = pytest.mark.e2e

#: The address of the proxy in front, and that of the client which it states.
PROXY, CLIENT = "127.0.0.9", ("192.0.2.7", "40000")
SERVER = ("198.51.100.1", "443")


class Balancer(Gunicorn):
    """gunicorn with a plain and a TLS listener, which both know the proxy."""

    def __init__(self, directory: Path, store: str, backend: str) -> None:
        self.authority = Authority(directory)
        pair = self.authority.pair("localhost")
        file, self.plain, self.secured = directory / "lbflask.toml", free_port(), free_port()
        file.write_text(
            f"redis_url = '{store}'\nbackends = '{backend}'\ntimeouts.client_head = 2\naccess_log_format = 'json'\n"
            f"[[listeners]]\nbind = '127.0.0.1:{self.plain}'\nproxy_protocol = ['{PROXY}/32']\n"
            f"[[listeners]]\nbind = '127.0.0.1:{self.secured}'\ntls = true\nproxy_protocol = ['{PROXY}/32']\n"
            f"[tls]\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
            "[rate_limits.strict]\nrate = '1/h'\nkey = 'client'\n"
            "[[routes]]\nmatch = { path = '/limited' }\npool = 'default'\nrate_limit = 'strict'\n"
            "[[routes]]\npool = 'default'\n"
        )
        super().__init__(workers=1, config=file, bind=None)


@pytest.fixture(scope="module")
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(naming(b"b")) as running:
        yield running


@pytest.fixture(scope="module")
def balancer(store: str, backend: ScriptedBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with Balancer(tmp_path_factory.mktemp("proxied"), store, backend.url) as running:
        yield running
        running.assert_no_traceback()
        assert running.stop() == 0


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n".encode()


def forwarded_for(backend: ScriptedBackend, path: str) -> bytes:
    head = backend.received.partition(b"GET " + path.encode())[2].partition(b"\r\n\r\n")[0]
    return head.partition(b"X-Forwarded-For: ")[2].partition(b"\r\n")[0]


@pytest.mark.parametrize("version", [1, 2])
def test_the_stated_client_is_the_peer_of_all_its_requests(
    balancer: Balancer, backend: ScriptedBackend, version: int
) -> None:
    with RawClient(balancer.plain, source=PROXY) as client:
        client.send(header(version, CLIENT, SERVER) + request(f"/first/{version}"))
        assert client.answer().status == 200
        client.send(request(f"/second/{version}"))
        assert client.answer().status == 200
    for path in (f"/first/{version}", f"/second/{version}"):
        assert forwarded_for(backend, path) == b"192.0.2.7"
        eventually(lambda path=path: f'"{path}"' in balancer.output, "the access log has the request")
        (line,) = [line for line in balancer.output.splitlines() if f'"{path}"' in line]
        assert '"client":"192.0.2.7"' in line.replace(": ", ":")


def test_the_header_may_arrive_in_pieces_and_tls_follows_it(balancer: Balancer, backend: ScriptedBackend) -> None:
    stated = header(2, ("2001:db8::7", "40000"), ("fd00::1", "443"))
    with socket.create_connection(("127.0.0.1", balancer.secured), PATIENCE, (PROXY, 0)) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stated), 5):
            raw.sendall(stated[start : start + 5])
        with balancer.authority.trust().wrap_socket(raw, server_hostname="localhost") as secured:
            secured.sendall(request("/by-tls"))
            assert secured.recv(12) == b"HTTP/1.1 200"
    assert forwarded_for(backend, "/by-tls") == b"2001:db8::7"


def test_limits_count_the_stated_clients_apart(balancer: Balancer) -> None:
    statuses = []
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        with RawClient(balancer.plain, source=PROXY) as client:
            client.send(header(1, (address, "1"), SERVER) + request("/limited"))
            statuses.append(client.answer().status)
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("version", [1, 2])
def test_a_connection_of_the_proxys_own_is_from_the_proxy(
    balancer: Balancer, backend: ScriptedBackend, version: int
) -> None:
    with RawClient(balancer.plain, source=PROXY) as client:
        client.send(header_without_client(version) + request(f"/own/{version}"))
        assert client.answer().status == 200
    assert forwarded_for(backend, f"/own/{version}") == PROXY.encode()


@pytest.mark.parametrize(
    "first", [request("/without"), b"PROXY TCP4 nonsense\r\n" + request("/without"), b"\x16\x03\x01"]
)
def test_a_connection_of_the_proxy_without_a_header_is_refused(
    balancer: Balancer, backend: ScriptedBackend, first: bytes
) -> None:
    for port in (balancer.plain, balancer.secured):
        with RawClient(port, source=PROXY) as client:
            client.send(first)
            with pytest.raises(ConnectionCut) as cut:
                client.answer()
        assert cut.value.got == b""
    assert b"/without" not in backend.received
    eventually(lambda: f"refused a connection of {PROXY}" in balancer.output, "the log says so")


def test_a_header_that_does_not_arrive_in_time_is_refused(balancer: Balancer) -> None:
    with RawClient(balancer.plain, source=PROXY) as client:
        client.send(b"PROXY TCP4 ")
        with pytest.raises(ConnectionCut) as cut:
            client.answer()
    assert cut.value.got == b""
    eventually(lambda: "no header of the PROXY protocol has arrived in time" in balancer.output, "the log says so")


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_of_a_stranger_is_a_bad_request(balancer: Balancer, backend: ScriptedBackend, version: int) -> None:
    with RawClient(balancer.plain) as client:
        client.send(header(version, CLIENT, SERVER) + request("/stranger"))
        assert client.answer().status == 400
    assert b"/stranger" not in backend.received


def test_a_stranger_without_a_header_is_served(balancer: Balancer, backend: ScriptedBackend) -> None:
    with RawClient(balancer.plain) as client:
        client.send(request("/direct"))
        assert client.answer().status == 200
    assert forwarded_for(backend, "/direct") == b"127.0.0.1"


def test_gunicorns_own_workers_are_refused(store: str, backend: ScriptedBackend, tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        f"redis_url = '{store}'\nbackends = '{backend.url}'\n"
        f"[[listeners]]\nbind = '127.0.0.1:{free_port()}'\nproxy_protocol = ['{PROXY}/32']\n"
    )
    with Gunicorn("-k", "gevent", config=file, bind=None, wait=False) as refused:
        assert refused.wait() != 0
        assert "gunicorn's own workers do not have proxy_protocol of [[listeners]]" in refused.output
