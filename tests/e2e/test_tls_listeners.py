"""Plain and TLS listeners of one gunicorn, listeners that redirect, and reloads that change them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.raw_client import RawClient
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn, HttpResponse, Process, get, listens, urls
from devtools.traffic import traffic
from devtools.wait import PATIENCE, eventually
from tests.e2e.test_transports import naming
from tests.support.socket_activation import activated

pytestmark = pytest.mark.e2e

CHALLENGE = "/.well-known/acme-challenge/token-1"


def hello(name: bytes) -> bytes:
    """The first message of a client that asks for any name."""
    context = ssl.create_default_context()
    outgoing, instead = ssl.MemoryBIO(), (f"{'a' * 50}." * 5)[: len(name)]
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=instead).do_handshake()
    return outgoing.read().replace(instead.encode(), name)


class Balancer(Gunicorn):
    """gunicorn with the listeners of a file: `plain`, which redirects, `secured`, and `local`, a unix socket."""

    def __init__(self, directory: Path, store: str, backend: str, *options: str) -> None:
        self.authority = Authority(directory)
        self.pair = self.authority.pair("localhost")
        self.file, self.plain, self.secured = directory / "lbflask.toml", free_port(), free_port()
        self.local = directory / "local.sock"
        self._fixed = f"redis_url = '{store}'\nbackends = '{backend}'\n"
        self.tls = f"[tls]\ncertificate = '{self.pair.certificate}'\nkey = '{self.pair.key}'\n"
        self.usual = (
            f"[[listeners]]\nbind = '127.0.0.1:{self.plain}'\nredirect = 'https'\n"
            f"[[listeners]]\nbind = '127.0.0.1:{self.secured}'\ntls = true\n"
            f"[[listeners]]\nbind = 'unix:{self.local}'\n"
        )
        self.write(self.usual)
        super().__init__(*options, workers=1, config=self.file, bind=None)

    def write(self, listeners: str) -> None:
        self.file.write_text(self._fixed + listeners + (self.tls if "tls = true" in listeners else ""))

    def get(self, port: int, path: str = "/") -> HttpResponse:
        """By TLS."""
        connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=self.authority.trust())
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return HttpResponse(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(naming(b"b")) as running:
        yield running


@pytest.fixture(scope="module")
def balancer(store: str, backend: ScriptedBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with Balancer(tmp_path_factory.mktemp("listeners"), store, backend.url) as running:
        yield running
        running.assert_no_traceback()
        assert running.stop() == 0
        assert not running.local.exists()


def test_both_kinds_of_listeners_serve(balancer: Balancer, backend: ScriptedBackend) -> None:
    assert balancer.get(balancer.secured, "/by-tls").body == b"b "
    with RawClient(str(balancer.local)) as client:
        client.send(b"GET /by-path HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert client.answer().body == b"b "
    for path, scheme in ((b"/by-tls", b"https"), (b"/by-path", b"http")):
        head = backend.received.partition(b"GET " + path)[2].partition(b"\r\n\r\n")[0]
        assert b"\r\nX-Forwarded-Proto: " + scheme + b"\r\n" in head
    said = balancer.output
    assert f"Listening at: http://127.0.0.1:{balancer.plain},https://127.0.0.1:{balancer.secured}," in said
    assert f"http://127.0.0.1:{balancer.admin_port}" in said


def test_the_plain_listener_leads_to_the_other(balancer: Balancer) -> None:
    answer = get(balancer.plain, "/a?b=c", "POST", {"Host": "localhost:80"}, b"body")
    assert (answer.status, answer.field("Location")) == (308, f"https://localhost:{balancer.secured}/a?b=c")
    assert get(balancer.plain, "/.well-known/acme-challenge/../x").status == 308
    with RawClient(balancer.plain) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer().status == 400


def test_it_answers_challenges_and_for_the_balancer_itself(balancer: Balancer) -> None:
    assert get(balancer.plain, CHALLENGE).body == b"b "
    for path in ("/health", "/live"):
        assert get(balancer.plain, path).status == 200
        assert balancer.get(balancer.secured, path).status == 200


def test_plain_http_to_the_tls_listener_is_told(balancer: Balancer) -> None:
    answer = get(balancer.secured)
    assert (answer.status, b"takes HTTPS only" in answer.body) == (400, True)


@pytest.mark.parametrize("name", [b"\xff\xfe\xfd", "名.example".encode(), b"a..b", b"-", b"LOCALHOST.", b"x" * 253])
def test_no_name_that_a_client_asks_for_has_more_effect_than_an_alert(balancer: Balancer, name: bytes) -> None:
    with socket.create_connection(("127.0.0.1", balancer.secured), PATIENCE) as client:
        client.sendall(hello(name))
        assert client.recv(1) in (b"\x15", b"\x16")  # an alert, or the handshake
    assert balancer.get(balancer.secured).status == 200


def test_a_reload_changes_listeners_without_loss(store: str, demos: list[int], tmp_path: Path) -> None:
    with Balancer(tmp_path, store, urls(demos)) as balancer:
        kept = f"[[listeners]]\nbind = '127.0.0.1:{balancer.plain}'\n"

        def reload(listeners: str) -> None:
            balancer.write(listeners)
            before = balancer.workers()
            balancer.signal(signal.SIGHUP)
            balancer.await_workers(without=before)

        reload(kept)
        assert get(balancer.plain).status == 200
        eventually(lambda: not listens(balancer.secured), "nothing listens at the other address")
        with traffic(balancer.plain, rate=300) as load:
            reload(kept + f"[[listeners]]\nbind = '127.0.0.1:{balancer.secured}'\ntls = true\n")
            assert balancer.get(balancer.secured).status == 200
        assert load.failures == []
        reload(balancer.usual)
        assert get(balancer.plain).status == 308
        balancer.write(kept + "tls = true\n" + kept)
        answer = get(balancer.admin_port, "/api/v1/reload", "POST")
        assert answer.status == 422
        assert "listeners[1].bind" in json.loads(answer.body)["detail"]
        assert get(balancer.plain).status == 308
        balancer.assert_no_traceback()
        assert balancer.stop() == 0


@pytest.mark.thorough
def test_an_upgrade_inherits_listeners_of_both_kinds(store: str, backend: ScriptedBackend, tmp_path: Path) -> None:
    with Balancer(tmp_path, store, backend.url) as balancer:
        old = balancer.upgrade()
        os.kill(old, signal.SIGTERM)
        assert balancer.wait() == 0
        try:
            assert balancer.get(balancer.secured).status == 200
            assert get(balancer.plain).field("Location") == f"https://127.0.0.1:{balancer.secured}/"
        finally:
            balancer.signal(signal.SIGTERM)
        eventually(lambda: not listens(balancer.secured), "it ends")


@pytest.mark.parametrize("worker", ["gthread", "sync", "gevent"])
@pytest.mark.sampled(3, 1)
@pytest.mark.long
def test_stock_workers_refuse_both_kinds_in_one(worker: str, store: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair("localhost")
    file = tmp_path / "lbflask.toml"
    file.write_text(
        f"[[listeners]]\nbind = '127.0.0.1:{free_port()}'\n"
        f"[[listeners]]\nbind = '127.0.0.1:{free_port()}'\ntls = true\n"
        f"[tls]\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
    )
    with Gunicorn(
        "-k", worker, wait=False, config=file, bind=None, redis_url=store, backends="http://127.0.0.1:9"
    ) as refused:
        assert refused.wait() == 4
        assert (
            "gunicorn's own workers have TLS on all listeners or on none, and [[listeners]] has both" in refused.output
        )
        refused.assert_no_traceback()


@pytest.mark.thorough
@pytest.mark.parametrize("worker", ["gthread", "sync", "gevent"])
def test_stock_workers_redirect_too(worker: str, store: str, backend: ScriptedBackend, tmp_path: Path) -> None:
    file, plain, other = tmp_path / "lbflask.toml", free_port(), free_port()
    file.write_text(
        f"[[listeners]]\nbind = '127.0.0.1:{plain}'\nredirect = 'https'\n[[listeners]]\nbind = '127.0.0.1:{other}'\n"
    )
    with Gunicorn("-k", worker, workers=1, config=file, bind=None, redis_url=store, backends=backend.url) as balancer:
        assert get(plain, "/x").field("Location") == "https://127.0.0.1/x"
        assert [get(plain, path).status for path in (CHALLENGE, "/live")] == [200, 200]
        assert get(other, "/x").status == 200
        assert balancer.stop() == 0


def test_sockets_of_systemd_are_found_by_their_addresses(store: str, backend: ScriptedBackend, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, file = authority.pair("localhost"), tmp_path / "lbflask.toml"
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        plain, secured = (each.getsockname()[1] for each in (one, two))
        file.write_text(
            f"[[listeners]]\nbind = '127.0.0.1:{plain}'\n[[listeners]]\nbind = '127.0.0.1:{secured}'\ntls = true\n"
            f"[tls]\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
        )
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "lbflask.wsgi"]
        settings = {"CONFIG": str(file), "ADMIN_BIND": "", "REDIS_URL": store, "BACKENDS": backend.url}
        environ = {f"LBFLASK_{key}": value for key, value in settings.items()}
        descriptors = one.fileno(), two.fileno()
        with Process(activated(command, [one, two]), environ, pass_fds=descriptors) as balancer:
            balancer.await_start(lambda: get(plain).status == 200, "it serves")
            context = authority.trust()
            with (
                socket.create_connection(("127.0.0.1", secured), PATIENCE) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as client,
            ):
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.recv(65_536).startswith(b"HTTP/1.1 200")
            assert isinstance(client, ssl.SSLSocket)
            assert balancer.stop() == 0
