"""TLS towards clients, and backends under TLS and at a unix socket: one balancer in between, in real processes."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devtools.certificates import Authority, Pair
from devtools.cluster import Cluster
from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import Peer, Script, ScriptedBackend
from devtools.servers import Gunicorn, HttpResponse, get, runtime_directory
from devtools.wait import PATIENCE, eventually

pytestmark = pytest.mark.e2e

UPGRADE = b"GET /tunnel HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"


def naming(name: bytes) -> Script:
    """Answers with its name and the body it got; switches protocols for who asks, and is then an echo."""

    def play(peer: Peer) -> None:
        while head := peer.read_head():
            if b"\r\nUpgrade: x-echo\r\n" in head:
                peer.send(SWITCHED + b"this is " + name + b"\n")
                while (line := peer.read_until(b"\n")) not in (b"quit\n", b""):
                    peer.send(line)
                peer.send(b"bye\n")
                if name == b"secured":
                    peer.send_close_notify()
                return
            if head.startswith(b"GET /held "):
                peer.read_to_end()
                return
            body = name + b" " + peer.read_body(head)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return play


class TransportCluster(Cluster):
    """An instance under TLS, with a checker, a backend under TLS and one at a unix socket."""

    def __init__(
        self, authority: Authority, pair: Pair, secured: ScriptedBackend, local: ScriptedBackend, **settings: object
    ) -> None:
        tls = {"tls__certificate": pair.certificate, "tls__key": pair.key, "backend_tls__ca_file": authority.ca_file}
        super().__init__(backends=[secured.url, local.url], checkers=1, **tls, **settings)
        self.authority, self.pair, self.secured, self.local = authority, pair, secured, local

    def request(self, method: str = "GET", path: str = "/", body: bytes | None = None) -> HttpResponse:
        """One request under TLS, over a connection of its own."""
        context = self.authority.trust()
        connection = http.client.HTTPSConnection("localhost", self.balancer.port, timeout=20, context=context)
        try:
            connection.request(method, path, body, {"Host": "shop.example"})
            response = connection.getresponse()
            return HttpResponse(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def connect(self) -> RawClient:
        """A client that says byte for byte what it is told to, under TLS."""
        client = RawClient(self.balancer.port)
        client.sock = self.authority.trust().wrap_socket(
            client.sock, server_hostname="localhost", suppress_ragged_eofs=False
        )
        return client

    def certificate(self) -> bytes | None:
        """The one that a new client is shown."""
        connection = http.client.HTTPSConnection(
            "localhost", self.balancer.port, timeout=20, context=self.authority.trust()
        )
        try:
            connection.connect()
            assert isinstance(connection.sock, ssl.SSLSocket)
            return connection.sock.getpeercert(binary_form=True)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransportCluster]:
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    made = authority.pair("localhost")
    pair = Pair(str(directory / "ours.crt"), str(directory / "ours.key"))
    replace(pair, made)
    with (
        runtime_directory() as sockets,
        ScriptedBackend(naming(b"secured"), tls=authority.server("127.0.0.1")) as secured,
        ScriptedBackend(naming(b"local"), path=sockets / "app.sock") as local,
        TransportCluster(
            authority, pair, secured, local, redis_url=store, health__interval=0.2, forwarded=True
        ) as cluster,
    ):
        yield cluster


def replace(files: Pair, other: Pair) -> None:
    shutil.copy(other.certificate, files.certificate)
    shutil.copy(other.key, files.key)


def test_requests_under_tls_reach_both_backends_in_turn(cluster: TransportCluster) -> None:
    got = [cluster.request("GET", "/x") for _ in range(4)]
    assert {answer.status for answer in got} == {200}
    assert sorted(answer.body for answer in got) == [b"local "] * 2 + [b"secured "] * 2


def test_backends_are_told_that_the_client_came_under_tls(cluster: TransportCluster) -> None:
    for _ in range(2):
        cluster.request("GET", "/told")
    for backend in (cluster.secured, cluster.local):
        head = backend.received.partition(b"GET /told HTTP/1.1\r\n")[2].partition(b"\r\n\r\n")[0] + b"\r\n"
        assert head.startswith(b"Host: shop.example\r\n")
        assert b"\r\nX-Forwarded-Proto: https\r\n" in head
        assert b"\r\nX-Forwarded-Port: 443\r\n" in head
        assert b"\r\nForwarded: for=127.0.0.1;host=shop.example;proto=https\r\n" in head


def test_large_bodies_cross_all_of_it(cluster: TransportCluster) -> None:
    body = bytes(range(256)) * 8_000
    for _ in range(2):
        answer = cluster.request("POST", "/", body)
        assert answer.status == 200
        assert answer.body.partition(b" ")[2] == body


def test_tunnels_cross_all_of_it(cluster: TransportCluster) -> None:
    """With what came early on either side, with more than one record holds, and with the end that a backend makes."""
    met = set()
    for _ in range(2):
        with cluster.connect() as client:
            client.send(UPGRADE + b"early\n")
            assert client.head().status == 101
            met.add(client.read_until(b"\n"))
            assert client.read_until(b"\n") == b"early\n"
            for word in (b"hello\n", b"x" * 99_999 + b"\n"):
                client.send(word)
                assert client.read(len(word)) == word
            client.send(b"quit\n")
            assert client.rest() == b"bye\n"
    assert met == {b"this is secured\n", b"this is local\n"}


def test_a_client_under_tls_that_goes_while_it_waits_is_noticed(cluster: TransportCluster) -> None:
    """R27: nobody works for nobody."""
    for _ in range(2):
        with cluster.connect() as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            holding = eventually(lambda: _holding(cluster), "a backend holds it")
        assert holding.ended.wait(PATIENCE)


def _holding(cluster: TransportCluster) -> Peer | None:
    peers = [*cluster.secured.connections, *cluster.local.connections]
    return next((peer for peer in peers if b"GET /held " in peer.received and not peer.ended.is_set()), None)


def test_the_checker_finds_both_up(cluster: TransportCluster) -> None:
    port = cluster.secured.port
    eventually(lambda: cluster.balancer.healths() == {f"127.0.0.1:{port}": "up", "app.sock": "up"}, "both are up")


def test_the_admin_listener_speaks_plain_http(cluster: TransportCluster) -> None:
    assert cluster.balancer.health()[0] == 200


def test_the_public_listener_serves_nothing_but_tls(cluster: TransportCluster) -> None:
    assert get(cluster.balancer.port).status == 400
    assert json.loads(cluster.request("GET", "/health").body)


def test_clients_are_told_that_http_1_1_is_spoken(cluster: TransportCluster) -> None:
    context = cluster.authority.trust()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection("localhost", cluster.balancer.port, timeout=20, context=context)
    connection.connect()
    try:
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.selected_alpn_protocol() == "http/1.1"
    finally:
        connection.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"get / HTTP/1.0\r\n\r\n",
        b"M-SEARCH * HTTP/1.1\r\n\r\n",
        b"!#$ / HTTP/1.1\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G",
    ],
    ids=lambda said: said[:20].decode().split(" ")[0].strip(),
)
def test_plain_http_is_told_that_the_port_takes_tls(cluster: TransportCluster, said: bytes) -> None:
    with RawClient(cluster.balancer.port) as client:
        client.send(said)
        answer = client.answer()
        assert answer.line == b"HTTP/1.1 400 Bad Request"
        assert answer.values(b"content-type") == [b"text/plain; charset=utf-8"]
        assert answer.values(b"connection") == [b"close"]
        assert b"plain HTTP was sent to a port that takes HTTPS only" in answer.body
        assert client.rest() == b""
    assert cluster.request().status == 200


def test_what_is_neither_plain_http_nor_tls_is_cut(cluster: TransportCluster) -> None:
    with RawClient(cluster.balancer.port) as client:
        client.send(b"\x00\x01\x02\x03" * 10)
        with suppress(ConnectionCut):
            assert client.rest() == b""
    assert cluster.request().status == 200


def test_a_reload_takes_a_renewed_certificate(cluster: TransportCluster) -> None:
    before = cluster.certificate()
    assert cluster.certificate() == before
    replace(cluster.pair, cluster.authority.pair("localhost"))
    cluster.balancer.signal(signal.SIGHUP)
    eventually(lambda: cluster.certificate() != before, "the new certificate is shown")
    assert cluster.request().status == 200


def test_a_backend_that_is_not_who_it_says_gets_no_request(store: str, tmp_path: Path) -> None:
    stranger, ours = Authority(tmp_path, "stranger"), Authority(tmp_path, "ours")
    with ScriptedBackend(naming(b"stranger"), tls=stranger.server("127.0.0.1")) as backend:
        settings = {
            "redis_url": store,
            "namespace": "stranger",
            "backends": backend.url,
            "backend_tls__ca_file": ours.ca_file,
        }
        with Gunicorn(workers=1, **settings) as balancer:
            assert get(balancer.port).status == 502
            eventually(lambda: f"tried=127.0.0.1:{backend.port}:connect" in balancer.output, "the log says how far")
        assert b"GET" not in backend.received


def test_a_backend_at_a_socket_is_called_localhost_when_the_host_is_not_preserved(store: str) -> None:
    """R20."""
    with runtime_directory() as sockets, ScriptedBackend(naming(b"local"), path=sockets / "a.sock") as backend:
        settings = {"redis_url": store, "namespace": "own", "backends": backend.url, "preserve_host": False}
        with Gunicorn(workers=1, **settings) as balancer:
            assert get(balancer.port, "/x").status == 200
        assert backend.received.startswith(b"GET /x HTTP/1.1\r\nHost: localhost\r\n")
