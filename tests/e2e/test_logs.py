"""The access log as an operator handles it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.servers import Gunicorn, free_port, get, start_demo
from tests.support.wait import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gthread"])
def test_a_rotated_log_is_followed_on_usr1(redis_url: str, tmp_path: Path, worker: str) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    backend = start_demo(port := free_port())
    balancer = Gunicorn(
        "-k", worker, workers=1, backends=f"http://127.0.0.1:{port}", redis_url=redis_url, access_log=log
    )
    try:
        assert get(balancer.port, "/before").status == 200
        eventually(lambda: "/before" in log.read_text(), "the first line")
        log.rename(rotated)
        balancer.signal(signal.SIGUSR1)
        eventually(log.exists, "the new file")
        assert get(balancer.port, "/after").status == 200
        eventually(lambda: "/after" in log.read_text(), "the second line")
        assert "/after" not in rotated.read_text()
        assert balancer.stop() == 0
    finally:
        balancer.kill()
        backend.kill()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_requests_go_on_while_nobody_reads_the_log(redis_url: str, tmp_path: Path, stream: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)  # open, and never read
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    backend = start_demo(port := free_port())
    balancer = Gunicorn(
        workers=1, backends=f"http://127.0.0.1:{port}", redis_url=redis_url, error_log_format="json", **{stream: end}
    )
    try:
        for _ in range(50):
            assert get(balancer.port, "/" + "x" * 200).status == 200
        for _ in range(50):  # each is worth a line in the error log
            with socket.create_connection(("127.0.0.1", balancer.port)) as bad:
                bad.sendall(b"GET / HTTP/1.1\r\nHost: " + b"x" * 300 + b" y\r\nA B: c\r\n\r\n")
                assert bad.recv(100).startswith(b"HTTP/1.1 400 ")
        assert os.read(end, 1 << 20)
        assert balancer.stop() == 0
    finally:
        balancer.kill()
        backend.kill()
        os.close(end)


def test_json_logs_are_json_from_the_first_line_to_the_last(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    backend = start_demo(port := free_port())
    balancer = Gunicorn(
        workers=1, backends=f"http://127.0.0.1:{port}", redis_url=redis_url, access_log=log, access_log_format="json",
        error_log_format="json",
    )  # fmt: skip
    try:
        get(balancer.port, "/x", "POST", body=b"12345")
        eventually(lambda: "/x" in log.read_text(), "the line")
        told = next(line for line in map(json.loads, log.read_text().splitlines()) if line["target"] == "/x")
        assert (told["backend"], told["why"], told["received"]) == (f"127.0.0.1:{port}", "turn", 5)
        balancer.signal(signal.SIGHUP)
        eventually(lambda: "nothing has changed" in balancer.output, "the reload")
        assert get(balancer.port, "/y").status == 200
        assert balancer.stop() == 0
        lines = [json.loads(line) for line in balancer.output.splitlines()]
    finally:
        balancer.kill()
        backend.kill()
    assert all(line.keys() >= {"time", "level", "message", "pid"} for line in lines)
