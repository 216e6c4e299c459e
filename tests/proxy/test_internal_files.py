"""Files that backends name, by a dispatcher before real backends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devtools.scripted_backend import answering, answering_always
from lbflask.core.answers import AnswerCause
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.types import Fields
from lbflask.files.document_root import DocumentRoot
from lbflask.files.file_cache import MOST_BYTES, FileCache
from lbflask.files.file_lookup import FileLookup
from lbflask.proxy.internal_files import InternalFiles
from tests.proxy.test_dispatcher import Balancer, Street, inbound

LARGE = bytes(range(256)) * (MOST_BYTES // 256 + 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "private"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "a.txt").write_bytes(b"hello")
    (root / "large.bin").write_bytes(LARGE)
    (root / "out").symlink_to("../secret")
    (root / "dir").mkdir()
    return root


def files(root: Path) -> InternalFiles:
    lookup = FileLookup(DocumentRoot(str(root)), FileCache(lambda: 4e9, most=0), precompressed=False, types={})
    return InternalFiles({"/protected/": str(root)}, {str(root): lookup})


def answer(*lines: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if status[:3] not in ("204", "304") else []
    return "\r\n".join([f"HTTP/1.1 {status}", *length, *lines, "", ""]).encode("latin-1") + body


def before(street: Street, root: Path, response: bytes, **rules: Any) -> Balancer:
    return street.balancer(answering(response), internal_files=files(root), **rules)


def field(fields: Fields, name: str) -> str | None:
    return next((value for key, value in fields if key.lower() == name.lower()), None)


@pytest.mark.parametrize("by", ["X-Accel-Redirect: /protected/a.txt", "X-Sendfile: {root}/a.txt"])
def test_the_file_replaces_the_body_and_fields_of_the_backend_stay(street: Street, root: Path, by: str) -> None:
    response = answer(by.format(root=root), "Content-Type: text/x", "Set-Cookie: a=1", 'ETag: "x"', body=b"no")
    balancer = before(street, root, response)
    status, fields, body = balancer.ask(inbound())
    assert (status, body) == (200, b"hello")
    assert field(fields, "Content-Length") == "5"
    assert (field(fields, "Content-Type"), field(fields, "Set-Cookie")) == ("text/x", "a=1")
    assert field(fields, "ETag") != '"x"'
    assert field(fields, "Via") == "1.1 lbflask"
    assert field(fields, "X-Accel-Redirect") is field(fields, "X-Sendfile") is None
    (event,) = balancer.events
    assert (event.status, event.sent, event.cause, event.cut) == (200, 5, AnswerCause.BACKEND, "")
    assert balancer.tried == ["b0"]


def test_a_type_that_the_backend_does_not_give_is_that_of_the_file(street: Street, root: Path) -> None:
    _, fields, _ = before(street, root, answer("X-Accel-Redirect: /protected/a.txt")).ask(inbound())
    assert field(fields, "Content-Type") == "text/plain; charset=utf-8"


def test_the_backend_is_free_while_the_client_reads(street: Street, root: Path) -> None:
    balancer = street.balancer(
        answering_always(answer("X-Accel-Redirect: /protected/large.bin", body=b"no")), internal_files=files(root)
    )
    first = balancer.start(inbound())
    assert next(first)
    # One connection serves both: the first response is over for its backend.
    second = balancer.start(inbound())
    assert street.houses[0].received.count(b"GET / ") == 2
    second.close()
    first.close()
    assert (balancer.events[1].cause, balancer.events[1].cut) == (AnswerCause.CLIENT_LEFT, "the client hung up")


def test_conditions_and_ranges_are_those_of_the_file(street: Street, root: Path) -> None:
    redirect = answer("X-Accel-Redirect: /protected/large.bin", "Content-Type: text/x")
    status, fields, body = before(street, root, redirect).ask(inbound(fields=[("Range", "bytes=1-2")]))
    assert (status, body, field(fields, "Content-Range")) == (206, LARGE[1:3], f"bytes 1-2/{len(LARGE)}")
    etag = field(fields, "ETag") or ""
    status, fields, body = before(street, root, redirect).ask(inbound(fields=[("If-None-Match", etag)]))
    assert (status, body, field(fields, "ETag")) == (304, b"", etag)
    status, fields, body = before(street, root, redirect).ask(inbound("HEAD"))
    assert (status, body, field(fields, "Content-Length")) == (200, b"", str(len(LARGE)))


@pytest.mark.parametrize("status", ["201 Created", "403 Forbidden", "500 Internal Server Error"])
def test_another_status_stays_with_the_whole_file(street: Street, root: Path, status: str) -> None:
    redirect = answer("X-Accel-Redirect: /protected/a.txt", status=status)
    got = before(street, root, redirect).ask(inbound(fields=[("Range", "bytes=1-2")]))
    assert (got[0], got[2]) == (int(status[:3]), b"hello")


def test_a_request_with_a_body_gets_the_whole_file(street: Street, root: Path) -> None:
    redirect = answer("X-Accel-Redirect: /protected/a.txt")
    got = before(street, root, redirect).ask(inbound("POST", fields=[("Range", "bytes=1-2")], body=[b"x"]))
    assert (got[0], got[2]) == (200, b"hello")


@pytest.mark.parametrize("status", ["206 Partial Content", "200 OK"])
def test_a_status_of_a_part_is_that_of_the_file(street: Street, root: Path, status: str) -> None:
    redirect = answer("X-Accel-Redirect: /protected/a.txt", "Content-Range: bytes 0-1/9", status=status)
    whole, fields, body = before(street, root, redirect).ask(inbound())
    assert (whole, body, field(fields, "Content-Range")) == (200, b"hello", None)
    part = before(street, root, redirect).ask(inbound(fields=[("Range", "bytes=1-2")]))
    assert (part[0], part[2], field(part[1], "Content-Range")) == (206, b"el", "bytes 1-2/5")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_response_without_a_body_loses_the_field_only(street: Street, root: Path, status: str) -> None:
    redirect = answer("X-Accel-Redirect: /protected/a.txt", "X-A: b", status=status)
    got, fields, body = before(street, root, redirect).ask(inbound())
    assert (got, body, fields) == (int(status[:3]), b"", [("X-A", "b"), ("Via", "1.1 lbflask")])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("X-Accel-Redirect: /other/a.txt", "in none of internal_files"),
        ("X-Accel-Redirect: /protected/../secret", "in none of internal_files"),
        ("X-Accel-Redirect: /protected/%2e%2e/secret", "in none of internal_files"),
        ("X-Accel-Redirect: /protected/gone", "there is no gone in"),
        ("X-Accel-Redirect: /protected/out", "leads out of"),
        ("X-Accel-Redirect: /protected/dir", "names a directory"),
        ("X-Accel-Redirect: http://x/", "in none of internal_files"),
        ("X-Sendfile: /etc/passwd", "in none of internal_files"),
        ("X-Sendfile: {root}/../secret", "in none of internal_files"),
        ("X-Sendfile: {root}/out", "leads out of"),
    ],
)
def test_a_file_that_may_not_be_sent_is_not_found_and_logged(
    street: Street, root: Path, line: str, reason: str
) -> None:
    balancer = before(street, root, answer(line.format(root=root), "Set-Cookie: a=1", body=b"no"))
    status, fields, body = balancer.ask(inbound())
    assert status == 404
    assert str(root).encode() not in body
    assert b"secret" not in body
    assert field(fields, "Set-Cookie") is None
    (event,) = balancer.events
    assert reason in event.cut
    assert event.cause is AnswerCause.FILE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(street: Street, root: Path) -> None:
    (root / "a.txt").chmod(0)
    assert before(street, root, answer("X-Accel-Redirect: /protected/a.txt")).ask(inbound())[0] == 500


def test_edits_of_the_route_apply(street: Street, root: Path) -> None:
    edits = Edits(set_=[("Cache-Control", "private")])
    script = answer("X-Accel-Redirect: /protected/a.txt")
    _, fields, _ = before(street, root, script, response_edits=edits).ask(inbound())
    assert field(fields, "Cache-Control") == "private"


def test_a_response_that_names_no_file_passes(street: Street, root: Path) -> None:
    got = before(street, root, answer("X-A: b", body=b"ok")).ask(inbound())
    assert (got[0], got[2]) == (200, b"ok")


def test_without_the_setting_the_field_passes(street: Street) -> None:
    balancer = street.balancer(answering(answer("X-Accel-Redirect: /protected/a.txt", body=b"ok")))
    _, fields, body = balancer.ask(inbound())
    assert (field(fields, "X-Accel-Redirect"), body) == ("/protected/a.txt", b"ok")
