"""No secret of a request reaches a log, wherever in the request it stands, and whether the request is right or not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn, Process, free_port, start_checker, start_demo
from devtools.wait import eventually
from tests.conformance.cases import sized
from tests.support.programmed import ProgrammedBackend, says

pytestmark = [pytest.mark.e2e, pytest.mark.early]

SECRET = b"5ecret"
KINDS = {
    "own worker, parser in C if there is one, text": ((), "text"),
    "own worker, parser in Python, JSON": (("--http-parser", "python"), "json"),
    "gunicorn's gevent worker, a form of one's own": (("-k", "gevent"), "{client} {method} {target} {status} {cut}"),
}


def head(*lines: bytes, target: bytes = b"/", method: bytes = b"GET", host: bytes = b"a") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: " + host, *lines, b"", b""])


TARGETS = [
    b"/?token=5ecret", b"/?sig=5ecret&x=1", b"/?code=5ecret", b"/?key=5ecret", b"/?t%6fken=5ecret", b"/?T%4fKEN=5ecret",
    b"/?%74%6f%6b%65%6e=5ecret", b"/?t%256fken=5ecret", b"/?api_key=5ecret;5ecret", b"/?a=1;password=5ecret",
    b"/?X-Amz-Signature=5ecret&X-Amz-Credential=5ecret", b"/?X-Goog-Signature=5ecret", b"/?SAMLResponse=5ecret",
    b"/?user[passwd]=5ecret", b"/?user%5Bpasswd%5D=5ecret", b"/?next=%2Fcb%3Faccess_token%3D5ecret", b"/;sid=5ecret/x",
    b"/a;jsessionid=5ecret?x=1", b"/%3Bjsessionid=5ecret", b"/#access_token=5ecret", b"/?a=/x?pwd=5ecret",
    b"http://user:5ecret@a/", b"http://a/?session=5ecret", b"/?u=http://user:5ecret@b/", b'/?q={"secret":"5ecret"}',
    b"/?a=1,token=5ecret", b"/?a=1|token=5ecret", b"/?a=1%7ctoken%3d5ecret", b"/?a=token=5ecret",
    b"/token=5ecret/",     b"/a/x=1,token=5ecret/b", b"/?a=Bearer%205ecret", b"/?a=Bearer+5ecret&b=1",
    b"/?a=b,Basic%25205ecret",     b"/x?Digest%095ecret", b"/Bearer%205ecret/x", b"/Token+5ecret", b"/?to.ken=5ecret",
    b"/?tok%00en=5ecret", b"/?to-k_en=5ecret",     b"/?pw=5ecret", b"/?cvv=5ecret", b"/?cvc=5ecret", b"/?skey=5ecret",
    b"/?resetkey=5ecret", b"/?pin=5ecret", b"/?q=token:5ecret",     b"/?q=Authorization%3A%205ecret",
    b"/?a%3Dtoken%3D5ecret=x", b"/a/http://u:5ecret@b/",
    b"/?id_token=" + b"5ecret" * 1000, b"/?otp=5ecret\xe9",
]  # fmt: skip
FIELDS = [b"Authorization", b"Cookie", b"Signature", b"Shared-Key", b"Passwd", b"Session", b"X-Api-Key"]
HEADS = [
    *(head(target=target) for target in TARGETS),
    head(method=b"CONNECT", target=b"user:5ecret@a:443"),
    *(head(field + b": 5ecret") for field in FIELDS),
    *(head(field + b": a", b" 5ecret") for field in FIELDS),
    *(head(field + b": a", b"\t5ecret") for field in FIELDS),
    *(head(field + b" : 5ecret") for field in FIELDS),
    *(head(field + b" 5ecret") for field in FIELDS),
    *(head(field + b": 5ecret\x00") for field in FIELDS),
    *(head(field + b": 5ecret\x0bx", b"Content-Length: x") for field in FIELDS),
    *(head(b" " + field + b": 5ecret") for field in FIELDS),
    *(head().replace(b"Host: a", field + b": 5ecret") for field in FIELDS),
    b"GET /?token=5ecret HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /?token=5ecret\r\n\r\n",
    b"GET /?token=5ecret x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Authorization: Basic 5ecret\r\n\r\n",
    b"password=5ecretGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    head(b"Content-Length: 5ecret"),
    head(b"Expect: 5ecret"),
    head(b"Transfer-Encoding: 5ecret"),
    head(b"Transfer-Encoding: chunked", method=b"POST") + b"password=5ecret\r\n",
    head(b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabcpassword=5ecret\r\n",
    head(b"Transfer-Encoding: chunked", method=b"POST") + b"3;x=5ecret\x00\r\nabc\r\n0\r\n\r\n",
    head(b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\nCookie: a\r\n 5ecret\r\n\r\n",
    head(b"X-A: " + b"5ecret" * 2000),
    head(target=b"/?token=" + b"5ecret" * 3000),
    head(host=b"user:5ecret@a"),
]


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    process = start_demo(port := free_port())
    yield port
    process.kill()


def asked(port: int, request: bytes) -> None:
    """Send a request that may be none, and take what comes."""
    with RawClient(port) as client, contextlib.suppress(ConnectionCut, OSError):
        client.send(request)
        client.finish()
        client.rest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(3)
def test_no_secret_of_a_request_is_logged(kind: str, backend: int, redis_url: str, tmp_path: Path) -> None:
    arguments, form = KINDS[kind]
    log = tmp_path / "access.log"
    balancer = Gunicorn(
        *arguments, "--log-level", "debug", workers=1, backends=f"http://127.0.0.1:{backend}", redis_url=redis_url,
        access_log=log, access_log_format=form, error_log_format="json" if form == "json" else "text",
        timeouts__client_head=2,
    )  # fmt: skip
    with balancer:
        for request in HEADS:
            assert SECRET in request
            asked(balancer.port, request)
            asked(balancer.admin_port, request)
        asked(balancer.port, head(target=b"/last"))
        eventually(lambda: "/last" in log.read_text(), "the last line")
        assert balancer.stop() == 0
        for text in (log.read_text(), balancer.output):
            leaks = [line for line in text.splitlines() if "5ecret" in line]
            assert leaks == [], "\n".join(leaks)
        assert "***" in log.read_text()


@pytest.mark.long
def test_none_is_in_an_error_log_that_goes_to_a_file(backend: int, redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    balancer = Gunicorn(
        "--error-logfile", str(log), "--log-level", "debug", "-k", "gevent", workers=1, redis_url=redis_url,
        backends=f"http://127.0.0.1:{backend}", access_log="",
    )  # fmt: skip
    with balancer:
        for request in HEADS:
            asked(balancer.port, request)
        assert balancer.stop() == 0
    assert "Invalid" in log.read_text()
    assert [line for line in log.read_text().splitlines() if "5ecret" in line] == []


@pytest.mark.long
def test_the_key_of_a_collector_that_does_not_answer_is_not_logged(backend: int, redis_url: str) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    balancer = Gunicorn(
        workers=1, backends=f"http://127.0.0.1:{backend}", redis_url=redis_url, access_log="",
        tracing__endpoint=f"http://127.0.0.1:{free_port()}/5ecret/v1/traces?api_key=5ecret&team=x5ecret",
    )  # fmt: skip
    with balancer:
        asked(balancer.port, head(b"Connection: close"))
        assert balancer.stop() == 0
        assert "5ecret" not in balancer.output
        assert "/***/v1/traces?api_key=***&team=***" in balancer.output


def processor_seconds(pid: int) -> float:
    """What a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long
def test_no_target_stalls_the_worker_that_logs_it(backend: int, redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    balancer = Gunicorn(workers=1, backends=f"http://127.0.0.1:{backend}", redis_url=redis_url, access_log=log)
    with balancer:
        (worker,) = balancer.workers()
        for unit in (b"pwd", b"token", b"?", b";", b"%6f", b"&a", b"://", b"@", b'"'):
            before, lines = processor_seconds(worker), log.read_text().count("/last")
            with RawClient(balancer.port) as client:
                for _ in range(10):
                    client.ask(head(target=b"/?" + unit * (8000 // len(unit))))
                client.ask(head(target=b"/last"))
            eventually(lambda lines=lines: log.read_text().count("/last") > lines, "the last line")
            assert processor_seconds(worker) - before < 2, unit


@pytest.mark.long
def test_an_expression_that_would_take_for_ever_takes_no_other_backend_with_it(redis_url: str, tmp_path: Path) -> None:
    """The hostile backend's body makes the search for `expect_body` exponential."""
    hostile = ProgrammedBackend()
    hostile.answer = says(sized(b"x" * 200_000))
    well = start_demo(port := free_port())
    with ScriptedBackend(hostile.play) as server:
        file = tmp_path / "lbflask.toml"
        file.write_text(f"""
            redis_url = "{redis_url}"
            backends = [
                {{ url = "{server.url}", name = "hostile" }},
                {{ url = "http://127.0.0.1:{port}", name = "well", health = {{ path = "/", expect_body = "." }} }},
            ]
            [health]
            interval = 0.5
            fall = 1
            rise = 1
            expect_body = "^(x|.)*(x|.)*(x+x+)+y$"
        """)
        checker: Process = start_checker(config=file)
        with checker:
            eventually(lambda: "backend hostile is down" in checker.output, "the verdict on the hostile one")
            eventually(lambda: "backend well is up" in checker.output, "the verdict on the other")
            eventually(lambda: "takes too long" in checker.output, "the reason")
            assert checker.stop() == 0
            checker.assert_no_traceback()
    well.kill()
