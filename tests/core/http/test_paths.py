from __future__ import annotations

import pytest

from lbflask.core.http.paths import is_odd, plain_path, readings, segments_of, with_prefix, without_dots
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a//../b", "/a/b"),
        ("/.a/..b/...", "/.a/..b/..."),
        ("/mid/content=5/../6", "/mid/6"),
        ("/a/b/c/./../../g", "/a/g"),
    ],
)
def test_dot_segments_are_resolved(path: str, resolved: str) -> None:
    """RFC 3986 §5.2.4, whose own examples are the last two."""
    assert without_dots(path) == resolved


@pytest.mark.parametrize("path", ["/", "/a/b-c_d~e.f", "/.well-known/x", "/a=b&c,d:e@f", "/a..b/c."])
def test_a_usual_path_has_one_reading(path: str) -> None:
    assert not is_odd(path)
    assert list(readings(path)) == [path]


def test_encoding_is_undone_but_for_what_would_become_another_thing() -> None:
    """RFC 3986 §6.2.2.2."""
    assert plain_path("/%41%7e%2E%20%25%zz%4") == "/A~. %%zz%4"


def test_an_encoded_sign_that_parts_a_path_is_neither_the_sign_nor_another_one() -> None:
    signs = "/\\;?#\0"
    encoded = [plain_path(f"%{ord(sign):02X}") for sign in signs]
    assert encoded == [plain_path(f"%{ord(sign):02x}") for sign in signs]
    assert len({*signs, *encoded}) == 12


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/a%2Fb", "/a/b"),
        ("/a%5Cb", "/a\\b"),
        ("/a%5Cb", "/a/b"),
        ("/a\\b", "/a/b"),
        ("/a%3Fb/c", "/a"),
        ("/a%23b/c", "/a"),
        ("/a%00b/c", "/a"),
        ("/a;b/c", "/a/c"),
        ("/a%3Bb/c", "/a/c"),
    ],
)
def test_a_path_with_a_sign_that_servers_read_differently_has_that_reading(path: str, read: str) -> None:
    assert is_odd(path)
    assert read in readings(path)


def test_a_path_is_read_in_every_combination() -> None:
    assert set(readings("/a//..;/b")) >= {"/a//..;/b", "/a/..;/b", "/a//../b", "/a/../b", "/a/b", "/b"}


@pytest.mark.parametrize(
    ("target", "segments", "prefix", "expected"),
    [
        ("/api/x", 1, "", "/x"),
        ("/api", 1, "", "/"),
        ("/api/", 1, "", "/"),
        ("/api?x", 1, "", "/?x"),
        ("/api/x?y=/api", 1, "", "/x?y=/api"),
        ("/%61pi/%2F//x/?", 1, "", "/%2F//x/?"),
        ("/a/b/c", 2, "/new/place", "/new/place/c"),
        ("/a/b", 2, "/n", "/n"),
        ("//b/c", 1, "/n", "/n/b/c"),  # a segment may be empty
        ("/x", 0, "/v2", "/v2/x"),
        ("/?q", 0, "/v2", "/v2/?q"),
        ("*", 0, "/v2", "*"),
    ],
)
def test_a_prefix_is_exchanged_and_all_else_kept_byte_for_byte(
    target: str, segments: int, prefix: str, expected: str
) -> None:
    assert with_prefix(target, segments, prefix) == expected


@pytest.mark.parametrize(("prefix", "segments"), [("", 0), ("/a", 1), ("/a/b", 2)])
def test_a_prefix_has_a_segment_after_each_slash(prefix: str, segments: int) -> None:
    assert segments_of(prefix) == segments


test_any_target_is_split_as_by_another_library_or_rejected = property_test("target")
