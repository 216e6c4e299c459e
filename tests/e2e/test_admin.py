"""The admin API and the command line with real gunicorns: what is done at one instance holds for all, and nothing of it
can be done through a public listener.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.cluster import Cluster
from devtools.servers import Gunicorn, HttpResponse, free_port, get, urls
from devtools.wait import PATIENCE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.early]

ALICE, GRAFANA = "alice-has-a-secret-token", "grafana-may-only-read"
TOKENS = f"operator:alice:{ALICE},read:grafana:{GRAFANA}"


class AdminCluster(Cluster):
    """Two instances whose admin API asks for a token; calls are ALICE's unless another token is given."""

    def api(
        self, path: str, method: str = "GET", *, instance: int = 0, token: str = ALICE, body: object = None
    ) -> HttpResponse:
        return super().api(path, method, instance=instance, token=token, body=body)

    def command(self, *arguments: str, code: int = 0, instance: int = 0, token: str = ALICE) -> str:
        return super().command(*arguments, code=code, instance=instance, token=token)

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_")}
        url = f"http://127.0.0.1:{self.balancers[0].admin_port}"
        environ |= {"LBFLASK_ADMIN_URL": url, "LBFLASK_ADMIN_TOKEN": ALICE, "COLUMNS": "160"}
        command = [sys.executable, "-m", "lbflask", *arguments]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def shown_states(self) -> dict[str, str]:
        backends = json.loads(self.api("/pools/default/backends").body)["backends"]
        return {backend["id"]: backend["state"] for backend in backends}


@pytest.fixture(scope="module")
def cluster(store: str) -> Iterator[AdminCluster]:
    with AdminCluster(2, checkers=1, redis_url=store, health__interval=0.3, admin__tokens=TOKENS) as cluster:
        eventually(lambda: set(cluster.shown_states().values()) == {"up"}, "all are up")
        yield cluster
        assert all(ALICE not in balancer.output for balancer in cluster.balancers)


@pytest.fixture(autouse=True)
def as_configured(cluster: AdminCluster) -> Iterator[None]:
    yield
    for backend in cluster.ids:
        cluster.api(f"/pools/default/backends/{backend}/weight", "PUT", body={"weight": None})
        cluster.act(backend, "enable", token=ALICE)
    eventually(lambda: set(cluster.shown_states().values()) == {"up"}, "all serve again")


class TestFleet:
    def test_both_instances_are_seen_from_either(self, cluster: AdminCluster) -> None:
        def instances() -> bool:
            fleet = json.loads(cluster.api("/fleet").body)
            return [len(one["workers"]) for one in fleet["instances"]] == [2, 2]

        eventually(instances, "two instances of two workers")

    def test_a_drained_backend_gets_no_new_request_on_either(self, cluster: AdminCluster) -> None:
        name = cluster.ids[0]
        assert cluster.api(f"/pools/default/backends/{name}/drain", "POST").status == 200
        for instance in (0, 1):
            eventually(lambda instance=instance: name not in cluster.served_by(instance), "it gets none")
            assert cluster.served_by(instance, 30) == set(cluster.ids[1:])
        assert cluster.shown_states()[name] == "draining"

    def test_a_weight_holds_for_both(self, cluster: AdminCluster) -> None:
        for name in cluster.ids[1:]:
            assert cluster.api(f"/pools/default/backends/{name}/weight", "PUT", body={"weight": 0}).status == 200
        for instance in (0, 1):
            eventually(lambda instance=instance: cluster.served_by(instance) == {cluster.ids[0]}, "the others get none")

    def test_numbers_are_those_of_the_fleet(self, cluster: AdminCluster) -> None:
        cluster.ask(30)

        def told() -> bool:
            backends = json.loads(cluster.api("/pools/default/backends").body)["backends"]
            return sum(b["requests_per_second"] for b in backends) > 3 and all(b["p99"] for b in backends)

        eventually(told, "rates and latencies are told")


class TestStreams:
    def test_they_keep_nobody_out_tell_changes_at_once_and_end_with_the_worker(
        self, store: str, cluster: AdminCluster
    ) -> None:
        settings = {"redis_url": store, "backends": urls([1]), "namespace": "streams", "timeouts__graceful": 100}
        with Gunicorn(workers=1, **settings) as balancer:
            streams = [socket.create_connection(("127.0.0.1", balancer.admin_port), 10) for _ in range(5)]
            for stream in streams:
                stream.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            heard = [b""] * len(streams)

            def all_have(word: bytes) -> bool:
                for place, stream in enumerate(streams):
                    stream.settimeout(0.05)
                    try:
                        heard[place] += stream.recv(65536)
                    except TimeoutError:
                        pass
                return all(word in text for text in heard)

            eventually(lambda: all_have(b"event: state"), "all have the state")
            assert balancer.health()[0] == 200
            path = "/api/v1/pools/default/backends/127.0.0.1:1/drain"
            fields = {"Content-Type": "application/json"}
            assert get(balancer.admin_port, path, "POST", fields, '{"force": true}').status == 200
            eventually(lambda: all_have(b'"what":"drain"'), "all have heard of it")
            began = time.monotonic()
            assert balancer.stop() == 0
            assert time.monotonic() - began < 50, "the streams did not hold it up"
            for stream in streams:
                stream.close()


class TestPublicListener:
    """Nothing of the admin listener is there: what comes is the backend's answer, or a refusal."""

    @pytest.mark.parametrize(
        "head",
        [
            "POST {drain} HTTP/1.1\r\nHost: {admin}",
            "POST {drain} HTTP/1.1\r\nHost: 127.0.0.1",
            "POST http://{admin}{drain} HTTP/1.1\r\nHost: {admin}",
            "POST /health/..{drain} HTTP/1.1\r\nHost: a",
            "POST /health%2f..{drain} HTTP/1.1\r\nHost: a",
            "POST /health;{drain} HTTP/1.1\r\nHost: a",
            "POST /health?{drain} HTTP/1.1\r\nHost: a",
            "POST /health HTTP/1.1\r\nHost: a\r\nX-Original-URL: {drain}\r\nX-Rewrite-URL: {drain}",
            "POST /{drain} HTTP/1.1\r\nHost: a",
            "POST /.{drain} HTTP/1.1\r\nHost: a",
            "POST {drain} HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: {admin}\r\nX-Forwarded-Port: {port}",
            "POST {drain} HTTP/1.1\r\nHost: a\r\nlbflask.admin: True\r\nLbflask-Admin: True\r\nForwarded: host={admin}",
            "POST {drain} HTTP/1.0\r\nHost: a\r\nSCRIPT-NAME: {drain}\r\nScript_Name: {drain}",
            "GET {state} HTTP/1.1\r\nHost: {admin}",
            "GET / HTTP/1.1\r\nHost: {admin}",
            "GET //{admin}{state} HTTP/1.1\r\nHost: {admin}",
        ],
    )
    def test_no_trick_leads_to_it(self, cluster: AdminCluster, head: str) -> None:
        admin = f"127.0.0.1:{cluster.balancers[0].admin_port}"
        drain = f"/api/v1/pools/default/backends/{cluster.ids[0]}/drain"
        request = head.format(admin=admin, port=cluster.balancers[0].admin_port, drain=drain, state="/api/v1/state")
        with socket.create_connection(("127.0.0.1", cluster.balancers[0].port), 10) as client:
            fields = f"Authorization: Bearer {ALICE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            client.sendall(f"{request}\r\n{fields}".encode())
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        status = answer.split(b" ", 2)[1]
        assert b"hello from backend" in answer or status in (b"400", b"403", b"404", b"405"), answer
        assert b"answered_by" not in answer
        assert set(cluster.shown_states().values()) == {"up"}

    def test_a_listener_on_all_addresses_is_known_by_its_port(self, store: str, demos: list[int]) -> None:
        settings = {"redis_url": store, "backends": urls(demos), "admin__tokens": TOKENS, "namespace": "everywhere"}
        port = free_port()
        with Gunicorn(workers=1, wait=False, admin_bind=f"0.0.0.0:{port}", **settings) as balancer:
            balancer.admin_port = port
            balancer.await_ready()
            headers = {"Authorization": f"Bearer {GRAFANA}"}
            assert get(port, "/api/v1/fleet", headers=headers).status == 200
            assert get(port, "/api/v1/fleet").status == 401
            assert b"127.0.0.1" in get(port, "/health", headers=headers).body
            assert b"127.0.0.1" not in get(port, "/health").body
            assert b"hello from backend" in get(balancer.port, "/api/v1/fleet", headers=headers).body


class TestCommands:
    def test_status_shows_the_fleet(self, cluster: AdminCluster) -> None:
        told = cluster.command("status", token=GRAFANA)
        assert "fleet ok" in told
        for name in cluster.ids:
            assert name in told
        assert json.loads(cluster.command("status", "--json"))["fleet"]["status"] == "ok"

    def test_a_backend_is_added_weighed_and_removed(self, cluster: AdminCluster) -> None:
        assert "is in pool default" in cluster.command("add", "http://127.0.0.1:9", "--name", "new")
        assert "has weight 0" in cluster.command("weight", "new", "0")
        assert json.loads(cluster.command("weight", "new", "usual", "--json"))["backend"]["weight"] == 1
        assert "is out of pool default" in cluster.command("remove", "new")
        assert "no pool has a backend 'new'" in cluster.command("remove", "new", code=5)

    def test_events_are_followed(self, cluster: AdminCluster) -> None:
        follower = cluster.start_command("events", "--follow", "--json", "--limit", "1")
        lines: list[str] = []
        assert follower.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(follower.stdout), daemon=True)  # type: ignore[arg-type]
        reader.start()
        try:
            eventually(lambda: lines, "the latest event is told")

            def heard() -> bool:
                cluster.command("off", cluster.ids[0], "--json")
                cluster.command("enable", cluster.ids[0], "--json")
                return any(json.loads(line)["what"] == "off" for line in lines[1:])

            eventually(heard, "what happens is told")
        finally:
            follower.terminate()
            follower.wait(PATIENCE)
            reader.join(10)
            follower.stdout.close()
            assert follower.stderr is not None
            follower.stderr.close()

    def test_the_doctor_finds_nothing_bad(self, cluster: AdminCluster) -> None:
        told = cluster.command("doctor", token=GRAFANA)
        assert "✗" not in told
        assert "all 3 backends are reachable" in told

    @pytest.mark.parametrize(("token", "code"), [("", 4), ("wrong-token-of-some-length", 4), (GRAFANA, 4)])
    def test_who_may_not_changes_nothing(self, cluster: AdminCluster, token: str, code: int) -> None:
        cluster.command("drain", cluster.ids[0], "--pool", "default", code=code, token=token)
        assert cluster.shown_states()[cluster.ids[0]] == "up"

    def test_exit_codes_say_why(self, cluster: AdminCluster, tmp_path: Path) -> None:
        assert "no pool 'none'" in cluster.command("drain", "x", "--pool", "none", code=5)
        cluster.command("weight", cluster.ids[0], "heavy", code=2)
        assert "no answer" in cluster.command("status", "--url", "http://127.0.0.1:1", code=3)
        assert "could not be read" in cluster.command("status", "--token-file", str(tmp_path / "missing"), code=1)


#: Seconds that a download takes at the backend.
DOWNLOAD = 4


class Load:
    """Requests to all instances, and downloads that take a while, on threads of their own."""

    def __init__(self, cluster: AdminCluster) -> None:
        self.failed: list[str] = []
        self.least: dict[str, float] = {}  # when the last download from each backend has ended at the earliest
        self._stop = threading.Event()
        ports = [balancer.port for balancer in cluster.balancers]
        self._asking = [threading.Thread(target=self._ask, args=(port,)) for port in ports]
        self._downloads = [threading.Thread(target=self._download, args=(port,)) for port in ports * 6]
        for thread in (*self._asking, *self._downloads):
            thread.start()

    def _ask(self, port: int) -> None:
        while not self._stop.wait(0.01):
            self._note(port, "/")

    def _download(self, port: int) -> None:
        began = time.monotonic()
        body = self._note(port, f"/slow?s={DOWNLOAD}")
        name = f"127.0.0.1:{body.split()[-1].decode()}" if body else "none"
        self.least[name] = max(self.least.get(name, 0.0), began + DOWNLOAD)

    def _note(self, port: int, path: str) -> bytes:
        try:
            answer = get(port, path)
        except OSError as error:
            self.failed.append(str(error))
            return b""
        if answer.status != 200:
            self.failed.append(str(answer.status))
        return answer.body

    def finish(self) -> None:
        self._stop.set()
        for thread in (*self._asking, *self._downloads):
            thread.join(PATIENCE)


@pytest.mark.long
def test_drain_waits_for_downloads_under_load(cluster: AdminCluster) -> None:
    """It shows how far it is, returns 0 when the last has ended, and nothing fails."""
    name = cluster.ids[1]
    load = Load(cluster)
    try:
        in_flight = f"/pools/default/backends/{name}"
        eventually(lambda: json.loads(cluster.api(in_flight).body)["in_flight"] >= 2, "downloads are under way")
        told = cluster.command("drain", name, "--wait", "--timeout", "60")
        returned = time.monotonic()
    finally:
        load.finish()
    assert f"{name} of pool default is drained" in told
    assert "in flight" in told
    assert load.failed == []
    assert set(load.least) == set(cluster.ids), "each had downloads"
    assert load.least[name] < returned


@pytest.mark.long
def test_a_wait_that_takes_too_long_ends_with_a_code_of_its_own(cluster: AdminCluster) -> None:
    slow = [threading.Thread(target=get, args=(cluster.balancers[0].port, "/slow?s=5")) for _ in range(12)]
    for thread in slow:
        thread.start()
    path = f"/pools/default/backends/{cluster.ids[0]}"
    eventually(lambda: json.loads(cluster.api(path).body)["in_flight"], "it is busy")
    assert "and goes on" in cluster.command("drain", cluster.ids[0], "--wait", "--timeout", "0.3", code=6)
    for thread in slow:
        thread.join(PATIENCE)
