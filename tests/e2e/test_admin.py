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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from devtools.servers import Got, Gunicorn, free_port, get, start_checker, urls
from devtools.wait import PATIENCE, eventually
from lbflask.cli import main

pytestmark = [pytest.mark.e2e, pytest.mark.early]

ALICE, GRAFANA = "alice-has-a-secret-token", "grafana-may-only-read"
TOKENS = f"operator:alice:{ALICE},read:grafana:{GRAFANA}"


@dataclass
class Town:
    one: Gunicorn
    two: Gunicorn
    names: list[str]

    def api(self, path: str, method: str = "GET", token: str = ALICE, body: object = None) -> Got:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        return get(self.one.admin_port, f"/api/v1{path}", method, headers, json.dumps(body) if body else None)

    def command(self, *arguments: str, token: str = ALICE) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_")}
        environ |= {"LBFLASK_ADMIN_URL": f"http://127.0.0.1:{self.one.admin_port}", "LBFLASK_ADMIN_TOKEN": token}
        return subprocess.Popen(
            [sys.executable, "-m", "lbflask", *arguments],
            env={**environ, "COLUMNS": "160"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0, token: str = ALICE) -> str:
        """What a command says."""
        url = f"http://127.0.0.1:{self.one.admin_port}"
        environ = {"LBFLASK_ADMIN_URL": url, "LBFLASK_ADMIN_TOKEN": token, "COLUMNS": "160"}
        result = CliRunner().invoke(main, arguments, env=environ)
        assert result.exit_code == code, result.output
        return result.output

    def served_by(self, balancer: Gunicorn, count: int = 12) -> set[str]:
        """Which backends answer."""
        return {f"127.0.0.1:{get(balancer.port).body.split()[-1].decode()}" for _ in range(count)}

    def states(self) -> dict[str, str]:
        backends = json.loads(self.api("/pools/default/backends").body)["backends"]
        return {backend["id"]: backend["state"] for backend in backends}


@pytest.fixture(scope="module")
def town(store: str, demos: list[int]) -> Iterator[Town]:
    settings = {"redis_url": store, "backends": urls(demos), "health__interval": 0.3, "admin__tokens": TOKENS}
    with ExitStack() as running:
        running.enter_context(start_checker(**settings))
        one, two = (running.enter_context(Gunicorn(workers=2, **settings)) for _ in range(2))
        town = Town(one, two, [f"127.0.0.1:{port}" for port in demos])
        eventually(lambda: set(town.states().values()) == {"up"}, "all are up")
        yield town
        for balancer in (one, two):
            balancer.assert_no_traceback()
            assert ALICE not in balancer.output


@pytest.fixture(autouse=True)
def as_configured(town: Town) -> Iterator[None]:
    yield
    for name in town.names:
        town.api(f"/pools/default/backends/{name}/weight", "PUT", body={"weight": None})
        assert town.api(f"/pools/default/backends/{name}/enable", "POST").status == 200
    eventually(lambda: set(town.states().values()) == {"up"}, "all serve again")


class TestFleet:
    def test_both_instances_are_seen_from_either(self, town: Town) -> None:
        def instances() -> bool:
            fleet = json.loads(town.api("/fleet").body)
            return [len(one["workers"]) for one in fleet["instances"]] == [2, 2]

        eventually(instances, "two instances of two workers")

    def test_a_drained_backend_gets_no_new_request_on_either(self, town: Town) -> None:
        name = town.names[0]
        assert town.api(f"/pools/default/backends/{name}/drain", "POST").status == 200
        for balancer in (town.one, town.two):
            eventually(lambda balancer=balancer: name not in town.served_by(balancer), "it gets none")
            assert town.served_by(balancer, 30) == set(town.names[1:])
        assert town.states()[name] == "draining"

    def test_a_weight_holds_for_both(self, town: Town) -> None:
        for name in town.names[1:]:
            assert town.api(f"/pools/default/backends/{name}/weight", "PUT", body={"weight": 0}).status == 200
        for balancer in (town.one, town.two):
            eventually(lambda balancer=balancer: town.served_by(balancer) == {town.names[0]}, "the others get none")

    def test_numbers_are_those_of_the_fleet(self, town: Town) -> None:
        for _ in range(30):
            get(town.one.port)
            get(town.two.port)

        def told() -> bool:
            backends = json.loads(town.api("/pools/default/backends").body)["backends"]
            return sum(b["requests_per_second"] for b in backends) > 3 and all(b["p99"] for b in backends)

        eventually(told, "rates and latencies are told")


class TestStreams:
    def test_they_keep_nobody_out_tell_changes_at_once_and_end_with_the_worker(self, store: str, town: Town) -> None:
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
            assert get(balancer.admin_port, path, "POST").status == 200
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
    def test_no_trick_leads_to_it(self, town: Town, head: str) -> None:
        admin = f"127.0.0.1:{town.one.admin_port}"
        drain = f"/api/v1/pools/default/backends/{town.names[0]}/drain"
        request = head.format(admin=admin, port=town.one.admin_port, drain=drain, state="/api/v1/state")
        with socket.create_connection(("127.0.0.1", town.one.port), 10) as client:
            fields = f"Authorization: Bearer {ALICE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            client.sendall(f"{request}\r\n{fields}".encode())
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        status = answer.split(b" ", 2)[1]
        assert b"hello from backend" in answer or status in (b"400", b"403", b"404", b"405"), answer
        assert b"answered_by" not in answer
        assert set(town.states().values()) == {"up"}

    def test_a_listener_on_all_addresses_is_known_by_its_port(self, store: str, demos: list[int]) -> None:
        settings = {"redis_url": store, "backends": urls(demos), "admin__tokens": TOKENS, "namespace": "everywhere"}
        port = free_port()
        with Gunicorn(workers=1, wait=False, admin_bind=f"0.0.0.0:{port}", **settings) as balancer:
            balancer.admin_port = port
            balancer.await_start(lambda: balancer.health()[0], "gunicorn answers")
            headers = {"Authorization": f"Bearer {GRAFANA}"}
            assert get(port, "/api/v1/fleet", headers=headers).status == 200
            assert get(port, "/api/v1/fleet").status == 401
            assert b"127.0.0.1" in get(port, "/health", headers=headers).body
            assert b"127.0.0.1" not in get(port, "/health").body
            assert b"hello from backend" in get(balancer.port, "/api/v1/fleet", headers=headers).body


class TestCommands:
    def test_status_shows_the_fleet(self, town: Town) -> None:
        told = town.run("status", token=GRAFANA)
        assert "fleet ok" in told
        for name in town.names:
            assert name in told
        assert json.loads(town.run("status", "--json"))["fleet"]["status"] == "ok"

    def test_a_backend_is_added_weighed_and_removed(self, town: Town) -> None:
        assert "is in pool default" in town.run("add", "http://127.0.0.1:9", "--name", "new")
        assert "has weight 0" in town.run("weight", "new", "0")
        assert json.loads(town.run("weight", "new", "usual", "--json"))["backend"]["weight"] == 1
        assert "is out of pool default" in town.run("remove", "new")
        assert "no pool has a backend 'new'" in town.run("remove", "new", code=5)

    def test_events_are_followed(self, town: Town) -> None:
        follower = town.command("events", "--follow", "--json", "--limit", "1")
        lines: list[str] = []
        assert follower.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(follower.stdout), daemon=True)  # type: ignore[arg-type]
        reader.start()
        try:
            eventually(lambda: lines, "the latest event is told")

            def heard() -> bool:
                town.run("off", town.names[0], "--json")
                town.run("enable", town.names[0], "--json")
                return any(json.loads(line)["what"] == "off" for line in lines[1:])

            eventually(heard, "what happens is told")
        finally:
            follower.terminate()
            follower.wait(PATIENCE)
            reader.join(10)
            follower.stdout.close()
            assert follower.stderr is not None
            follower.stderr.close()

    def test_the_doctor_finds_nothing_bad(self, town: Town) -> None:
        told = town.run("doctor", token=GRAFANA)
        assert "✗" not in told
        assert "all of 3 backends can be reached" in told

    @pytest.mark.parametrize(("token", "code"), [("", 4), ("wrong-token-of-some-length", 4), (GRAFANA, 4)])
    def test_who_may_not_changes_nothing(self, town: Town, token: str, code: int) -> None:
        town.run("drain", town.names[0], "--pool", "default", code=code, token=token)
        assert town.states()[town.names[0]] == "up"

    def test_exit_codes_say_why(self, town: Town, tmp_path: Path) -> None:
        assert "no pool 'none'" in town.run("drain", "x", "--pool", "none", code=5)
        town.run("weight", town.names[0], "heavy", code=2)
        assert "nobody answers" in town.run("status", "--url", "http://127.0.0.1:1", code=3)
        assert "could not be read" in town.run("status", "--token-file", str(tmp_path / "missing"), code=1)


#: Seconds that a download takes at the backend.
DOWNLOAD = 4


class Load:
    """Requests to all instances, and downloads that take a while, on threads of their own."""

    def __init__(self, town: Town) -> None:
        self.failed: list[str] = []
        self.least: dict[str, float] = {}  # when the last download from each backend has ended at the earliest
        self._stop = threading.Event()
        ports = (town.one.port, town.two.port)
        self._asking = [threading.Thread(target=self._ask, args=(port,)) for port in ports]
        self._downloads = [threading.Thread(target=self._download, args=(port,)) for port in ports * 6]
        for thread in (*self._asking, *self._downloads):
            thread.start()

    def _ask(self, port: int) -> None:
        while not self._stop.is_set():
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


def test_drain_waits_for_downloads_under_load(town: Town) -> None:
    """It shows how far it is, returns 0 when the last has ended, and nothing fails."""
    name = town.names[1]
    load = Load(town)
    try:
        in_flight = f"/pools/default/backends/{name}"
        eventually(lambda: json.loads(town.api(in_flight).body)["in_flight"] >= 2, "downloads are under way")
        told = town.run("drain", name, "--wait", "--timeout", "60")
        returned = time.monotonic()
    finally:
        load.finish()
    assert f"{name} of pool default is drained" in told
    assert "in flight" in told
    assert load.failed == []
    assert set(load.least) == set(town.names), "each had downloads"
    assert load.least[name] < returned


def test_a_wait_that_takes_too_long_ends_with_a_code_of_its_own(town: Town) -> None:
    slow = [threading.Thread(target=get, args=(town.one.port, "/slow?s=5")) for _ in range(12)]
    for thread in slow:
        thread.start()
    path = f"/pools/default/backends/{town.names[0]}"
    eventually(lambda: json.loads(town.api(path).body)["in_flight"], "it is busy")
    assert "goes on draining" in town.run("drain", town.names[0], "--wait", "--timeout", "0.3", code=6)
    for thread in slow:
        thread.join(PATIENCE)
