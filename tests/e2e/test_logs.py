"""The access log as an operator handles it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, free_port, get, start_demo
from devtools.wait import eventually

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


def test_a_refusal_is_logged_with_the_bytes_that_were_sent(redis_url: str, tmp_path: Path) -> None:
    """Also where the head could not be read; and none where the client asked for no body (RFC 9110 §9.3.2)."""
    log = tmp_path / "access.log"
    said = {
        400: b"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n",
        408: b"GET / HT",
        413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n",
        414: b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        417: b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n",
        431: b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        502: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    with Gunicorn(
        workers=1, backends=f"http://127.0.0.1:{free_port()}", redis_url=redis_url, access_log=log,
        access_log_format="json", limits__body=1000, timeouts__client_head=0.5,
    ) as balancer:  # fmt: skip
        sent = {}
        for status, request in said.items():
            with RawClient(balancer.port) as client:
                client.send(request)
                answer = client.answer()
                assert answer.status == status
                sent[status] = len(answer.body)
                assert sent[status] > 0
        eventually(lambda: len(log.read_text().splitlines()) == len(said), "all are logged")
        assert {line["status"]: line["sent"] for line in map(json.loads, log.read_text().splitlines())} == sent
        with RawClient(balancer.port) as client:
            for path in (b"/", b"/a#b"):
                answer = client.ask(b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (answer.status >= 400, int(answer.values(b"content-length")[0]) > 0) == (True, True)
        eventually(lambda: len(log.read_text().splitlines()) == len(said) + 2, "these are logged")
        assert [json.loads(line)["sent"] for line in log.read_text().splitlines()[-2:]] == [0, 0]
        assert balancer.stop() == 0


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
