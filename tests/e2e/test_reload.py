"""A new configuration under traffic: nothing is lost, what is wrong changes nothing, and all of the fleet follows."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from devtools.cluster import Cluster
from devtools.raw_client import RawClient
from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.servers import HttpResponse, Process, get
from devtools.traffic import Traffic, traffic
from devtools.wait import PATIENCE, eventually
from lbflask.cli import main

pytestmark = pytest.mark.e2e

UPGRADE = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
DOWNLOAD = b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Requests a second, and how many of them show which backends serve.
RATE, ENOUGH = 300, 50


class ReloadCluster(Cluster):
    """Three backends, a checker and an instance of two workers, which share one file."""

    def __init__(self, running: ExitStack, directory: Path, store: str) -> None:
        self.file = directory / "lbflask.toml"
        self.gunicorn_file = directory / "gunicorn.conf.py"
        self.write_gunicorn_file("keepalive = 70")
        self._fixed = f'redis_url = "{store}"\nnamespace = "reload"\n'
        self.go_on = threading.Event()  # downloads end
        self.servers = [running.enter_context(ScriptedBackend(partial(self._play, n))) for n in range(3)]
        self.write()
        arguments = "-c", str(self.gunicorn_file)
        super().__init__(backends=(), checkers=1, arguments=arguments, redis_url=store, config=self.file)

    def _play(self, number: int, peer: Peer) -> None:
        while head := peer.read_head():
            target = head.split(b" ")[1]
            if target == b"/tunnel":
                peer.send(SWITCHED)
                while piece := peer.read(1):
                    peer.send(piece)
                return
            if target == b"/download":
                peer.send(CHUNKED + b"1\r\nx\r\n")
                self.go_on.wait(PATIENCE)
                peer.send(b"1\r\ny\r\n0\r\n\r\n")
                continue
            body = b"hello from backend %d\n" % self.servers[number].port
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def write_gunicorn_file(self, more: str) -> None:
        self.gunicorn_file.write_text(
            "from lbflask.server.gunicorn_hooks import gunicorn_settings\nglobals().update(gunicorn_settings())\n"
            f"def post_fork(server, worker): pass\n{more}\n"
        )

    def write(self, weights: tuple[int, ...] = (1, 1), more: str = "") -> None:
        """The file, with the first backends by these weights."""
        backends = [
            f'{{ url = "{server.url}", weight = {weight} }}'
            for server, weight in zip(self.servers, weights, strict=False)
            if weight
        ]
        whole = f"backends = [{', '.join(backends)}]\n{self._fixed}{more}\n"
        if "[health]" not in more:
            whole += "[health]\ninterval = 0.2\n"
        new = self.file.with_suffix(".new")
        new.write_text(whole)
        new.rename(self.file)

    def reload(self) -> tuple[int, dict[str, Any]]:
        got = get(self.balancer.admin_port, "/api/v1/reload", "POST")
        assert got.status != 503, f"{got.body!r}; the balancer's output:\n{self.balancer.output}"
        return got.status, json.loads(got.body)

    def versions(self) -> dict[int, str]:
        """The configuration that each worker serves by."""
        found: dict[int, str] = {}
        with ExitStack() as held:  # a worker that holds a connection leaves the next one to the others

            def heard() -> bool:
                connection = held.enter_context(closing(HTTPConnection("127.0.0.1", self.balancer.admin_port)))
                connection.request("GET", "/health")
                worker = json.loads(connection.getresponse().read())["worker"]
                found[worker["pid"]] = worker["config_version"]
                return found.keys() >= set(self.balancer.workers())

            eventually(heard, "each worker has told")
        return {pid: found[pid] for pid in self.balancer.workers()}

    def all_have(self, version: str) -> bool:
        return set(self.versions().values()) == {version}

    def serving(self, asking: Traffic) -> set[int]:
        """Which of the backends, by number, serve the next requests."""
        since, asked = time.monotonic(), len(asking.outcomes)
        eventually(lambda: len(asking.outcomes) > asked + ENOUGH, "it is asked")
        return {number for number, server in enumerate(self.servers) if asking.shares(since)[server.port]}


@pytest.fixture(scope="module")
def _cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReloadCluster]:
    with ExitStack() as running:
        cluster = running.enter_context(ReloadCluster(running, tmp_path_factory.mktemp("reload"), store))
        cluster.await_up()
        yield cluster
        cluster.go_on.set()
        assert [process.stop() for process in (cluster.balancer, cluster.checker)] == [0, 0]


@pytest.fixture
def cluster(_cluster: ReloadCluster) -> ReloadCluster:
    """The cluster with its first configuration."""
    _cluster.write()
    version = _cluster.reload()[1]["config_version"]
    eventually(lambda: _cluster.all_have(version), "all workers have it")
    return _cluster


def more_lines(process: Process, before: str, text: str) -> Callable[[], bool]:
    return lambda: text in process.output[len(before) :]


def test_nothing_is_lost_while_one_configuration_follows_another(cluster: ReloadCluster) -> None:
    cluster.go_on.clear()
    workers = cluster.balancer.workers()
    with traffic(cluster.balancer.port, rate=RATE) as asking, RawClient(cluster.balancer.port) as tunnel:
        assert tunnel.ask(UPGRADE).status == 101
        download = RawClient(cluster.balancer.port)
        download.send(DOWNLOAD)
        assert download.head().status == 200

        for weights, more in [
            ((1, 1, 1), ""),
            ((5, 1, 2), 'strategy = "least_connections"\nretries.attempts = 1'),
            ((1, 0, 1), 'strategy = "consistent_hash"\nvia = ""'),
            ((1, 0, 1), "timeouts.connect = 1\nlimits.body = 1000\nejection.failures = 2"),
            ((1, 0, 1), '[[routes]]\nname = "all"\npool = "default"\nmatch = { path = "/" }'),
            (
                (0, 0, 1),
                'pools.idle.backends = ["http://127.0.0.1:1"]\n[[routes]]\nmatch.host = "idle.example"\npool = "idle"',
            ),
        ]:
            cluster.write(weights, more)
            status, told = cluster.reload()
            assert (status, told["by_new_workers"]) == (200, [])
            eventually(lambda told=told: cluster.all_have(told["config_version"]), "all workers have it")  # type: ignore[misc]
            tunnel.send(b"!")
            assert tunnel.read(1) == b"!"
            cluster.serving(asking)
        assert cluster.serving(asking) == {2}
        assert cluster.balancer.health()[1]["pools"].keys() == {"default", "idle"}

        cluster.go_on.set()
        assert download.chunks()[0] == b"xy"
        download.sock.close()
        tunnel.send(b"?")
        assert tunnel.read(1) == b"?"
    assert asking.failures == []
    assert cluster.balancer.workers() == workers


def test_a_configuration_that_replaces_all_backends_loses_nothing_before_their_first_check(
    cluster: ReloadCluster,
) -> None:
    with traffic(cluster.balancer.port, rate=RATE) as asking:
        cluster.checker.signal(signal.SIGSTOP)
        try:
            cluster.write((0, 0, 1))
            version = cluster.reload()[1]["config_version"]
            eventually(lambda: cluster.all_have(version), "all workers have it")
            assert cluster.serving(asking) == {2}
        finally:
            cluster.checker.signal(signal.SIGCONT)
    assert asking.failures == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("strategy = \n", ":4: is not TOML: Invalid value (column 12)"),
        ('strategy = "frist"\n', "strategy = 'frist': input should be"),
        ("[health]\nrise = 0\n", "health.rise = 0: input should be greater than or equal to 1"),
        ('access_log = "/nowhere/at/all.log"\n', "access_log = '/nowhere/at/all.log': it can't be opened for writing"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(cluster: ReloadCluster, more: str, told: str) -> None:
    before, output = cluster.versions(), cluster.balancer.output
    with traffic(cluster.balancer.port, rate=RATE) as asking:
        cluster.write((0, 0, 1), more)
        status, problem = cluster.reload()
        assert status == 422
        assert told in problem["detail"]
        assert str(cluster.file) in problem["detail"] or "access_log" in told
        cluster.balancer.signal(signal.SIGHUP)
        eventually(lambda: cluster.balancer.output.count(told) >= output.count(told) + 2, "the log tells it, each time")
        assert cluster.serving(asking) == {0, 1}
    assert asking.failures == []
    assert cluster.versions() == before


@pytest.mark.thorough
def test_what_only_gunicorn_can_apply_is_left_to_new_workers(cluster: ReloadCluster) -> None:
    before, output = set(cluster.balancer.workers()), cluster.balancer.output
    with traffic(cluster.balancer.port, rate=RATE) as asking:
        cluster.write((1, 1, 1), "limits.line = 4000")
        status, told = cluster.reload()
        assert (status, told["by_new_workers"], told["in_place"]) == (202, ["limits.line"], ["backends"])
        taking_over = more_lines(cluster.balancer, output, "new workers take over, for the sake of limits.line")
        eventually(taking_over, "the log has it")
        eventually(lambda: len(set(cluster.balancer.workers()) - before) == 2, "they have come")
        eventually(lambda: not before & set(cluster.balancer.workers()), "the old ones have ended")
        eventually(lambda: cluster.all_have(told["config_version"]), "the new ones have it")
        eventually(lambda: 2 in cluster.serving(asking), "the checker was told too")
    assert asking.failures == []


@pytest.mark.thorough
def test_settings_of_gunicorns_own_are_noticed_too(cluster: ReloadCluster) -> None:
    before, output = set(cluster.balancer.workers()), cluster.balancer.output
    cluster.write_gunicorn_file("keepalive = 60")
    assert cluster.reload()[1]["by_new_workers"] == ["gunicorn's keepalive"]
    eventually(lambda: len(set(cluster.balancer.workers()) - before) == 2, "new workers have come")
    eventually(lambda: not before & set(cluster.balancer.workers()), "the old ones have ended")
    cluster.write_gunicorn_file("keepalive = 'what'")
    status, problem = cluster.reload()
    assert (status, problem["detail"]) == (
        422,
        "gunicorn's configuration can't be read; the reason is on standard error",
    )
    eventually(more_lines(cluster.balancer, output, "Invalid value for keepalive: what"), "standard error has it")
    cluster.write_gunicorn_file("keepalive = 60")
    assert cluster.reload()[1]["by_new_workers"] == []


def test_a_session_stays_while_weights_and_backends_change(cluster: ReloadCluster) -> None:
    cluster.write((1, 1), 'sticky.cookie = "home"')
    version = cluster.reload()[1]["config_version"]
    eventually(lambda: cluster.all_have(version), "all workers have it")
    first = eventually(lambda: _with_cookie(get(cluster.balancer.port)), "a session begins")
    cookie = (first.field("Set-Cookie") or "").partition(";")[0]
    for weights in [(1, 9, 9), (1, 1, 1), (9, 1)]:
        cluster.write(weights, 'sticky.cookie = "home"\nstrategy = "random_two"')
        version = cluster.reload()[1]["config_version"]
        eventually(lambda version=version: cluster.all_have(version), "all workers have it")  # type: ignore[misc]
        bodies = {get(cluster.balancer.port, headers={"Cookie": cookie}).body for _ in range(10)}
        assert bodies == {first.body}


def _with_cookie(answer: HttpResponse) -> HttpResponse | None:
    return answer if answer.field("Set-Cookie") else None


def test_the_access_log_moves_and_requests_tell_the_one_that_is_there_at_their_end(
    cluster: ReloadCluster, tmp_path: Path
) -> None:
    logs = [tmp_path / name for name in ("old.log", "new.log")]
    cluster.go_on.clear()
    downloads = []
    for log in logs:
        cluster.write(more=f'access_log = "{log}"')
        version = cluster.reload()[1]["config_version"]
        eventually(lambda version=version: cluster.all_have(version), "all workers have it")  # type: ignore[misc]
        downloads.append(RawClient(cluster.balancer.port))
        downloads[-1].send(DOWNLOAD)
        assert downloads[-1].head().status == 200
    cluster.go_on.set()
    for download in downloads:
        with download:
            assert download.chunks()[0] == b"xy"
    old, new = logs
    eventually(lambda: new.read_text().count("GET /download") == 2, "the log tells them")
    assert "GET /download" not in old.read_text()


def test_a_worker_that_starts_later_begins_with_the_latest(cluster: ReloadCluster) -> None:
    cluster.write((1, 1, 1))
    version = cluster.reload()[1]["config_version"]
    cluster.file.write_text("nothing of this is read\n")
    victim = cluster.balancer.workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(set(cluster.balancer.workers()) - {victim}) == 2, "another has come")
    assert cluster.all_have(version)


def test_the_checker_reloads_by_itself_too_and_refuses_the_same(cluster: ReloadCluster) -> None:
    output = cluster.checker.output
    cluster.write((1, 1), "[health]\ninterval = 0.3\n")
    cluster.checker.signal(signal.SIGHUP)
    eventually(more_lines(cluster.checker, output, ": health.interval"), "it tells what has changed")
    output = cluster.checker.output
    cluster.write((1, 1), "[health]\ninterval = -1\n")
    cluster.checker.signal(signal.SIGHUP)
    eventually(more_lines(cluster.checker, output, "not reloaded"), "it tells what is wrong")
    assert cluster.checker.running
    assert set(cluster.balancer.healths().values()) == {"up"}


def test_the_command_reloads_and_tells_what_came_of_it(cluster: ReloadCluster, tmp_path: Path) -> None:
    environ = {"LBFLASK_CONFIG": str(cluster.file), "LBFLASK_ADMIN_BIND": f"127.0.0.1:{cluster.balancer.admin_port}"}
    cluster.write((1, 2))
    done = CliRunner().invoke(main, ["reload"], env=environ)
    assert done.exit_code == 0
    version = done.output.removeprefix("configuration ").removesuffix(": backends\n")
    eventually(lambda: set(cluster.versions().values()) == {version}, "all workers have what the command told")
    cluster.write((1, 2), "via = 5")
    refused = CliRunner().invoke(main, ["reload"], env=environ)
    assert refused.exit_code == 1
    assert refused.output.startswith(f"lbflask: {cluster.file}:4: via = 5: ")


def test_a_reload_can_only_be_asked_for_through_the_admin_listener(cluster: ReloadCluster) -> None:
    seen = sum(len(server.connections) for server in cluster.servers)
    answer = get(cluster.balancer.port, "/api/v1/reload", "POST")
    assert answer.body.startswith(b"hello from backend")
    assert seen <= sum(len(server.connections) for server in cluster.servers)
    foreign = get(cluster.balancer.admin_port, "/api/v1/reload", "POST", {"Origin": "http://elsewhere.example"})
    assert foreign.status == 403
