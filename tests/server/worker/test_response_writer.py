"""The head of a response: field lines that pass as they stand are sent as the same fields in pairs are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbflask.core.http.field_lines import field_pairs
from lbflask.core.http.response_head import plain_head
from lbflask.server.worker.received_head import ReceivedHead
from lbflask.server.worker.response_writer import ResponseWriter, ShortResponse
from tests.support.selection import examples

BODY = b"hello"
LENGTH = "Content-Length: 5"
LINES = st.lists(
    st.one_of(
        st.sampled_from(["Date: today", "date: a", "X-Date: b", "Connection: keep-alive", "X-Connection: keep-alive"]),
        st.sampled_from(
            ["Keep-Alive: timeout=5", "Server: x", "Content-Type: a/b", "Set-Cookie: a=1", "set-cookie: b"]
        ),
        st.from_regex(r"X-[A-Za-z]{1,3}: [!-~]([ -~]{0,4}[!-~])?", fullmatch=True),
    ),
    max_size=5,
)


class Whole:
    """A request without a body."""

    complete = True


class Region:
    """A part of a file that has this content left."""

    fd, offset = 3, 0

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.left = len(content)
        self.trailers = [("X-Never", "sent")]

    @property
    def region(self) -> Region:
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield self.content

    def advance(self, count: int) -> None:
        self.left -= count


class Sender:
    """Sends a part of a file, but for what is missing."""

    def __init__(self, sent: list[bytes], missing: int = 0) -> None:
        self.sent = sent
        self.missing = missing

    def send_file(self, region: Any) -> None:
        count = region.left - self.missing
        self.sent.append(region.content[:count])
        region.advance(count)


def writer(sent: list[bytes], method: str, version: tuple[int, int], special: list[tuple[str, str]]) -> ResponseWriter:
    return ResponseWriter(sent.append, ReceivedHead(method, "/", version, [], special), Whole())


def undated(sent: list[bytes]) -> bytes:
    """What was sent, without the second in which it was."""
    return re.sub(rb"(?<=\nDate: )\w{3}, [^\r]+", b"", b"|".join(sent))


@settings(max_examples=examples(300), deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from([(1, 0), (1, 1)]),
    status=st.sampled_from(["200 OK", "404 ", "304 Not Modified", "599 A b"]),
    lines=LINES,
    place=st.integers(0, 5),
    options=st.sampled_from(["", "close", "keep-alive", "a, Close"]),
)
@example("GET", (1, 1), "200 OK", ["X-Connection: keep-alive", "Connection: keep-alive"], 0, "")
def test_lines_are_sent_as_pairs_are(
    method: str, version: tuple[int, int], status: str, lines: list[str], place: int, options: str
) -> None:
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines[:place], LENGTH, *lines[place:], "", ""]).encode()
    found = plain_head(method, head + BODY)
    assert found is not None
    special = [("CONNECTION", options)] if options else []
    by_lines: list[bytes] = []
    one = writer(by_lines, method, version, special)
    one.start_plain(status, found[2])
    one.write_all([BODY])
    by_pairs: list[bytes] = []
    other = writer(by_pairs, method, version, special)
    other.start_response(status, field_pairs(found[2]))
    other.write_all([BODY])
    assert undated(by_lines) == undated(by_pairs)
    assert one.closes == other.closes


@pytest.mark.parametrize("has_sender", [True, False])
def test_a_part_of_a_file_follows_the_head(has_sender: bool) -> None:
    sent: list[bytes] = []
    response = writer(sent, "GET", (1, 1), [])
    response.start_response("200 OK", [("Date", "x"), ("Content-Length", "5")])
    response.write_all(Region(BODY), Sender(sent) if has_sender else None)
    assert b"".join(sent) == b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nhello"
    assert not response.closes


def test_a_file_that_has_become_shorter_is_a_short_response() -> None:
    sent: list[bytes] = []
    response = writer(sent, "GET", (1, 1), [])
    response.start_response("200 OK", [("Content-Length", "5")])
    with pytest.raises(ShortResponse):
        response.write_all(Region(BODY), Sender(sent, missing=2))
    assert re.search(rb"\r\n\r\nhel$", b"".join(sent))


HSTS = "Strict-Transport-Security: max-age=60\r\n"


@pytest.mark.parametrize("has", [False, True])
@pytest.mark.parametrize("by_lines", [False, True])
def test_hsts_is_added_unless_the_response_has_its_own(has: bool, by_lines: bool) -> None:
    own = b"strict-transport-security: max-age=1\r\n" if has else b""
    found = plain_head("GET", b"HTTP/1.1 200 OK\r\n" + own + LENGTH.encode() + b"\r\n\r\n" + BODY)
    assert found is not None
    sent: list[bytes] = []
    response = ResponseWriter(sent.append, ReceivedHead("GET", "/", (1, 1), [], []), Whole(), hsts=HSTS)
    if by_lines:
        response.start_plain("200 OK", found[2])
    else:
        response.start_response("200 OK", field_pairs(found[2]))
    response.write_all([BODY])
    head = b"".join(sent).partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"strict-transport-security:") == 1
    assert (HSTS.strip().lower().encode() in head) is not has
