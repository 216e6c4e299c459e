"""Connections without HTTP, with the clients of real protocols: Redis, and TLS that stays encrypted."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, Process, get, start_checker, start_valkey
from devtools.wait import PATIENCE, eventually
from lbflask.cli import main
from lbflask.core.faults import LEAVES
from lbflask.core.proxy_protocol import header, read_header

pytestmark = pytest.mark.e2e

PROXY, CLIENT = "127.0.0.9", ("192.0.2.7", "40000")


class Tcp(Gunicorn):
    """gunicorn with a listener for HTTP and others without, by the text of a configuration."""

    def __init__(self, directory: Path, store: str, text: str) -> None:
        self.file, self._http = directory / "lbflask.toml", free_port()
        self._store = store
        self.write(text)
        super().__init__(workers=1, config=self.file, bind=None)

    def write(self, text: str) -> None:
        self.file.write_text(
            f"redis_url = '{self._store}'\nbackends = ['http://127.0.0.1:1']\naccess_log_format = 'json'\n"
            f"timeouts.tunnel_idle = 2\ntimeouts.client_head = 2\n"
            f"[[listeners]]\nbind = '127.0.0.1:{self._http}'\n{text}"
        )

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the access log that are of connections without HTTP."""
        logged = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in logged if line.get("protocol") == "TCP"]


def listener(port: int, keys: str) -> str:
    return f"[[listeners]]\nbind = '127.0.0.1:{port}'\n{keys}\n"


def echo(peer: Peer) -> None:
    """Answers with all that came, at its end."""
    peer.send(b"you said: " + peer.read_to_end())


def held(peer: Peer) -> None:
    """Says its greeting, and waits for the end."""
    peer.send(b"hello\n")
    peer.read_to_end()


def received(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65_536):
        data += more
    return data


@pytest.fixture
def servers() -> Iterator[list[tuple[Process, int]]]:
    """Two servers of Redis's protocol, with their ports."""
    started = []
    for _ in range(2):
        port = free_port()
        started.append((start_valkey(port=port), port))
    yield started
    for process, _ in started:
        process.kill()


def named_by(port: int) -> str:
    """The name of the server that a new connection reaches, by a real client."""
    client = redis.Redis(port=port, socket_timeout=PATIENCE)
    try:
        client.set("key", "value" * 10_000)
        assert client.get("key") == b"value" * 10_000
        return str(client.config_get("port")["port"])
    finally:
        client.close()


def on_first(client: redis.Redis, wanted: str) -> bool:
    """Whether the client has a connection to this server; else it takes another one next time."""
    if client.config_get("port")["port"] == wanted:
        return True
    client.close()
    return False


def test_redis_is_spread_and_outlives_a_server(store: str, servers: list[tuple[Process, int]], tmp_path: Path) -> None:
    port, ports = free_port(), [str(port) for _, port in servers]
    backends = ", ".join(f"'tcp://127.0.0.1:{one}'" for one in ports)
    text = listener(port, "name = 'cache'\ntcp = 'cache'") + (
        f"[pools.cache]\nbackends = [{backends}]\nhealth.interval = 0.2\n"
    )
    with Tcp(tmp_path, store, text) as balancer, start_checker(config=balancer.file):
        assert sorted(named_by(port) for _ in range(4)) == sorted(ports * 2)
        eventually(lambda: len(balancer.lines()) == 4, "a line for each connection")
        line = balancer.lines()[0]
        assert (line["method"], line["status"], line["pool"], line["why"]) == ("TCP", 200, "cache", "turn")
        assert line["sent"] > 50_000
        assert line["received"] > 50_000
        assert line["backend"].partition(":")[2] in ports
        page = get(balancer.admin_port, "/metrics").body.decode()
        assert 'pool="cache"' in page
        action = f"/api/v1/pools/cache/backends/127.0.0.1:{ports[0]}"
        staying = redis.Redis(port=port, socket_timeout=PATIENCE)
        eventually(lambda: on_first(staying, ports[0]), "a connection to the first server")
        assert get(balancer.admin_port, f"{action}/drain", "POST").status == 200
        eventually(lambda: {named_by(port) for _ in range(4)} == {ports[1]}, "new connections go elsewhere")
        assert staying.ping(), "those that are open stay"
        staying.close()
        assert get(balancer.admin_port, f"{action}/enable", "POST").status == 200
        eventually(lambda: named_by(port) == ports[0], "it serves again")
        servers[0][0].kill()
        assert {named_by(port) for _ in range(6)} == {ports[1]}
        eventually(lambda: health_of(balancer, "cache")[f"127.0.0.1:{ports[0]}"] == "down", "a check finds it down")
        balancer.assert_no_traceback()


def health_of(balancer: Gunicorn, pool: str) -> dict[str, str]:
    """The health of each backend of the pool."""
    document = json.loads(get(balancer.admin_port, f"/api/v1/pools/{pool}").body)
    return {backend["id"]: backend["state"] for backend in document["backends"]}


class Talker:
    """A server of lines: it says its name, and then what it hears. `primary` answers checks by HTTP."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.is_primary = threading.Event()
        self.is_primary.set()

    def talk(self, peer: Peer) -> None:
        peer.send(self.name + b"\n")
        while line := peer.read_until(b"\n"):
            peer.send(line)

    def primary(self, peer: Peer) -> None:
        while peer.read_head():
            peer.send(OK if self.is_primary.is_set() else b"HTTP/1.1 503 Replica\r\nContent-Length: 0\r\n\r\n")


def connections_by_name(port: int, stack: ExitStack, names: set[bytes]) -> dict[bytes, RawClient]:
    """An open connection to each of these servers, through the balancer."""
    found: dict[bytes, RawClient] = {}

    def complete() -> bool:
        client = stack.enter_context(RawClient(port))
        found[client.read_until(b"\n").strip()] = client
        return found.keys() >= names

    eventually(complete, f"connections to {names}")
    return found


def talks(client: RawClient) -> bool:
    client.send(b"hello\n")
    return client.read_until(b"\n") == b"hello\n"


@pytest.mark.sampled(2, 1)
@pytest.mark.parametrize("how", ["drained", "down"])
def test_connections_end_with_a_server_that_leaves(how: str, store: str, tmp_path: Path) -> None:
    """As with a database whose primary changes: it still accepts, and connections to it are of no use."""
    port, leaving, staying = free_port(), Talker(b"L"), Talker(b"S")
    with ExitStack() as stack:
        houses = [stack.enter_context(ScriptedBackend(one.talk)) for one in (leaving, staying)]
        checked = [stack.enter_context(ScriptedBackend(one.primary)) for one in (leaving, staying)]
        backends = ", ".join(
            f"{{ url = 'tcp://127.0.0.1:{house.port}', health = {{ port = {check.port} }} }}"
            for house, check in zip(houses, checked, strict=True)
        )
        text = listener(port, "tcp = 'db'") + (
            f"[pools.db]\nbackends = [{backends}]\nwhen_all_down = 'reject'\ntimeouts.tunnel_idle = 60\n"
            "health = { kind = 'http', path = '/primary', interval = 0.2, long_connections = 'close' }\n"
        )
        balancer = stack.enter_context(Tcp(tmp_path, store, text))
        stack.enter_context(start_checker(config=balancer.file))
        eventually(lambda: set(health_of(balancer, "db").values()) == {"up"}, "both are up")
        clients = connections_by_name(port, stack, {b"L", b"S"})
        if how == "drained":
            url = f"http://127.0.0.1:{balancer.admin_port}"
            command = ["drain", f"127.0.0.1:{houses[0].port}", "--pool", "db", "--close-after", "2s", "--url", url]
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
        else:
            leaving.is_primary.clear()
        with pytest.raises(ConnectionCut):
            clients[b"L"].read(1 << 30)
        assert talks(clients[b"S"])
        eventually(lambda: [line["cut"] for line in balancer.lines()] == [LEAVES], "the access log has the reason")
        assert [*connections_by_name(port, stack, {b"S"})] == [b"S"]
        balancer.assert_no_traceback()


def test_open_connections_outlive_a_reload(store: str, tmp_path: Path) -> None:
    """One in place, which exchanges the servers, and one by new workers, which changes the listeners."""
    port, other = free_port(), free_port()
    one, two = Talker(b"1"), Talker(b"2")
    with ExitStack() as stack:
        first, second = (stack.enter_context(ScriptedBackend(house.talk)) for house in (one, two))

        def text(house: ScriptedBackend, more: str = "") -> str:
            pool = f"[pools.db]\nbackends = ['tcp://127.0.0.1:{house.port}']\ntimeouts.tunnel_idle = 60\n"
            return listener(port, "tcp = 'db'") + more + pool

        balancer = stack.enter_context(Tcp(tmp_path, store, text(first)))
        opened = connections_by_name(port, stack, {b"1"})[b"1"]
        balancer.write(text(second))
        assert get(balancer.admin_port, "/api/v1/reload", "POST").status == 200
        later = connections_by_name(port, stack, {b"2"})[b"2"]
        assert talks(opened)
        balancer.write(text(first, listener(other, "tcp = 'db'")))
        before = balancer.workers()
        balancer.signal(signal.SIGHUP)
        eventually(lambda: set(balancer.workers()) - set(before), "a new worker")
        assert connections_by_name(other, stack, {b"1"})
        for client in (opened, later):
            assert talks(client), "an old worker passes its bytes on"
            client.sock.close()
        eventually(lambda: not set(balancer.workers()) & set(before), "the old worker ends with them")
        balancer.assert_no_traceback()


@pytest.mark.long
def test_each_direction_ends_by_itself(store: str, tmp_path: Path) -> None:
    port = free_port()
    with ScriptedBackend(echo) as backend:
        text = listener(port, "tcp = 'echo'") + f"[pools.echo]\nbackends = ['tcp://127.0.0.1:{backend.port}']\n"
        with Tcp(tmp_path, store, text) as balancer:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(b"x" * 200_000)
                client.shutdown(socket.SHUT_WR)
                assert received(client) == b"you said: " + b"x" * 200_000
            eventually(lambda: len(balancer.lines()) == 1, "the line")
            assert (balancer.lines()[0]["received"], balancer.lines()[0]["sent"]) == (200_000, 200_010)
            balancer.assert_no_traceback()


@pytest.mark.long
def test_a_connection_that_is_idle_for_too_long_ends(store: str, tmp_path: Path) -> None:
    port = free_port()
    with ScriptedBackend(held) as backend:
        text = listener(port, "tcp = 'held'") + f"[pools.held]\nbackends = ['tcp://127.0.0.1:{backend.port}']\n"
        with Tcp(tmp_path, store, text) as balancer:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                assert received(client) == b"hello\n"
            eventually(lambda: len(balancer.lines()) == 1, "the line")
            assert balancer.lines()[0]["cut"] == "nothing was said for 2 s"


@pytest.mark.long
def test_a_pool_without_a_server_closes_connections_and_says_why(store: str, tmp_path: Path) -> None:
    port = free_port()
    text = listener(port, "tcp = 'none'") + f"[pools.none]\nbackends = ['tcp://127.0.0.1:{free_port()}']\n"
    with Tcp(tmp_path, store, text) as balancer:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            assert received(client) == b""
        eventually(lambda: len(balancer.lines()) == 1, "the line")
        line = balancer.lines()[0]
        assert (line["status"], line["cause"]) == (502, "connection_failed")
        balancer.assert_no_traceback()


@pytest.mark.long
def test_a_stop_waits_for_connections(store: str, tmp_path: Path) -> None:
    port = free_port()
    with ScriptedBackend(held) as backend:
        text = listener(port, "tcp = 'held'") + f"[pools.held]\nbackends = ['tcp://127.0.0.1:{backend.port}']\n"
        with Tcp(tmp_path, store, text) as balancer:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                assert client.recv(100) == b"hello\n"
                balancer.signal(signal.SIGTERM)
                eventually(lambda: "Handling signal: term" in balancer.output, "it stops")
                client.sendall(b"still here")
                eventually(lambda: backend.received == b"still here", "bytes pass while it stops")
            assert balancer.wait() == 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.sampled(2, 1)
def test_the_client_that_a_proxy_states_is_stated_to_the_server(store: str, tmp_path: Path, version: int) -> None:
    port = free_port()
    with ScriptedBackend(held) as backend:
        text = listener(port, f"tcp = 'held'\nproxy_protocol = ['{PROXY}/32']") + (
            f"[pools.held]\nbackends = ['tcp://127.0.0.1:{backend.port}']\nproxy_protocol = 'v{version}'\n"
        )
        with Tcp(tmp_path, store, text) as balancer:
            with RawClient(port, source=PROXY) as client:
                client.send(header(2, CLIENT, ("198.51.100.1", "5432")) + b"after")
                assert client.sock.recv(100) == b"hello\n"
                peer = backend.connection(0)
                eventually(lambda: peer.received.endswith(b"after"), "the bytes of the client")
                assert read_header(peer.received) == (len(peer.received) - 5, CLIENT)
            eventually(lambda: len(balancer.lines()) == 1, "the line")
            assert balancer.lines()[0]["client"] == CLIENT[0]


def test_tls_goes_to_the_server_of_its_name_and_stays_encrypted(store: str, tmp_path: Path) -> None:
    authority, port, strict = Authority(tmp_path), free_port(), free_port()
    names = {"a.example": "a.example", "x.b.example": "x.b.example", "other.example": "other.example"}
    with ExitStack() as stack:
        pools = ""
        for pool, name in (("a", "a.example"), ("b", "x.b.example"), ("rest", "other.example")):

            def answer(peer: Peer, name: str = name) -> None:
                peer.send(name.encode())
                peer.read_to_end()

            backend = stack.enter_context(ScriptedBackend(answer, tls=authority.server(name)))
            pools += f"[pools.{pool}]\nbackends = ['tcp://127.0.0.1:{backend.port}']\n"
        sni = "sni = { 'a.example' = 'a', '*.b.example' = 'b' }"
        text = listener(port, f"tcp = 'rest'\n{sni}") + listener(strict, f"name = 'strict'\n{sni}") + pools
        balancer = stack.enter_context(Tcp(tmp_path, store, text))
        for name, server in names.items():
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE) as raw,
                authority.trust().wrap_socket(raw, server_hostname=name) as client,
            ):
                assert client.recv(100) == server.encode()
        raw = socket.create_connection(("127.0.0.1", strict), PATIENCE)
        with raw, pytest.raises(OSError, match=r"EOF|reset|closed"):
            authority.trust().wrap_socket(raw, server_hostname="other.example")
        eventually(lambda: len(balancer.lines()) == 4, "a line for each connection")
        targets = {(line["target"], line["status"]) for line in balancer.lines()}
        assert targets == {(name, 200) for name in names} | {("other.example", 404)}
        for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x01\x00"):  # the second one is never complete
            with socket.create_connection(("127.0.0.1", strict), PATIENCE) as raw:
                raw.sendall(first)
                assert received(raw) == b""
        eventually(lambda: "does not begin with TLS" in balancer.output, "the log has it")
        assert "no first message of TLS has arrived in time" in balancer.output
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as raw,
            context.wrap_socket(raw) as nameless,
        ):
            assert nameless.recv(100) == b"other.example"
        balancer.assert_no_traceback()
