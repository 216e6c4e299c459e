"""Compression through real workers: pages and documents of installed packages, from a backend and from a directory.

A client decodes what it gets and compares each byte. It has each piece of a stream before the backend sends the next.
"""

from __future__ import annotations

import http.client
import socket
import sysconfig
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest

from devtools.decoding import Decoder, decoded
from devtools.environment import HOST, ROOT
from devtools.servers import Gunicorn, HttpResponse, get
from devtools.wait import PATIENCE, eventually
from tests.e2e.test_stock_workers import WORKERS
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

CODINGS = ("zstd", "br", "gzip")
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
}
TOML = """
[compression]
encodings = ["zstd", "br", "gzip"]

[[routes]]
match.path = "/static"
files = "public"

[[routes]]
match.path = "/plain"
pool = "default"
compression.encodings = []

[[routes]]
match.path = "/"
pool = "default"
"""


@cache
def documents() -> list[Path]:
    """Some 200 pages, style sheets, programs and JSON documents of installed packages, and pages of this project."""
    found: list[Path] = []
    for folder in (Path(sysconfig.get_path("purelib")), ROOT / "docs"):
        paths = sorted(path for path in folder.rglob("*.*") if path.suffix in TYPES)
        for suffix in TYPES:
            files = [path for path in paths if path.suffix == suffix and 1024 <= path.stat().st_size <= 400_000]
            found += files[:: max(1, len(files) // 30)]
    return found


#: Numbers of streams.
STREAMS = count()


class Backend(BaseHTTPRequestHandler):
    """Serves the documents by number: those of even ones with a length, the others in chunks."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    #: By the path of a stream: released once for each further piece of it.
    go_on: ClassVar[defaultdict[str, threading.Semaphore]] = defaultdict(lambda: threading.Semaphore(0))

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if not name.isdigit():
            self.stream("text/event-stream" if "/events/" in self.path else "text/plain")
            return
        path, etag = documents()[int(name)], f'"{name}"'
        content = path.read_bytes()
        if etag in self.headers.get("If-None-Match", ""):
            self.send_response(304)
            self.send_header("ETag", etag)
            self.end_headers()
            return
        if match := self.headers.get("If-Match"):
            content = f"{match} matches: {match == etag}".encode()
        whole, span = len(content), self.headers.get("Range")
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            content = content[int(first) : int(last) + 1]
        self.send_response(206 if span else 200)
        self.send_header("Content-Type", TYPES[path.suffix])
        self.send_header("ETag", etag)
        if span:
            self.send_header("Content-Range", f"bytes {span.removeprefix('bytes=')}/{whole}")
        if int(name) % 2 and not span:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if self.command != "HEAD":
                for start in range(0, len(content), 7000):
                    self.send_chunk(content[start : start + 7000])
                self.send_chunk(b"")
        else:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def stream(self, kind: str) -> None:
        """Three pieces, each after the client has the one before."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            self.send_chunk(b"data: %d\n\n" % number)
            self.go_on[self.path].acquire(timeout=PATIENCE)
        self.send_chunk(b"")

    def send_chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))


@pytest.fixture(scope="module", params=first_of(["own", "gevent", "gthread"]))
def balancer(
    request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    place = tmp_path_factory.mktemp("compression")
    (place / "public").mkdir()
    for number, path in enumerate(documents()):
        (place / "public" / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer((HOST, 0), Backend))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        file = place / "lbflask.toml"
        file.write_text(f'backends = ["http://{HOST}:{server.server_port}"]\n{TOML}')
        options, space = WORKERS[request.param], f"compression-{request.param}"
        balancer = stack.enter_context(Gunicorn(*options, config=file, redis_url=store, namespace=space, workers=1))
        yield balancer
        assert balancer.stop() == 0
        balancer.assert_no_traceback()


def ask(balancer: Gunicorn, path: str, coding: str = "", method: str = "GET", **fields: str) -> HttpResponse:
    asked = {name.replace("_", "-"): value for name, value in fields.items()}
    return get(balancer.port, path, method, headers=asked | ({"Accept-Encoding": coding} if coding else {}))


@pytest.mark.sampled(2, 1)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("place", ["backend", "static"])
def test_two_hundred_documents_arrive_byte_for_byte(balancer: Gunicorn, place: str, coding: str) -> None:
    assert len(documents()) > 150
    sent = stored = 0
    with closing(http.client.HTTPConnection(HOST, balancer.port, timeout=PATIENCE)) as connection:
        for number, path in enumerate(documents()):
            target = f"/static/{number}{path.suffix}" if place == "static" else f"/{number}"
            connection.request("GET", target, headers={"Accept-Encoding": coding})
            response = connection.getresponse()
            body, content = response.read(), path.read_bytes()
            assert response.headers["Content-Encoding"] == coding, (path, response.headers.items())
            assert decoded(coding, body) == content, path
            assert response.headers["Vary"] == "Accept-Encoding"
            assert (response.headers["ETag"] or "").startswith('W/"')
            sent, stored = sent + len(body), stored + len(content)
    assert sent < stored / 2


@pytest.mark.parametrize("target", ["/0", "/1", "/static/0.html"])
def test_a_client_that_has_it_gets_nothing_and_a_part_is_of_the_bytes(balancer: Gunicorn, target: str) -> None:
    suffix = documents()[0].suffix
    target = target.replace(".html", suffix)
    content = documents()[int(target.rpartition("/")[2].removesuffix(suffix))].read_bytes()
    first = ask(balancer, target, "gzip")
    etag = first.field("ETag") or ""
    again = ask(balancer, target, "gzip", If_None_Match=etag)
    assert (again.status, again.field("ETag"), again.body) == (304, etag, b"")
    part = ask(balancer, target, "gzip", Range="bytes=100-299")
    assert (part.status, part.body, part.field("Content-Encoding")) == (206, content[100:300], None)
    plain = ask(balancer, target)
    assert (plain.body, plain.field("ETag")) == (content, etag.removeprefix("W/"))
    assert plain.field("Vary") == "Accept-Encoding"
    head = ask(balancer, target, "gzip", "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Encoding", "ETag", "Vary", "Content-Type"):
        assert head.field(name) == first.field(name)


def test_a_backend_knows_its_own_tag_again(balancer: Gunicorn) -> None:
    assert ask(balancer, "/0", If_Match='W/"0"').body == b'"0" matches: True'


def test_a_route_can_do_without(balancer: Gunicorn) -> None:
    got = ask(balancer, "/plain/0", "gzip")
    assert (got.body, got.field("Content-Encoding"), got.field("Vary")) == (documents()[0].read_bytes(), None, None)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", ["events", "text"])
def test_each_piece_of_a_stream_reaches_the_client_before_the_next_one(
    balancer: Gunicorn, kind: str, coding: str
) -> None:
    decoder = Decoder(coding)
    with closing(http.client.HTTPConnection(HOST, balancer.port, timeout=PATIENCE)) as connection:
        path = f"/{kind}/{next(STREAMS)}.stream"
        connection.request("GET", path, headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        assert response.headers["Content-Encoding"] == coding
        for number in range(3):
            content = b""
            while content != b"data: %d\n\n" % number:
                piece = response.read1()
                assert piece
                content += decoder.decode(piece)
            Backend.go_on[path].release()
        assert decoder.decode(response.read()) == b""
    assert decoder.complete


def test_a_client_of_http_1_0_gets_all_until_the_end_of_the_connection(balancer: Gunicorn) -> None:
    with socket.create_connection((HOST, balancer.port), PATIENCE) as client:
        client.sendall(b"GET /1 HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        received = b""
        while piece := client.recv(65_536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert decoded("gzip", body) == documents()[1].read_bytes()


def test_a_client_that_leaves_a_stream_is_logged_and_its_backend_is_free(balancer: Gunicorn) -> None:
    with closing(http.client.HTTPConnection(HOST, balancer.port, timeout=PATIENCE)) as connection:
        path = f"/left/{next(STREAMS)}.stream"
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        assert connection.getresponse().read1()
    Backend.go_on[path].release(3)

    def ended() -> bool:
        return any(path in line for line in balancer.output.splitlines())

    eventually(ended, "the request has ended")
