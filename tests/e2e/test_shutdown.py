"""Signals: what is in flight is finished, within bounds, and nothing is left behind."""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from devtools.certificates import Authority
from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import (
    Gunicorn,
    Process,
    get,
    listens,
    runtime_directory,
    start_checker,
    urls,
)
from devtools.traffic import access_log, traffic
from devtools.wait import PATIENCE, eventually, in_time
from lbflask.server.worker.proxy_worker import IDLE_GRACE
from lbflask.store.keys import PoolKeys
from tests.e2e.conftest import DEMO_PORTS

pytestmark = [pytest.mark.e2e, pytest.mark.early]

KEYS = PoolKeys("lbflask", "default")


class Download:
    """A streamed response, read on a thread of its own. It has begun when this is built."""

    def __init__(self, port: int, seconds: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("GET", f"/slow?s={seconds}")
        self._response = self._connection.getresponse()
        self.lines = [self._response.readline()]
        self.failure = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self.running, "the response neither ended nor broke off"

    def _read(self) -> None:
        try:
            # The reader of http.client takes the end of a chunked body on faith when it reads by the line.
            while piece := self._response.read1():
                self.lines += piece.splitlines(keepends=True)
        except (OSError, http.client.HTTPException) as error:
            self.failure = repr(error)
        finally:
            self._connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.sampled(2)
def test_a_streaming_client_gets_all_of_it_while_the_listener_is_closed(
    number: signal.Signals, store: str, demos: list[int]
) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos)) as balancer:
        download = Download(balancer.port, 4)
        balancer.signal(number)
        eventually(lambda: not listens(balancer.port), "the listener is closed")
        assert download.running
        download.join()
        assert download.failure == ""
        assert [int(line.split()[1]) for line in download.lines] == list(range(1, len(download.lines) + 1))
        assert len(download.lines) > 5
        assert balancer.wait() == 0
        balancer.assert_no_traceback()


@pytest.mark.thorough
def test_a_second_interrupt_does_not_wait_for_clients(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos)) as balancer:
        download = Download(balancer.port, 60)
        balancer.signal(signal.SIGINT)
        eventually(lambda: not listens(balancer.port), "the listener is closed")
        assert balancer.running
        balancer.signal(signal.SIGINT)
        assert balancer.wait() == 0
        download.join()
        assert download.failure, "a response that was cut has to look cut"


def test_the_graceful_time_out_bounds_a_stop(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), timeouts__graceful=1) as balancer:
        download = Download(balancer.port, 60)
        balancer.signal(signal.SIGTERM)
        assert balancer.wait() == 0
        download.join()
        assert download.failure, "a response that was cut has to look cut"


@pytest.mark.thorough
def test_tunnels_and_event_streams_go_on_until_the_graceful_time_out(store: str) -> None:
    """They are requests in flight like any other, though they never end by themselves."""
    with (
        ScriptedBackend(_switches_or_streams) as backend,
        Gunicorn(redis_url=store, backends=backend.url, workers=1, timeouts__graceful=6) as balancer,
        RawClient(balancer.port) as tunnel,
        RawClient(balancer.port) as stream,
        RawClient(balancer.port) as idle,
    ):
        tunnel.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n")
        assert tunnel.head().status == 101
        stream.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert stream.head().status == 200
        assert idle.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        balancer.signal(signal.SIGTERM)
        assert idle.rest() == b""  # those who wait for nothing are sent away first
        assert not listens(balancer.port)
        for _ in range(3):
            tunnel.send(b"hello\n")
            assert tunnel.read_until(b"\n") == b"hello\n"
            stream.read_until(b"tick\r\n")
        for client in (tunnel, stream):
            with pytest.raises(ConnectionCut) as cut:
                client.read(1 << 30)
            assert b"\r\n0\r\n" not in cut.value.got
        assert balancer.wait() == 0
        balancer.assert_no_traceback()
        logged = {line.target: line.status for line in access_log(balancer.output)}
        assert logged == {"/": 200, "/tunnel": 101, "/stream": 200}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.sampled(2)
@pytest.mark.long
def test_a_request_that_arrives_when_idle_connections_are_closed_is_served(
    secure: bool, store: str, tmp_path: Path
) -> None:
    """The worker is stopped meanwhile, so that it finds both at once: the request, and the end of the idle time."""
    authority = Authority(tmp_path)
    pair = authority.pair("127.0.0.1")
    settings = {"tls__certificate": pair.certificate, "tls__key": pair.key} if secure else {}

    def attempt() -> tuple[float, int]:
        """Seconds until the worker was stopped, and the status; 0 for a connection that was closed."""
        with (
            ScriptedBackend(_responds_slowly) as backend,
            Gunicorn(redis_url=store, backends=backend.url, workers=1, **settings) as balancer,
            RawClient(balancer.port) as idle,
        ):
            if secure:
                idle.sock = authority.trust().wrap_socket(idle.sock, server_hostname="127.0.0.1")
            assert idle.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
            (worker,) = balancer.workers()
            began = time.monotonic()
            balancer.signal(signal.SIGTERM)
            eventually(lambda: not listens(balancer.port), "the listener is closed")
            os.kill(worker, signal.SIGSTOP)
            seconds = time.monotonic() - began
            try:
                idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                eventually(lambda: time.monotonic() > began + 2 * IDLE_GRACE, "the idle time is over")
            finally:
                os.kill(worker, signal.SIGCONT)
            try:
                answer = idle.answer()
            except (ConnectionCut, OSError):
                return seconds, 0
            assert answer.status != 200 or answer.values(b"connection") == [b"close"]
            return seconds, answer.status

    assert in_time(attempt, lambda result: result[0] > 0.9 * IDLE_GRACE)[1] == 200


def _responds_slowly(peer: Peer) -> None:
    """A script: a response to each request, after a time in which the balancer would notice that the client is gone."""
    while peer.read_request():
        peer.ended.wait(0.3)
        peer.send(OK)


def _switches_or_streams(peer: Peer) -> None:
    """A script: `/tunnel` becomes an echo, `/stream` never ends, all else is answered at once."""
    while head := peer.read_head():
        if head.startswith(b"GET /tunnel "):
            peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n")
            while line := peer.read_until(b"\n"):
                peer.send(line)
        elif head.startswith(b"GET /stream "):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not peer.ended.wait(0.02):
                peer.send(b"4\r\ntick\r\n")
        else:
            peer.send(OK)


@pytest.mark.thorough
def test_a_reload_that_needs_new_workers_fails_no_request_under_load(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text("limits.line = 4000\n")
    with (
        Gunicorn(redis_url=store, backends=urls(demos), config=file) as balancer,
        traffic(balancer.port, clients=8, rate=200) as kept,
        traffic(balancer.port, clients=4, rate=100, keep_alive=False) as new,
    ):
        old = set(balancer.workers())
        eventually(lambda: len(kept.outcomes) > 50 and len(new.outcomes) > 25, "traffic flows")
        file.write_text("limits.line = 5000\n")
        balancer.signal(signal.SIGHUP)
        eventually(lambda: len(balancer.workers()) == 2 and not old & set(balancer.workers()), "new workers")
        until = len(kept.outcomes) + 100, len(new.outcomes) + 50
        eventually(lambda: len(kept.outcomes) > until[0] and len(new.outcomes) > until[1], "traffic flows still")
        kept.stop()
        new.stop()
        assert kept.failures == []
        assert new.failures == []
        assert balancer.stop() == 0


def test_a_checker_that_is_told_to_stop_hands_over_at_once(store: str, demos: list[int]) -> None:
    settings = {"redis_url": store, "backends": urls(demos), "namespace": "two-checkers"}
    keys = PoolKeys("two-checkers", "default")
    with ExitStack() as running:
        client = running.enter_context(redis.Redis.from_url(store, decode_responses=True))
        first = running.enter_context(start_checker(**settings))
        eventually(lambda: "leading" in first.output, "the first leads")
        second = running.enter_context(start_checker(**settings))
        eventually(lambda: "standing by" in second.output, "the second stands by")
        was = client.get(keys.leader)
        assert f":{first.pid}:" in was
        assert first.stop() == 0
        # Gone with its holder, and not three seconds later, when the lease would have run out.
        assert client.get(keys.leader) != was
        eventually(lambda: f":{second.pid}:" in (client.get(keys.leader) or ""), "the second leads")
        assert second.stop() == 0
        assert client.get(keys.leader) is None
        first.assert_no_traceback()
        second.assert_no_traceback()


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of the test's own; a private Valkey that outlives the test is ended."""
    with runtime_directory() as directory:
        yield directory
        if _socket(directory).exists():
            with suppress(redis.RedisError), redis.Redis(unix_socket_path=str(_socket(directory))) as client:
                client.shutdown(nosave=True)


def _socket(runtime: Path) -> Path:
    return runtime / "lbflask" / "valkey.sock"


def _processes(runtime: Path) -> list[str]:
    """The command lines of all processes that name this directory: the private Valkey."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = process.read_bytes().replace(b"\0", b" ").decode()
            if str(runtime) in command:
                found.append(command)
    return found


def _session(leader: int) -> list[int]:
    """The pids of a session, but for those that have ended and wait to be collected."""
    pids = []
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = process.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                pids.append(int(process.parent.name))
    return pids


@pytest.mark.parametrize("checker_first", [False, True], ids=["gunicorn first", "checker first"])
@pytest.mark.sampled(2)
def test_without_a_url_gunicorn_has_a_private_valkey_that_the_checker_finds(
    checker_first: bool, runtime: Path, demos: list[int]
) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    settings = {"backends": urls(demos), "health__interval": 1}
    with ExitStack() as running:
        if checker_first:
            checker = running.enter_context(start_checker(environ, **settings))
            eventually(lambda: "waiting for the store" in checker.output, "the checker waits")
        balancer = running.enter_context(Gunicorn(environ=environ, **settings))
        assert len(_processes(runtime)) == 1
        if not checker_first:
            checker = running.enter_context(start_checker(environ, **settings))
        eventually(lambda: set(balancer.healths().values()) == {"up"}, "the checker's word arrives")
        assert balancer.health()[1]["store"] == "connected"
        assert balancer.stop() == 0
        assert _session(balancer.pid) == []
        assert _processes(runtime) == []
        assert not _socket(runtime).exists()
        assert checker.running, "a checker waits for the store to come back"
        assert checker.stop() == 0
        balancer.assert_no_traceback()
        checker.assert_no_traceback()


@pytest.mark.long
def test_two_instances_share_the_private_valkey_and_the_last_one_out_stops_it(runtime: Path, demos: list[int]) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    with (
        Gunicorn(environ=environ, backends=urls(demos), workers=1) as one,
        Gunicorn(environ=environ, backends=urls(demos), workers=1) as two,
        redis.Redis(unix_socket_path=str(_socket(runtime))) as client,
    ):
        assert len(_processes(runtime)) == 1
        for balancer in (one, two):
            before = int(client.get(KEYS.ticket) or 0)
            assert get(balancer.port).status == 200
            assert int(client.get(KEYS.ticket) or 0) > before
        assert one.stop() == 0
        assert client.ping()
        assert two.health()[1]["store"] == "connected"
        assert two.stop() == 0
        assert _processes(runtime) == []
        assert not _socket(runtime).exists()


@pytest.mark.usefixtures("demo_ports")
@pytest.mark.long
def test_the_demo_serves_from_three_backends_and_leaves_nothing_behind(runtime: Path, tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime), "LBFLASK_BIND": "127.0.0.1:8080"}
    with Process([sys.executable, "-m", "lbflask", "demo"], environ, tmp_path) as demo:
        family: list[int] = []
        try:
            demo.await_start(lambda: all(listens(port) for port in DEMO_PORTS), "the demo listens")
            demo.await_start(_sees_all_up, "the checker's word arrives")
            family = demo.descendants()
            said = [re.findall(rb"\d+", get(8080).body)[-1] for _ in range(3)]
            assert sorted(said) == [b"8081", b"8082", b"8083"]
            demo.signal(signal.SIGHUP)
            demo.await_start(lambda: "in place: nothing has changed" in demo.output, "the balancer has reloaded")
            demo.signal(signal.SIGINT)
            assert demo.wait() == 0
            assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []
            assert _processes(runtime) == []
            assert not _socket(runtime).exists()
            assert [port for port in DEMO_PORTS if listens(port)] == []
        except BaseException:
            # Its children have sessions of their own, and would outlive the test.
            for pid in family or demo.descendants():
                with suppress(OSError):
                    if b"lbflask" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
            raise


def _sees_all_up() -> bool:
    return get(8090, "/health").body.count(b'"up"') == 3
