"""The access log as an operator handles it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, free_port, get, start_demo
from devtools.wait import eventually
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

DROPPED = "lbflask_log_lines_dropped_total "


@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gthread"])
@pytest.mark.sampled(2)
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


def test_it_has_the_requests_and_the_fields_that_are_configured(redis_url: str, tmp_path: Path) -> None:
    log, file, port = tmp_path / "access.log", tmp_path / "lbflask.toml", free_port()
    fixed = (
        f"redis_url = '{redis_url}'\nbackends = 'http://127.0.0.1:{port}'\naccess_log = '{log}'\n"
        "response_headers.set = { X-Cache = 'MISS' }\n"
    )
    routes = "[[routes]]\nmatch.path = '/gone'\nrespond.status = 410\n[[routes]]\nname = 'rest'\npool = 'default'\n"
    file.write_text(
        f"{fixed}access_log_format = 'json'\naccess_log_filter = {{ status = '4xx', except_path = '/gone/quiet' }}\n"
        f"access_log_fields = {{ request = 'User-Agent', response = 'X-Cache' }}\n{routes}"
    )
    backend = start_demo(port)
    balancer = Gunicorn(workers=1, config=file)
    try:
        agent = {"User-Agent": 'curl "8"', "Cookie": "a=hush"}
        for path in ("/", "/gone/quiet", "/gone"):
            get(balancer.port, path, headers=agent)
        (line,) = eventually(lambda: log.exists() and log.read_text().splitlines(), "the line of the error")
        found = json.loads(line)
        assert (found["target"], found["status"]) == ("/gone", 410)
        assert (found["request_headers"], found["response_headers"]) == (
            {"User-Agent": 'curl "8"'},
            {"X-Cache": "MISS"},
        )
        assert "hush" not in line
        page = get(balancer.admin_port, "/metrics").body.decode()
        counted = re.findall(r'^lbflask_request_duration_seconds_count\{.*route="(.*)"\} (\S+)$', page, re.MULTILINE)
        assert dict(counted) == {"rest": "1.0", "/gone": "2.0"}

        file.write_text(f"{fixed}access_log_format = 'combined'\n{routes}")
        balancer.signal(signal.SIGHUP)
        combined = re.compile(
            r'^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /again HTTP/1\.1" 200 \d+ '
            r'"-" "curl \\"8\\""$',
            re.MULTILINE,
        )

        def is_combined() -> bool:
            get(balancer.port, "/again", headers=agent)
            return combined.search(log.read_text()) is not None

        eventually(is_combined, "a line in the combined format")
        balancer.assert_no_traceback()
        assert balancer.stop() == 0
    finally:
        balancer.kill()
        backend.kill()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.sampled(2)
@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.parametrize("worker", first_of([(), ("-k", "gthread")]))
@pytest.mark.long
def test_a_custom_format_has_header_fields_of_requests(
    redis_url: str, demos: list[int], tmp_path: Path, worker: tuple[str, ...]
) -> None:
    log = tmp_path / "access.log"
    form = "{status} {header.User-Agent} {header.host}"
    with Gunicorn(
        *worker,
        workers=1,
        backends=f"http://127.0.0.1:{demos[0]}",
        redis_url=redis_url,
        access_log=log,
        access_log_format=form,
        limits__body=1,
    ) as balancer:
        with RawClient(balancer.port) as client:
            client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: probe/1\r\n\r\n")
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nUser-Agent: probe/2\r\nContent-Length: 9\r\n\r\n")
            assert client.answer().status == 413
        eventually(lambda: log.read_text() == "200 probe/1 a\n413 probe/2 a\n", "both are logged")


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


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of other processes are Linux's")
@pytest.mark.long
def test_lines_for_which_the_disk_has_no_room_are_counted_and_break_no_other_line(
    redis_url: str, tmp_path: Path
) -> None:
    """A limit of the file's size is a disk that is full: the last write is cut, and later ones fail."""
    log, asked = tmp_path / "access.log", 0
    backend = start_demo(port := free_port())
    balancer = Gunicorn(
        backends=f"http://127.0.0.1:{port}", redis_url=redis_url, access_log=log, access_log_format="json"
    )

    def ask(times: int) -> None:
        nonlocal asked
        for _ in range(times):
            asked += 1
            assert get(balancer.port, f"/{asked}/" + "x" * 2000).status == 200

    def limit(size: int) -> None:
        for worker in balancer.workers():
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def dropped() -> int:
        page = get(balancer.admin_port, "/metrics").body.decode()
        return sum(int(float(line.split()[1])) for line in page.splitlines() if line.startswith(DROPPED))

    def targets() -> list[str]:
        documents = [document for line in log.read_text().splitlines() if (document := _json(line)) is not None]
        return [document["target"] for document in documents if "target" in document]

    try:
        for size in (80_003, 120_007):  # within a line
            before = dropped()
            limit(size)
            # Lines are written behind the requests: the limit stays until one is lost.
            eventually(lambda: ask(10) or dropped() > before, "lines are lost")  # noqa: B023
            assert log.stat().st_size >= size
            limit(resource.RLIM_INFINITY)
            ask(10)
            eventually(lambda: len(targets()) + dropped() == asked, "each line is written or counted")
        lost_by_metric = dropped()
        assert balancer.stop() == 0
        said = balancer.output
    finally:
        balancer.kill()
        backend.kill()
    documents = [document for line in log.read_text().splitlines() if (document := _json(line)) is not None]
    lost = sum(document["dropped_lines"] for document in documents if "dropped_lines" in document)
    assert lost == lost_by_metric
    kept = targets()
    assert len(set(kept)) == len(kept)
    assert len(kept) + lost == asked
    assert said.count("lines are lost: File too large") == said.count(" lines were lost")
    assert sum(int(found) for found in re.findall(r"(\d+) lines were lost", said)) == lost


def _json(line: str) -> Any:
    """The document of a line; None for one that was cut."""
    try:
        return json.loads(line)
    except ValueError:
        return None
