"""The app needs no worker of its own: on gunicorn's stock workers it does the same, within the limits of WSGI."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.servers import Gunicorn, Process, free_port, get, start_demo, urls
from devtools.traffic import AccessLogLine, access_log
from devtools.wait import eventually
from tests.support.backend import COOKIES
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

WORKERS = {
    "own": (),
    "gevent": ("-k", "gevent"),
    "gthread": ("-k", "gthread", "--threads", "4"),
    "sync": ("-k", "sync"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A balancer before three backends, each a process of its own."""

    balancer: Gunicorn
    backends: dict[int, Process]
    file: Path

    def port_that_answers(self) -> int:
        return int(get(self.balancer.port).body.split()[-1])


@pytest.fixture(scope="module", params=first_of(["gthread", "own", "gevent", "sync"]))
def setting(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    file = tmp_path_factory.mktemp(request.param) / "lbflask.toml"
    file.write_text('via = "before"\n')
    with ExitStack() as running:
        ports = [free_port() for _ in range(3)]
        backends = {port: running.enter_context(start_demo(port, module="tests.support.backend")) for port in ports}
        balancer = running.enter_context(
            Gunicorn(
                *WORKERS[request.param],
                config=file,
                redis_url=store,
                backends=urls(ports),
                namespace=request.param,
                ejection__failures=0,  # a dead backend is to keep its turns
            )
        )
        yield Setting(balancer, backends, file)
        # After all tests of the module, so that each kind of worker is stopped once.
        assert balancer.stop() == 0
        balancer.assert_no_traceback()


@pytest.mark.sampled(3)
def test_a_new_configuration_is_taken_over_in_place(setting: Setting) -> None:
    workers = setting.balancer.workers()
    setting.file.write_text('via = "after"\n')
    told = json.loads(get(setting.balancer.admin_port, "/api/v1/reload", "POST").body)
    assert told["in_place"] == ["via"]

    eventually(lambda: get(setting.balancer.port).field("Via") == "1.1 after", "requests go by it")
    eventually(lambda: setting.balancer.health()[1]["worker"]["config_version"] == told["config_version"], "it is told")
    assert setting.balancer.workers() == workers


def test_each_listener_tells_that_the_process_serves(setting: Setting) -> None:
    for port in (setting.balancer.port, setting.balancer.admin_port):
        for target in ("/live", "http://shop.example/live"):
            assert get(port, target).body == b'{"status":"live"}\n'


def test_requests_go_round_the_backends(setting: Setting) -> None:
    answered = [setting.port_that_answers() for _ in range(9)]
    assert answered == answered[:3] * 3
    assert set(answered) == set(setting.backends)


@pytest.mark.parametrize("chunked", [False, True], ids=["known length", "chunked"])
def test_a_posted_body_arrives_whole(setting: Setting, chunked: bool) -> None:
    body = bytes(range(256)) * 1000
    pieces = iter([body[:7], body[7:100_000], body[100_000:]]) if chunked else body
    got = get(setting.balancer.port, "/echo?a=%2F&b=", "POST", {"Content-Type": "text/x-test"}, pieces)
    assert got.status == 200
    head, _, echoed = got.body.partition(b"\n\n")
    assert echoed == body
    assert head.startswith(b"POST /echo?a=%2F&b= HTTP/1.1\n")
    assert b"\nContent-Type: text/x-test\n" in head + b"\n"
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    assert framing.lower() in head.lower()


def test_repeated_set_cookie_fields_stay_apart(setting: Setting) -> None:
    got = get(setting.balancer.port, "/cookies")
    assert [value for name, value in got.fields if name.lower() == "set-cookie"] == COOKIES


@pytest.mark.parametrize("status", [204, 304, 404, 500, 503])
def test_a_backends_status_is_passed_on(setting: Setting, status: int) -> None:
    got = get(setting.balancer.port, f"/status/{status}")
    assert got.status == status
    assert got.body.startswith(b"" if status in (204, 304) else b"status %d from backend " % status)
    assert len(got.body) > 0 or status in (204, 304)


def test_a_streamed_answer_arrives_whole(setting: Setting) -> None:
    lines = get(setting.balancer.port, "/slow?s=0.4").body.splitlines()
    assert [int(line.split()[1]) for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) > 1


def test_head_has_no_body(setting: Setting) -> None:
    got = get(setting.balancer.port, method="HEAD")
    assert (got.status, got.body) == (200, b"")
    assert int(got.field("Content-Length") or 0) > 0


def test_health_is_told_on_both_listeners(setting: Setting) -> None:
    public, admin = get(setting.balancer.port, "/health"), get(setting.balancer.admin_port, "/health")
    assert public.status == admin.status == 200
    assert "states" not in json.loads(public.body)["pools"]["default"]
    assert len(json.loads(admin.body)["pools"]["default"]["states"]) == 3


def test_no_host_field_opens_the_admin_listener_to_the_public(setting: Setting) -> None:
    balancer = setting.balancer
    for host in (f"127.0.0.1:{balancer.admin_port}", f"localhost:{balancer.admin_port}", "127.0.0.1"):
        assert b"states" not in get(balancer.port, "/health", headers={"Host": host}).body
        assert get(balancer.port, headers={"Host": host}).body.startswith(b"hello from backend")
    # The counterpart: the admin listener forwards nothing, whatever it is called.
    public = {"Host": f"127.0.0.1:{balancer.port}"}
    assert get(balancer.admin_port, "/echo", headers=public).status == 404
    assert b"states" in get(balancer.admin_port, "/health", headers=public).body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connect_failure_goes_to_the_next_backend(setting: Setting, method: str) -> None:
    dead = next(iter(setting.backends))
    setting.backends[dead].popen.kill()
    setting.backends[dead].wait()
    balancer, target, body = setting.balancer, f"/after-the-death?{method}", b"x" if method == "POST" else None
    # Nobody checks, so the dead one keeps its turns.
    got = [get(balancer.port, target, method, body=body) for _ in range(6)]
    assert [answer.status for answer in got] == [200] * 6
    assert {int(answer.body.split()[-1]) for answer in got} == set(setting.backends) - {dead}

    def logged() -> list[AccessLogLine]:
        return [line for line in access_log(balancer.output) if line.target == target]

    eventually(lambda: len(logged()) == 6, "the log is written")
    assert sum(f"127.0.0.1:{dead}" in line.tried for line in logged()) == 2


def test_the_admin_api_answers_and_streams_only_where_a_stream_keeps_nobody_out(setting: Setting) -> None:
    port = setting.balancer.admin_port
    assert json.loads(get(port, "/api/v1/fleet").body)["status"] in ("ok", "partly_down", "degraded")
    assert b"<title>lbflask</title>" in get(port).body
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        told = b""
        while b"\r\n\r\n" not in told:
            told += client.recv(4096)
    alone = "Using worker: sync" in setting.balancer.output
    assert told.startswith(b"HTTP/1.1 503" if alone else b"HTTP/1.1 200")
