"""The plain form of a response head. What it reads, the full parser reads alike; all else is left alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.properties.responses import outcome
from lbflask.core.http.field_lines import field_pairs
from lbflask.core.http.framing import NO_BODY, Framing
from lbflask.core.http.response_head import plain_head
from lbflask.core.http.types import Fields
from tests.support.changes import property_test
from tests.support.selection import examples

#: docs/supported-http.md, "no response".
MOST_FIELDS = 1000


def assert_read_alike(method: str, data: bytes) -> None:
    """In one piece it is read in the plain form, if it has that; behind a first byte never."""
    if plain_head(method, data) is not None:
        assert outcome(method, data) == outcome(method, data[:1], data[1:])


METHODS = st.sampled_from(["GET", "HEAD", "POST"])
STATUSES = st.one_of(st.integers(200, 599).map(str), st.sampled_from(["100", "101", "199", "600", "999", "20", "2000"]))
NAMES = st.sampled_from(
    ["Content-Length", "content-length", "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Trailer",
     "Upgrade", "TE", "Proxy-Authenticate", "Date", "Set-Cookie", "X_A", "X-A", "X:A", "X A", "", "a", "\xe9"]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        ["0", "5", "05", "+5", "5,5", "5 ", "\u00b2", "9" * 18, "9" * 19, "keep-alive", "Keep-Alive",
         "close", "Close", "keep-alive, close", "x", "chunked", "gzip", "websocket", "", " ", "a: b", "a:  b"],
    ),
    st.text(st.characters(max_codepoint=0xFF), max_size=6),
)  # fmt: skip
LINES = st.builds(lambda name, between, value: name + between + value, NAMES,
                  st.sampled_from([": ", ": ", ": ", ":", ":  ", " : ", ":\t"]), VALUES)  # fmt: skip
REASONS = st.one_of(st.sampled_from(["OK", "", " OK", "OK ", "Not: found", "\xe9t\xe9"]),
                    st.text(st.characters(max_codepoint=0xFF), max_size=6))  # fmt: skip
BODIES = st.sampled_from([b"", b"h", b"hello", b"hello, world", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])


@settings(max_examples=examples(400), deadline=None)
@given(method=METHODS, status=STATUSES, reason=REASONS, lines=st.lists(LINES, max_size=4), body=BODIES)
@example(method="GET", status="200", reason="OK", lines=["Content-Length: 5", "Proxy-Connection: close"], body=b"hello")
def test_whatever_is_plain_the_full_parser_reads_alike(
    method: str, status: str, reason: str, lines: list[str], body: bytes
) -> None:
    text = "\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""])
    assert_read_alike(method, text.encode("latin-1") + body)


@settings(max_examples=examples(400), deadline=None)
@given(method=METHODS, lines=st.lists(LINES, max_size=3), status=st.sampled_from(["200", "204", "304", "404"]))
def test_heads_with_one_good_length_are_read_alike_too(method: str, lines: list[str], status: str) -> None:
    """Nearer to what is plain, so that the other fields are the only ones to decide."""
    text = "\r\n".join([f"HTTP/1.1 {status} OK", "Content-Length: 5", *lines, "", ""])
    assert_read_alike(method, text.encode("latin-1") + b"hello")


@settings(max_examples=examples(400), deadline=None)
@given(method=METHODS, at=st.integers(0, 70), byte=st.binary(min_size=1, max_size=2))
def test_a_plain_head_with_a_byte_in_the_wrong_place_is_read_alike_or_left_alone(
    method: str, at: int, byte: bytes
) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-A: b\r\n\r\nhello"
    assert_read_alike(method, whole[:at] + byte + whole[at:])
    assert_read_alike(method, whole[:at] + byte + whole[at + len(byte) :])


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


def read_pairs(method: str, data: bytes) -> tuple[int, str, Fields, Framing, int]:
    """The head in its plain form, with pairs of names and values."""
    found = plain_head(method, data)
    assert found is not None
    status, reason, lines, framing, end = found
    fields = {name.lower(): value for name, value in field_pairs(lines)}
    assert lines[1:] == ("date" in fields, int(fields.get("content-length", "0")))
    return status, reason, field_pairs(lines), framing, end


LENGTH = "Content-Length: 5"


@pytest.mark.parametrize(
    ("method", "data", "status", "reason", "fields", "framing"),
    [
        ("GET", head(LENGTH), 200, "OK", [("Content-Length", "5")], Framing(5)),
        ("GET", head("content-length: 0"), 200, "OK", [("content-length", "0")], Framing(0)),
        ("GET", head(LENGTH, status="HTTP/1.1 599 "), 599, "", [("Content-Length", "5")], Framing(5)),
        ("GET", head("A: 1", LENGTH, "a: 2"), 200, "OK",
         [("A", "1"), ("Content-Length", "5"), ("a", "2")], Framing(5)),
        ("GET", head("Connection: Keep-Alive", "Keep-Alive: timeout=5", LENGTH), 200, "OK",
         [("Content-Length", "5")], Framing(5)),
        ("GET", head("date: x", "X-Keep-Alive: 5", LENGTH, "Keep-Alive: 5", "KEEP-ALIVE: 5"), 200, "OK",
         [("date", "x"), ("X-Keep-Alive", "5"), ("Content-Length", "5")], Framing(5)),
        ("HEAD", head(LENGTH), 200, "OK", [("Content-Length", "5")], NO_BODY),
        ("HEAD", head(), 200, "OK", [], NO_BODY),
        ("GET", head(status="HTTP/1.1 204 No Content"), 204, "No Content", [], NO_BODY),
        ("GET", head(LENGTH, status="HTTP/1.1 304 Not Modified"), 304, "Not Modified",
         [("Content-Length", "5")], NO_BODY),
    ],
)  # fmt: skip
def test_a_plain_head_is_read(
    method: str, data: bytes, status: int, reason: str, fields: Fields, framing: Framing
) -> None:
    """Without the fields that end here (RFC 9110 §7.6.1), and with the place where the body begins."""
    assert read_pairs(method, data + b"hello") == (status, reason, fields, framing, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(LENGTH)[:-1],
        head(LENGTH).replace(b"\r\n", b"\n"),
        head(LENGTH, status="HTTP/1.0 200 OK"),
        head(LENGTH, status="HTTP/2.0 200 OK"),
        head(LENGTH, status="http/1.1 200 OK"),
        head(LENGTH, status="HTTP/1.1  200 OK"),
        head(LENGTH, status="HTTP/1.1 200"),
        head(LENGTH, status="HTTP/1.1 200\tOK"),
        head(LENGTH, status="HTTP/1.1 200 O\x01K"),
        head(LENGTH, status="HTTP/1.1 2000 OK"),
        head(LENGTH, status="HTTP/1.1 +20 OK"),
        head(LENGTH, status="HTTP/1.1 \xb200 OK"),
        *(head(LENGTH, status=f"HTTP/1.1 {status} X") for status in (100, 101, 103, 199, 600, 999, "099")),
        head(),
        head(LENGTH, LENGTH),
        head(LENGTH, "content-length: 5"),
        *(head(f"Content-Length: {value}") for value in ("", "-1", "+5", "5,5", "5 5", "0x5", "\xb2", "9" * 19)),
        head(LENGTH, "Transfer-Encoding: chunked"),
        head("Transfer-Encoding: chunked"),
        head(LENGTH, "transfer-encoding: identity"),
        head(LENGTH, "Trailer: X-A"),
        head(LENGTH, "Upgrade: h2c"),
        head(LENGTH, "Connection: close"),
        head(LENGTH, "Connection: X-A"),
        head(LENGTH, "Connection: keep-alive, X-A"),
        head(LENGTH, "Proxy-Connection: close"),
        head(LENGTH, "X-A:b"),
        head(LENGTH, "X-A:  b"),
        head(LENGTH, "X-A: b "),
        head(LENGTH, "X-A:\tb"),
        head(LENGTH, "X-A: b\tc"),
        head(LENGTH, "X-A: "),
        head(LENGTH, "X-A"),
        head(LENGTH, "X A: b"),
        head(LENGTH, "X-A : b"),
        head(LENGTH, ": b"),
        head(LENGTH, " X-A: b"),
        head(LENGTH, "X-A: b", "\tc: d"),
        head(LENGTH, "\xe9: b"),
        head(LENGTH, "X-A: b\x00c"),
        head(LENGTH, "X-A: b\rc"),
        head(LENGTH, "X-A: b\nc: d"),
        head(LENGTH, "X-A: b\x85c"),
        head(LENGTH, "X-A: b\x7fc"),
        head(LENGTH, "X-A: \xe9"),
        head(LENGTH, status="HTTP/1.1 200 d\xe9j\xe0"),
        head(LENGTH, *(["X-A: b"] * MOST_FIELDS)),
    ],
)  # fmt: skip
def test_a_head_that_is_not_plain_is_left_to_the_full_parser(data: bytes) -> None:
    assert plain_head("GET", data + b"hello") is None


def test_a_head_with_as_many_fields_as_there_may_be_is_read() -> None:
    read = plain_head("GET", head(LENGTH, *(["X-A: b"] * (MOST_FIELDS - 1))))
    assert read is not None
    assert len(field_pairs(read[2])) == MOST_FIELDS


@pytest.mark.parametrize("at", range(len(head(LENGTH))))
def test_a_head_that_is_not_all_here_is_left_to_the_full_parser(at: int) -> None:
    assert plain_head("GET", head(LENGTH)[:at]) is None


def test_the_end_of_the_head_is_the_first_one() -> None:
    """A body that looks like fields is a body."""
    data = head(LENGTH)
    assert read_pairs("GET", data + b"A: b\r\n\r\n") == (200, "OK", [("Content-Length", "5")], Framing(5), len(data))


@pytest.mark.parametrize("body", [b"", b"hell", b"hello", b"hello!", b"hello" + head(LENGTH)])
def test_however_much_of_a_body_comes_it_is_read_alike(body: bytes) -> None:
    assert_read_alike("GET", head(LENGTH) + body)


test_any_response_is_read_as_by_another_library_or_rejected = property_test("response")
