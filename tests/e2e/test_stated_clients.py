"""Backends that get the client's address by the PROXY protocol, at the beginning of each connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, Script, ScriptedBackend
from devtools.servers import Gunicorn, start_checker
from devtools.wait import eventually
from lbflask.core.proxy_protocol import read_header

pytestmark = pytest.mark.e2e

PATHS = {"/one": "one", "/two": "two", "/secured": "secured"}


class Stated:
    """What connections to a backend stated: an address and a port, or None for a connection of the balancer's own."""

    def __init__(self, around: Callable[[Peer], None] = lambda _: None) -> None:
        self.clients: list[tuple[str, str] | None] = []
        self._around = around

    def play(self, peer: Peer) -> None:
        data = b""
        while (found := read_header(data)) is None:
            if not (more := peer.read_byte()):
                return  # a probe of the port
            data += more
        self.clients.append(found[1])
        self._around(peer)
        while peer.read_head():
            peer.send(OK)


class Backends:
    """A backend for each version, and one under TLS."""

    def __init__(self, authority: Authority) -> None:
        context = authority.server("127.0.0.1")
        self.one, self.two = Stated(), Stated()
        self.secured = Stated(lambda peer: peer.secure(context))

    def scripts(self) -> dict[str, Script]:
        return {"one": self.one.play, "two": self.two.play, "secured": self.secured.play}


@pytest.fixture(scope="module")
def running(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, Backends]]:
    directory: Path = tmp_path_factory.mktemp("stated")
    authority = Authority(directory)
    backends = Backends(authority)
    scripts = backends.scripts()
    with (
        ScriptedBackend(scripts["one"]) as one,
        ScriptedBackend(scripts["two"]) as two,
        ScriptedBackend(scripts["secured"]) as secured,
    ):
        pools = "".join(
            f"[pools.{name}]\nbackends = ['{url}']\nproxy_protocol = '{version}'\nhealth.interval = 0.2\n"
            for name, url, version in (
                ("one", one.url, "v1"),
                ("two", two.url, "v2"),
                ("secured", f"https://127.0.0.1:{secured.port}", "v2"),
            )
        )
        routes = "".join(
            f"[[routes]]\nmatch = {{ path = '{path}' }}\npool = '{name}'\n" for path, name in PATHS.items()
        )
        file, port = directory / "lbflask.toml", free_port()
        file.write_text(
            f"redis_url = '{store}'\nbind = '127.0.0.1:{port}'\ntrusted_proxies = ['127.0.0.9/32']\n"
            f"backend_tls.ca_file = '{authority.ca_file}'\n{pools}{routes}"
        )
        with Gunicorn(workers=1, config=file, bind=None) as balancer, start_checker(config=file):
            balancer.port = port
            yield balancer, backends
            balancer.assert_no_traceback()


@pytest.mark.parametrize("path", PATHS)
def test_each_request_is_of_the_client_that_its_connection_states(
    running: tuple[Gunicorn, Backends], path: str
) -> None:
    balancer, backends = running
    stated: Stated = getattr(backends, PATHS[path])
    ports = []
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        with RawClient(balancer.port, source=source) as client:
            for _ in range(2):
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert client.answer().status == 200
            ports += [(source, str(client.sock.getsockname()[1]))] * 2
    assert [one for one in stated.clients if one is not None] == ports


def test_behind_a_trusted_proxy_the_client_is_the_one_that_it_names(running: tuple[Gunicorn, Backends]) -> None:
    balancer, backends = running
    with RawClient(balancer.port, source="127.0.0.9") as client:
        client.send(b"GET /two HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
        assert client.answer().status == 200
    assert ("203.0.113.5", "0") in backends.two.clients


@pytest.mark.parametrize("name", PATHS.values())
def test_health_checks_are_connections_of_the_balancers_own(running: tuple[Gunicorn, Backends], name: str) -> None:
    stated: Stated = getattr(running[1], name)
    eventually(lambda: None in stated.clients, "a check has come")
