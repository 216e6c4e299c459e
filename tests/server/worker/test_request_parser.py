"""Request heads: one that comes in one piece is read the short way, and read alike any other way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devtools.parsers import PARSERS
from fuzz.properties.requests import outcome
from lbflask.server.worker.settings import freeze
from tests.server.worker.test_settings import config
from tests.support.changes import property_test
from tests.support.selection import examples

USUAL = freeze(config())
NARROW = freeze(config(limit_request_line=40, limit_request_fields=3, limit_request_field_size=20))
IN_PYTHON = {"http_parser": "python", "permit_unconventional_http_method": True}
PLAIN = freeze(config(**IN_PYTHON))
PLAIN_NARROW = freeze(config(**IN_PYTHON, limit_request_line=40, limit_request_fields=4, limit_request_field_size=70))
REQUEST = b"POST /a?b HTTP/1.1\r\nHost: a\r\nX-A: b, c\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
TOKENS = st.sampled_from(
    [b"GET", b"get", b" ", b"/", b"*", b"http://a/", b"\t", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n",
     b"\r", b"\r\n\r\n", b"Host", b"Host: b\r\n", b":", b": ", b"a_b: c\r\n", b"\x00", b"\x7f", b"\xe9",
     b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"x" * 25,
     b"A: b\r\n" * 3, b" folded\r\n", b""]
)  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, len(REQUEST)), st.integers(0, 12), TOKENS), min_size=1, max_size=3)


@pytest.mark.parametrize(
    "limits", [USUAL, NARROW, PLAIN, PLAIN_NARROW], ids=["usual", "narrow", "plain", "plain narrow"]
)
@settings(max_examples=examples(1000), deadline=None)
@given(edits=EDITS)
@example(edits=[(0, 0, b"\r\n")])
@example(edits=[(0, 0, b"\r\n"), (0, 0, b"\r\n")])
def test_a_head_is_read_alike_in_one_piece_and_in_two(limits: Any, edits: list[tuple[int, int, bytes]]) -> None:
    """The one goes to a parser of its own."""
    data = REQUEST
    for at, cut, token in edits:
        data = data[:at] + token + data[at + cut :]
    if data:
        assert outcome(limits, data) == outcome(limits, data[:1], data[1:])


@pytest.mark.parametrize("parser", PARSERS)
def test_a_request_is_all_that_was_sent(parser: str) -> None:
    line = ("POST", "/a?b", (1, 1))
    fields = [("Host", "a"), ("X-A", "b, c"), ("Content-Length", "5"), ("Connection", "close")]
    special = [("HOST", "a"), ("CONTENT-LENGTH", "5"), ("CONNECTION", "close")]
    read = ((*line, fields, special), (True, True, b"hello", []), b"GET /next")
    assert outcome(freeze(config(**IN_PYTHON | {"http_parser": parser})), REQUEST + b"GET /next") == read


test_any_request_is_read_as_by_another_library_or_rejected = property_test("request")
