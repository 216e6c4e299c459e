from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devtools.decoding import decoded
from lbflask.core.answers import AnswerCause
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.framing import NO_BODY
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.static_files import StaticFiles
from lbflask.core.http.target import Target
from lbflask.core.http.types import Fields
from lbflask.files.document_root import DocumentRoot
from lbflask.files.file_cache import MOST_BYTES, FileCache
from lbflask.files.file_lookup import FileLookup, ServedFile
from lbflask.files.file_region import TruncatedFile
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.file_response import FileResponse
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.static_files import MOST_KNOWN, MOST_KNOWN_LENGTH, FileFinder, StaticFilesRoute
from tests.proxy.test_compression import LEVELS, accepting, compression
from tests.proxy.test_router import Rig, taken

NOW = 1_800_000_000.0
LARGE = bytes(range(256)) * (MOST_BYTES // 256 + 1)
EDITS = Edits(add=[("X-Route", "static")])


def request(target: str, method: str = "GET", fields: Fields | None = None) -> ClientRequest:
    return ClientRequest(
        method, target, Target(target), "HTTP/1.1", fields or [], "shop", "192.0.2.1", "http", NO_BODY, None
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "empty").mkdir()
    for name, content in {
        "index.html": b"<h1>app",
        "docs/index.html": b"<h1>docs",
        "a.css": b"body{}",
        "large.bin": LARGE,
    }.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    return tmp_path


def lookup(root: Path) -> FileLookup:
    return FileLookup(DocumentRoot(str(root)), FileCache(lambda: NOW), precompressed=True, types={})


def open_below(root: Path) -> int:
    """How many descriptors of this process are of files in the directory."""
    return sum(os.path.realpath(link).startswith(f"{root}/") for link in Path("/proc/self/fd").iterdir())


def static(root: Path, rig: Rig, files: FileFinder | None = None, **options: Any) -> StaticFilesRoute:
    settings = replace(rig.rules, response_edits=EDITS, compression=options.pop("compression", None))
    action = StaticFiles(root=str(root), **options)
    replies = LocalReplies(rig.house, settings, route="static")
    return StaticFilesRoute(action, files or lookup(root), replies, settings, 1)


def field(fields: Fields, name: str) -> str | None:
    return next((value for key, value in fields if key == name), None)


def test_a_file_is_the_response_with_the_fields_of_the_route(root: Path) -> None:
    rig = Rig()
    status, fields, body = taken(static(root, rig).dispatch(request("/static/a.css?v=1")))
    assert (status, body) == ("200 OK", b"body{}")
    assert (field(fields, "Via"), field(fields, "X-Route")) == ("1.1 lbflask", "static")
    (event,) = rig.events
    assert (event.route, event.pool, event.status, event.sent) == ("static", "", 200, 6)
    assert (event.cause, event.cut, event.client) == (AnswerCause.FILE, "", "192.0.2.1")


def test_many_targets_are_not_kept_for_ever(root: Path) -> None:
    route = static(root, Rig())
    for number in range(MOST_KNOWN + 10):
        assert taken(route.dispatch(request(f"/static/a.css?{number}")))[2] == b"body{}"
    assert taken(route.dispatch(request(f"/static/a.css?{'x' * MOST_KNOWN_LENGTH}")))[2] == b"body{}"
    assert len(route._known) <= MOST_KNOWN


@pytest.mark.parametrize("edited", [False, True])
def test_head_and_get_have_the_same_fields_with_and_without_edits(root: Path, edited: bool) -> None:
    rig = Rig()
    replies = LocalReplies(rig.house, replace(rig.rules, response_edits=EDITS if edited else None), route="static")
    route = StaticFilesRoute(StaticFiles(root=str(root)), lookup(root), replies, rig.rules, 1)
    got, head = (taken(route.dispatch(request("/static/a.css", method))) for method in ("GET", "HEAD"))
    assert (got[0], got[2], head) == ("200 OK", b"body{}", ("200 OK", got[1], b""))
    assert [name for name, _ in got[1]] == [
        *("Content-Type", "Content-Length", "ETag", "Last-Modified", "Accept-Ranges", "X-Content-Type-Options", "Via"),
        *(["X-Route"] if edited else []),
    ]
    assert [(event.sent, event.cause) for event in rig.events] == [(6, AnswerCause.FILE), (0, AnswerCause.FILE)]


def test_a_large_file_is_sent_from_the_file(root: Path) -> None:
    rig = Rig()
    response = static(root, rig).dispatch(request("/static/large.bin", fields=[("Range", "bytes=1-")]))
    assert isinstance(response, FileResponse)
    status, fields, body = taken(response)
    assert (status, body == LARGE[1:]) == ("206 Partial Content", True)
    assert field(fields, "Content-Length") == str(len(LARGE) - 1)
    assert (rig.events[0].sent, rig.events[0].cause) == (len(LARGE) - 1, AnswerCause.FILE)


def test_a_large_file_that_is_cut_is_told_with_its_cause(root: Path) -> None:
    rig = Rig()
    response = static(root, rig).dispatch(request("/static/large.bin"))
    next(response)
    response.close()
    assert (rig.events[0].cause, rig.events[0].cut) == (AnswerCause.CLIENT_LEFT, "the client hung up")


LONG = b"".join(b"line %d\n" % number for number in range(20_000))


@pytest.mark.parametrize("size", [2000, len(LONG)])
@pytest.mark.parametrize("coding", LEVELS)
def test_a_text_is_compressed_for_clients_that_accept_it(root: Path, coding: str, size: int) -> None:
    rig, before = Rig(), open_below(root)
    (root / "long.txt").write_bytes(LONG[:size])
    route = static(root, rig, compression=compression())
    response = route.dispatch(request("/static/long.txt", fields=accepting(coding)))
    status, fields, body = taken(response)
    assert (status, decoded(coding, body)) == ("200 OK", LONG[:size])
    assert (field(fields, "Content-Encoding"), field(fields, "Vary")) == (coding, "Accept-Encoding")
    assert field(fields, "Accept-Ranges") is None
    assert (rig.events[0].sent, rig.events[0].cut) == (len(body), "")
    etag = field(fields, "ETag") or ""
    again = request("/static/long.txt", fields=[*accepting(coding), ("If-None-Match", etag)])
    status, fields, body = taken(route.dispatch(again))
    assert (status, field(fields, "ETag"), body) == ("304 Not Modified", etag, b"")
    assert open_below(root) == before


def test_a_part_of_a_text_is_a_part_of_its_bytes(root: Path) -> None:
    (root / "long.txt").write_bytes(LONG)
    route = static(root, Rig(), compression=compression())
    asked = request("/static/long.txt", fields=[*accepting("gzip"), ("Range", "bytes=10-5009")])
    status, fields, body = taken(route.dispatch(asked))
    assert (status, body, field(fields, "Content-Encoding")) == ("206 Partial Content", LONG[10:5010], None)


def test_a_precompressed_file_is_sent_as_it_is(root: Path) -> None:
    (root / "long.txt").write_bytes(LONG)
    (root / "long.txt.gz").write_bytes(gzip.compress(LONG))
    route = static(root, Rig(), compression=compression())
    _, fields, body = taken(route.dispatch(request("/static/long.txt", fields=accepting("zstd, gzip"))))
    assert (field(fields, "Content-Encoding"), body) == ("gzip", (root / "long.txt.gz").read_bytes())


@pytest.mark.parametrize("name", ["a.css", "large.bin"])
def test_head_gets_the_fields_only(root: Path, name: str) -> None:
    static_files = static(root, Rig())
    before = open_below(root)
    _, expected, _ = taken(static_files.dispatch(request(f"/static/{name}")))
    status, fields, body = taken(static_files.dispatch(request(f"/static/{name}", "HEAD")))
    assert (status, fields, body) == ("200 OK", expected, b"")
    assert open_below(root) == before


@pytest.mark.parametrize("name", ["a.css", "large.bin"])
def test_a_file_that_the_client_has_is_not_sent_again(root: Path, name: str) -> None:
    static_files = static(root, Rig())
    before = open_below(root)
    _, fields, _ = taken(static_files.dispatch(request(f"/static/{name}")))
    etag = field(fields, "ETag")
    assert etag
    status, again, body = taken(static_files.dispatch(request(f"/static/{name}", fields=[("If-None-Match", etag)])))
    assert (status, body, field(again, "ETag")) == ("304 Not Modified", b"", etag)
    assert open_below(root) == before


def test_a_part_of_a_small_file_is_cut_out(root: Path) -> None:
    got = taken(static(root, Rig()).dispatch(request("/static/a.css", fields=[("Range", "bytes=1-2")])))
    assert (got[0], got[2]) == ("206 Partial Content", b"od")
    got = taken(static(root, Rig()).dispatch(request("/static/a.css", fields=[("Range", "bytes=6-")])))
    assert (got[0], field(got[1], "Content-Range"), got[2]) == ("416 Range Not Satisfiable", "bytes */6", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_refused_with_those_that_are_allowed(root: Path, method: str) -> None:
    rig = Rig()
    status, fields, _ = taken(static(root, rig).dispatch(request("/static/a.css", method)))
    assert (status, field(fields, "Allow")) == ("405 Method Not Allowed", "GET, HEAD")
    assert rig.events[0].cause == AnswerCause.FILE


@pytest.mark.parametrize(
    ("target", "location"),
    [("/static", "/static/"), ("/static/docs?a=b", "/static/docs/?a=b"), ("/static/empty", "/static/empty/")],
)
def test_a_directory_is_at_its_path_with_a_slash(root: Path, target: str, location: str) -> None:
    status, fields, _ = taken(static(root, Rig()).dispatch(request(target)))
    assert (status, field(fields, "Location")) == ("301 Moved Permanently", location)


@pytest.mark.parametrize(
    ("target", "index", "body"),
    [
        ("/static/", ("index.html",), b"<h1>app"),
        ("/static/docs/", ("no.html", "docs", "index.html"), b"<h1>docs"),
        ("/static/", ("docs", "a.css"), b"body{}"),
    ],
)
def test_the_first_index_that_is_there_stands_for_a_directory(
    root: Path, target: str, index: Sequence[str], body: bytes
) -> None:
    assert taken(static(root, Rig(), index=index).dispatch(request(target)))[2] == body


@pytest.mark.parametrize("target", ["/static/empty/", "/static/no", "/static/a.css/", "/static/n/", "/static/%2e%2e/x"])
def test_what_is_not_there_is_not_found(root: Path, target: str) -> None:
    rig = Rig(ProxySettings(pages={404: ErrorPage("text/html", b"<p>gone")}))
    status, _, body = taken(static(root, rig).dispatch(request(target)))
    assert (status, body) == ("404 Not Found", b"<p>gone")
    assert rig.events[0].cause == AnswerCause.FILE
    assert rig.events[0].cut


def test_the_reason_is_logged_and_not_told_to_the_client(root: Path) -> None:
    (root / "out").symlink_to("/etc/passwd")
    rig = Rig()
    status, _, body = taken(static(root, rig).dispatch(request("/static/out")))
    assert (status, body) == ("404 Not Found", b"404 Not Found: there is no such file\n")
    assert rig.events[0].cut == f"a link of out leads out of {root}"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/static/about", "200 OK"),
        ("/static/users/john.doe", "200 OK"),
        ("/static/empty/", "200 OK"),
        ("/static/gone/", "200 OK"),
        ("/static/app.js", "404 Not Found"),
        ("/static/out", "404 Not Found"),
        ("/static/out/passwd", "404 Not Found"),
        ("/static/%2e%2e", "404 Not Found"),
        ("/static/docs", "301 Moved Permanently"),
    ],
)
def test_the_fallback_is_for_pages_that_are_no_files(root: Path, target: str, status: str) -> None:
    (root / "out").symlink_to("/etc")
    got = taken(static(root, Rig(), fallback=("index.html",)).dispatch(request(target)))
    assert got[0] == status
    assert (got[2] == b"<h1>app") is (status == "200 OK")


@pytest.mark.parametrize("fallback", ["no.html", "docs"])
def test_a_fallback_that_is_no_file_is_not_found(root: Path, fallback: str) -> None:
    assert taken(static(root, Rig(), fallback=(fallback,)).dispatch(request("/static/x")))[0] == "404 Not Found"


class FailingLookup:
    """Finds no file, for a reason of the system."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find(self, names: Sequence[str], accept_encoding: str | None) -> ServedFile:
        raise self.error

    def clock(self) -> float:
        return NOW


@pytest.mark.parametrize(
    ("error", "status", "cause", "reason"),
    [
        (PermissionError(errno.EACCES, "x"), "403 Forbidden", AnswerCause.FILE, "permission denied"),
        (OSError(errno.EMFILE, "x"), "503 Service Unavailable", AnswerCause.SHORTAGE, "short of descriptors"),
        (OSError(errno.EIO, "x"), "500 Internal Server Error", AnswerCause.INTERNAL, "input/output error"),
        (TruncatedFile(), "500 Internal Server Error", AnswerCause.INTERNAL, "became shorter"),
    ],
)
def test_an_error_of_the_system_is_no_missing_file(
    root: Path, error: Exception, status: str, cause: AnswerCause, reason: str
) -> None:
    rig = Rig()
    got, _, body = taken(static(root, rig, FailingLookup(error)).dispatch(request("/static/a.css")))
    assert (got, rig.events[0].cause) == (status, cause)
    assert reason in rig.events[0].cut
    assert str(root) not in body.decode()
