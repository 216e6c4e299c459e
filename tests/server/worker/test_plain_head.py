"""Plain heads: what is parsed is what gunicorn's parsers make of it, and all else is left to them."""

from __future__ import annotations

import pytest

from lbflask.server.worker.plain_head import PlainHead, plain_head
from tests.support.changes import property_test

LIMITS = 60, 3, 80


def test_a_plain_head_is_parsed() -> None:
    fields = [(b"Host", b"a"), (b"X-A", b"b, \t\xe9"), (b"x_empty", b"")]
    data = b"get /a?b HTTP/1.0\r\nHost: a\r\nX-A:\t b, \t\xe9\r\nx_empty:\r\n\r\nrest"
    assert plain_head(data, *LIMITS) == PlainHead(b"get", b"/a?b", 0, fields, len(data) - 4)


def test_a_head_may_have_no_field() -> None:
    assert plain_head(b"GET / HTTP/1.1\r\n\r\n", *LIMITS) == PlainHead(b"GET", b"/", 1, [], 18)


HOST = b"Host: a\r\n"
LINE = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LINE,
        LINE + HOST,
        LINE + HOST + b"\r",
        b"\r\n" + LINE + b"\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\n\r\n",
        LINE.replace(b"\r", b"") + b"\r\n",
        LINE + b"Host: a\n\r\n",
        LINE + b"Host : a\r\n\r\n",
        LINE + b": a\r\n\r\n",
        LINE + b"Host\r\n\r\n",
        LINE + b"Host: a \r\n\r\n",
        LINE + b"Host: \r\n\r\n",
        LINE + b"A: b\r\n folded\r\n\r\n",
        LINE + b"A: b\rc\r\n\r\n",
        LINE + b"A: b\x00\r\n\r\n",
        LINE + b"A: b\x7f\r\n\r\n",
        LINE + b"A: b\x0b\r\n\r\n",
        LINE + b"\xe9: b\r\n\r\n",
    ],
)
def test_another_head_is_left_to_gunicorn(data: bytes) -> None:
    assert plain_head(data, *LIMITS) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 47 + b" HTTP/1.1\r\n\r\n",
        LINE + b"A: b\r\n" * 4 + b"\r\n",
        LINE + b"A: " + b"b" * 76 + b"\r\n\r\n",
    ],
    ids=["line", "fields", "size"],
)
def test_a_head_beyond_a_limit_is_left_to_gunicorn(data: bytes) -> None:
    assert plain_head(data, *LIMITS) is None
    assert plain_head(data, 61, 4, 81) is not None


def test_a_long_head_that_does_not_match_costs_no_more_than_its_length() -> None:
    """One that could match in many ways would take longer than a test may."""
    for data in (b"A" * 60_000, LINE + b"A:" + b" \t" * 30_000, LINE + b"A: b\r\n" * 10_000):
        assert plain_head(data, 8190, 10_000, 1 << 20) is None


test_any_request_is_read_as_by_another_library_or_rejected = property_test("request")
