from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.internal_files import (
    FilePlace,
    named_file,
    redirect_places,
    sendfile_places,
    with_file_fields,
)
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

ROOTS = {"/protected/": "/srv/private", "/protected/media": "/srv/media", "/": "/srv/all"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([], None),
        ([("X-Accel-Buffering", "no")], None),
        ([("X-Accel-Redirect", "/a")], ("x-accel-redirect", "/a")),
        ([("x-sendfile", "/b")], ("x-sendfile", "/b")),
        ([("X-Sendfile", "/b"), ("X-ACCEL-REDIRECT", "/a")], ("x-accel-redirect", "/a")),
    ],
)
def test_a_response_names_a_file_by_one_of_two_fields(fields: Fields, named: tuple[str, str] | None) -> None:
    assert named_file(fields) == named


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("/protected/a.pdf", [("/srv/private", ["a.pdf"])]),
        ("/protected/a%20b/%C3%A4.pdf?x=1", [("/srv/private", ["a b", "ä.pdf"])]),
        ("/protected/\xc3\xa4.pdf", [("/srv/private", ["ä.pdf"])]),
        ("/protected/.hidden", [("/srv/private", [".hidden"])]),
        ("/protected/media/a", [("/srv/media", ["a"])]),
        ("/protected/mediator", [("/srv/private", ["mediator"])]),
        ("/other", [("/srv/all", ["other"])]),
        ("/protected/", []),
        ("/protected/a/", []),
        ("/protected/../x", []),
        ("/protected/%2e%2e/x", []),
        ("/protected/a%2fb", []),
        ("/protected//a", []),
        ("/protected/a%00", []),
        ("http://x/protected/a", []),
        ("@named", []),
        ("", []),
    ],
)
def test_the_longest_prefix_has_the_file(value: str, places: list[FilePlace]) -> None:
    assert redirect_places(value, ROOTS) == places


def test_what_no_prefix_fits_is_nowhere() -> None:
    assert redirect_places("/elsewhere/a", {"/protected": "/srv"}) == []
    assert redirect_places("/protected", {"/protected": "/srv"}) == []


SENDFILE_ROOTS = [("/srv/private", "/srv/private"), ("/srv/private", "/disk/7/private"), ("/srv/b", "/srv/b/")]


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("/srv/private/a.pdf", [("/srv/private", ["a.pdf"])]),
        ("/disk/7/private/a.pdf", [("/srv/private", ["a.pdf"])]),
        ("/srv/b/.c/d", [("/srv/b", [".c", "d"])]),
        ("/srv/private/a%20b", [("/srv/private", ["a%20b"]), ("/srv/private", ["a b"])]),
        ("/srv/private/100%.pdf", [("/srv/private", ["100%.pdf"])]),
        ("/srv/private/\xc3\xa4", [("/srv/private", ["ä"])]),
        ("/srv/private/%2e%2e/x", [("/srv/private", ["%2e%2e", "x"])]),
        ("/srv/private/../x", []),
        ("/srv/private/a/../../x", []),
        ("/srv/private-not/a", []),
        ("/srv/private", []),
        ("/srv/private/", []),
        ("/srv/private//a", []),
        ("/etc/passwd", []),
        ("a.pdf", []),
        ("", []),
    ],
)
def test_a_path_on_the_disk_is_below_a_root(value: str, places: list[FilePlace]) -> None:
    assert sendfile_places(value, SENDFILE_ROOTS) == places


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_every_name_is_one_step_down(value: str) -> None:
    found = redirect_places("/protected/" + value, ROOTS) + sendfile_places("/srv/private/" + value, SENDFILE_ROOTS)
    for _, names in found:
        assert names
        assert not {"", ".", ".."} & set(names)
        assert not any("/" in name or "\0" in name for name in names)


def test_fields_of_the_backend_are_kept_but_for_those_of_its_body() -> None:
    backends = [
        ("Content-Type", "text/html"),
        ("X-Accel-Redirect", "/a"),
        ("X-Sendfile", "/a"),
        ("Content-Length", "3"),
        ("Content-Encoding", "gzip"),
        ("ETag", '"x"'),
        ("Last-Modified", "x"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Disposition", "attachment"),
        ("cache-control", "private"),
        ("X-Frame-Options", "DENY"),
    ]
    file = [("Content-Type", "application/pdf"), ("Content-Length", "10"), ("ETag", '"y"'), ("Cache-Control", "public")]
    assert with_file_fields(backends, file) == [
        ("Content-Type", "text/html"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Disposition", "attachment"),
        ("cache-control", "private"),
        ("X-Frame-Options", "DENY"),
        ("Content-Length", "10"),
        ("ETag", '"y"'),
    ]
    assert with_file_fields([], file) == file


test_any_fields_name_a_file_below_a_root_or_none = property_test("internal_file")
