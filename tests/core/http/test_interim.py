"""Bytes of a response pass unchanged, but for framing fields of interim responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.interim import InterimFilter
from tests.support.changes import property_test

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\nA: b\r\n\r\n"
CLEAN_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nA: b\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"


def passed(*parts: bytes, limit: int = 1000) -> list[bytes]:
    interim = InterimFilter(limit)
    return [interim(part) for part in parts]


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (FINAL, FINAL),
        (CONTINUE + FINAL, CONTINUE + FINAL),
        (HINTS + HINTS + FINAL, CLEAN_HINTS + CLEAN_HINTS + FINAL),
        (HINTS.replace(b"\r\n", b"\n") + FINAL, CLEAN_HINTS.replace(b"\r\n", b"\n") + FINAL),
        (HINTS + SWITCHING + HINTS, CLEAN_HINTS + SWITCHING + HINTS),  # after a 101 nothing is HTTP
        (b"SSH-2.0", b"SSH-2.0"),
        (b"HTTP/1.1 1000 X\r\nContent-Length: 1\r\n\r\n", b"HTTP/1.1 1000 X\r\nContent-Length: 1\r\n\r\n"),
        (b"HTTP/1.1 10", b""),
    ],
)
def test_only_interim_responses_lose_their_framing(received: bytes, expected: bytes) -> None:
    assert passed(received) == [expected]
    assert b"".join(passed(*(received[at : at + 1] for at in range(len(received))))) == expected


@given(st.lists(st.sampled_from([HINTS, CONTINUE])), st.lists(st.integers(0, 200), max_size=6))
def test_the_parts_in_which_a_response_arrives_change_nothing(heads: list[bytes], sizes: list[int]) -> None:
    rest, parts = b"".join(heads) + FINAL, []
    for size in sizes:
        parts, rest = [*parts, rest[:size]], rest[size:]
    assert b"".join(passed(*parts, rest)) == b"".join(heads).replace(HINTS, CLEAN_HINTS) + FINAL


def test_a_head_of_an_interim_response_is_held_back_until_it_is_whole() -> None:
    assert passed(HINTS[:30], HINTS[30:] + FINAL[:20], FINAL[20:]) == [b"", CLEAN_HINTS + FINAL[:20], FINAL[20:]]


def test_a_head_longer_than_the_limit_passes_as_it_is() -> None:
    assert passed(HINTS[:50], HINTS[50:51], HINTS[51:], limit=50) == [b"", HINTS[:51], HINTS[51:]]


test_any_pieces_pass_alike = property_test("interim")
