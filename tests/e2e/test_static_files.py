"""Files beside an application, through real gunicorn workers and their clients: what is served, and what never is."""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.servers import Gunicorn, get, start_demo
from devtools.traffic import access_log
from devtools.wait import PATIENCE, eventually
from tests.e2e.test_stock_workers import WORKERS
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

LARGE = os.urandom(1 << 16) * 80  # more than the buffers of a connection hold
SECRET = b"this is nobody's business"
TOML = """
[[routes]]
name = "static"
match.path = "/static"
files = { root = "public", cache_control = "max-age=60" }
response_headers.set = { X-Route = "static" }

[[routes]]
name = "app"
match.host = "app.example"
files = { root = "public", fallback = "index.html", dot_files = [".well-known"] }

[[routes]]
name = "rest"
pool = "default"
"""


def make_root(place: Path) -> None:
    """A root with files, beside a secret, with ways out of it that are not taken."""
    root = place / "public"
    (root / "css").mkdir(parents=True)
    (root / ".well-known").mkdir()
    (place / "public-not").mkdir()
    for path, content in {
        "public/index.html": b"<h1>app",
        "public/css/site.css": b"body{}",
        "public/css/site.css.gz": gzip.compress(b"body{}"),
        "public/large.bin": LARGE,
        "public/.env": SECRET,
        "public/.well-known/security.txt": b"Contact: x",
        "secret.txt": SECRET,
        "public-not/secret.txt": SECRET,
    }.items():
        (place / path).write_bytes(content)
    (root / "out").symlink_to("../secret.txt")
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to(place / "secret.txt")
    (root / "root").symlink_to("/")
    (root / "loop").symlink_to("loop")
    (root / "null").symlink_to("/dev/null")
    os.mkfifo(root / "fifo")


@pytest.fixture(scope="module", params=first_of(WORKERS))
def balancer(
    request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    place = tmp_path_factory.mktemp("files")
    make_root(place)
    file, backend = place / "lbflask.toml", free_port()
    file.write_text(f'backends = ["http://127.0.0.1:{backend}"]\n{TOML}')
    with ExitStack() as stack:
        stack.enter_context(start_demo(backend))
        balancer = stack.enter_context(
            Gunicorn(
                *WORKERS[request.param], config=file, redis_url=store, namespace=f"files-{request.param}", workers=1
            )
        )
        yield balancer
        assert balancer.stop() == 0
        balancer.assert_no_traceback()
        assert SECRET.decode() not in balancer.output


def test_files_are_served_beside_the_application(balancer: Gunicorn) -> None:
    got = get(balancer.port, "/static/css/site.css")
    assert (got.status, got.body) == (200, b"body{}")
    assert got.field("Content-Type") == "text/css; charset=utf-8"
    assert got.field("Cache-Control") == "max-age=60"
    assert got.field("X-Content-Type-Options") == "nosniff"
    assert got.field("X-Route") == "static"
    assert get(balancer.port, "/other").body.startswith(b"hello from backend")


def test_a_large_file_arrives_whole_and_its_connection_goes_on(balancer: Gunicorn) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=PATIENCE)
    for path, content in [("/static/large.bin", LARGE), ("/static/css/site.css", b"body{}")]:
        connection.request("GET", path)
        assert connection.getresponse().read() == content
    connection.close()


def test_a_client_goes_on_where_it_was_cut(balancer: Gunicorn) -> None:
    first = get(balancer.port, "/static/large.bin", headers={"Range": "bytes=0-99999"})
    assert (first.status, first.field("Content-Range")) == (206, f"bytes 0-99999/{len(LARGE)}")
    etag = first.field("ETag") or ""
    rest = get(balancer.port, "/static/large.bin", headers={"Range": "bytes=100000-", "If-Range": etag})
    assert first.body + rest.body == LARGE
    other = get(balancer.port, "/static/large.bin", headers={"Range": "bytes=100000-", "If-Range": '"other"'})
    assert (other.status, other.body == LARGE) == (200, True)


def test_a_client_gets_nothing_that_it_has(balancer: Gunicorn) -> None:
    first = get(balancer.port, "/static/css/site.css")
    for name, field in [("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")]:
        again = get(balancer.port, "/static/css/site.css", headers={name: first.field(field) or ""})
        assert (again.status, again.body, again.field("ETag")) == (304, b"", first.field("ETag"))
        assert again.field("Cache-Control") == "max-age=60"
    assert get(balancer.port, "/static/css/site.css", headers={"If-Match": '"x"'}).status == 412


def test_a_precompressed_file_is_for_those_who_accept_it(balancer: Gunicorn) -> None:
    got = get(balancer.port, "/static/css/site.css", headers={"Accept-Encoding": "br, gzip"})
    assert (got.field("Content-Encoding"), gzip.decompress(got.body)) == ("gzip", b"body{}")
    plain = get(balancer.port, "/static/css/site.css")
    assert plain.field("Content-Encoding") is None
    assert plain.field("Vary") == got.field("Vary") == "Accept-Encoding"


def test_head_and_other_methods(balancer: Gunicorn) -> None:
    head = get(balancer.port, "/static/large.bin", "HEAD")
    assert (head.status, head.field("Content-Length"), head.body) == (200, str(len(LARGE)), b"")
    posted = get(balancer.port, "/static/css/site.css", "POST", body=b"x")
    assert (posted.status, posted.field("Allow")) == (405, "GET, HEAD")


def test_a_single_page_application_has_its_paths(balancer: Gunicorn) -> None:
    def app(path: str) -> tuple[int, bytes]:
        got = get(balancer.port, path, headers={"Host": "app.example"})
        return got.status, got.body

    assert app("/") == app("/orders/17") == app("/users/john.doe") == (200, b"<h1>app")
    assert app("/css/site.css") == (200, b"body{}")
    assert app("/.well-known/security.txt") == (200, b"Contact: x")
    assert app("/css/gone.css")[0] == 404
    assert app("/css")[0] == 301


def test_the_log_has_files_with_their_cause(balancer: Gunicorn) -> None:
    get(balancer.port, "/static/css/site.css?log")

    def logged() -> list[str]:
        return [line for line in balancer.output.splitlines() if "/static/css/site.css?log" in line]

    (line,) = eventually(logged, "the log is written")
    assert "cause=file" in line
    assert [one.status for one in access_log(balancer.output) if one.target == "/static/css/site.css?log"] == [200]


#: What leads out of a root, to a dot file or to a special file where a server is careless, after `/static`.
PATHS = [
    "/../secret.txt",
    "/css/../../secret.txt",
    "/..",
    "/../",
    "/./../secret.txt",
    "//../secret.txt",
    "/.../secret.txt",
    "/css/..%2f..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/.%2e/secret.txt",
    "/%2E%2E/secret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/%5c..%5csecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%c0%ae%c0%ae%c0%afsecret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt",
    "/%f0%80%80%ae%f0%80%80%ae/secret.txt",
    "/%u002e%u002e/secret.txt",
    "/..%00/secret.txt",
    "/css/site.css%00.txt",
    "/..;/secret.txt",
    "/..;a=b/secret.txt",
    "/..%3b/secret.txt",
    "/..%23/secret.txt",
    "/..%3f/secret.txt",
    "/../public-not/secret.txt",
    "/..-not/secret.txt",
    "-not/secret.txt",
    "/%ff",
    "/%",
    "/%2",
    "//etc/passwd",
    "/%2fetc/passwd",
    "//css/site.css",
    "/css//site.css",
    "/css/./site.css",
    "/css/site.css/",
    "/css/site.css/../../index.html",
    "/out",
    "/up/secret.txt",
    "/up/public/index.html",
    "/absolute",
    "/root/etc/passwd",
    "/loop",
    "/null",
    "/fifo",
    "/.env",
    "/%2eenv",
    "/.well-known/security.txt",
    "/.git/config",
    "/" + "a" * 300,
    "/" + "a/" * 2100,
    "/" + "../" * 100 + "etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_else_is_served(balancer: Gunicorn, path: str) -> None:
    for host in ("shop.example", "app.example"):
        target = ("/static" if host == "shop.example" else "") + path
        with socket.create_connection(("127.0.0.1", balancer.port), PATIENCE) as client:
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
            answer = b""
            while piece := client.recv(1 << 16):
                answer += piece
        status, body = int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]
        assert SECRET not in answer
        assert b"root:" not in answer
        if host == "app.example" and path.startswith(("/.well-known", "-not")):
            continue
        assert status in (400, 404) or body.startswith(b"hello from backend"), answer[:200]
        assert not (body.startswith(b"hello") and target.startswith("/static/")), "the route was not taken"


def test_a_file_that_shrinks_ends_its_connection_and_nothing_else(store: str, tmp_path: Path) -> None:
    make_root(tmp_path)
    file, backend = tmp_path / "lbflask.toml", free_port()
    file.write_text(f'backends = ["http://127.0.0.1:{backend}"]\n{TOML}')
    with Gunicorn(config=file, redis_url=store, namespace="shrinks", workers=1) as balancer:
        worker = balancer.workers()
        connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=PATIENCE)
        with closing(connection):
            connection.request("GET", "/static/large.bin")
            with closing(connection.getresponse()) as response:
                first = response.read(1 << 16)
                os.truncate(tmp_path / "public" / "large.bin", 1 << 16)
                with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                    response.read()
        assert first == LARGE[: 1 << 16]
        assert get(balancer.port, "/static/css/site.css").status == 200
        assert balancer.workers() == worker
        eventually(lambda: "the file became shorter while it was sent" in balancer.output, "the log has the reason")
        balancer.assert_no_traceback()


def test_files_are_served_over_tls(store: str, tmp_path: Path) -> None:
    make_root(tmp_path)
    authority = Authority(tmp_path)
    pair, backend = authority.pair("127.0.0.1"), free_port()
    file = tmp_path / "lbflask.toml"
    tls = f'[tls]\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
    file.write_text(f'backends = ["http://127.0.0.1:{backend}"]\n{tls}{TOML}')
    with Gunicorn(config=file, redis_url=store, namespace="tls-files", workers=1) as balancer:
        context = ssl.create_default_context(cafile=authority.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", balancer.port, timeout=PATIENCE, context=context)
        for path, content in [("/static/large.bin", LARGE), ("/static/css/site.css", b"body{}")]:
            connection.request("GET", path)
            assert connection.getresponse().read() == content
        connection.close()
