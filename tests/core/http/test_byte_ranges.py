from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.byte_ranges import UnsatisfiableRange, byte_range
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 3)),
        ("bytes=9-", (9, 1)),
        ("bytes=5-100", (5, 5)),
        ("bytes=5-" + "9" * 50, (5, 5)),
        ("bytes=-1", (9, 1)),
        ("bytes=-10", (0, 10)),
        ("bytes=-11", (0, 10)),
        ("bytes=-" + "9" * 50, (0, 10)),
        ("Bytes= 0-1 ", (0, 2)),
        ("bytes=" + "0" * 50 + "-1", (0, 2)),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("lines=0-1", None),
        ("bytes=0-1x", None),
        ("bytes=+1-2", None),
        ("bytes=1 - 2", None),
        ("bytes=\u0661-\u0662", None),
    ],
)
def test_a_range_is_a_part_of_the_file_or_all_of_it(text: str, part: tuple[int, int] | None) -> None:
    assert byte_range(text, 10) == part


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 50 + "-"])
def test_a_range_beyond_the_file_cannot_be_satisfied(text: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        byte_range(text, 10)


def test_an_empty_file_has_no_part() -> None:
    assert byte_range("bytes=-5", 0) is None
    with pytest.raises(UnsatisfiableRange):
        byte_range("bytes=0-", 0)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_every_part_lies_within_the_file(first: int, last: int, size: int) -> None:
    for text in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        try:
            part = byte_range(text, size)
        except UnsatisfiableRange:
            continue
        if part is not None:
            start, count = part
            assert 0 <= start < start + count <= size


@given(st.text("bytes=-,0123456789 ", max_size=40), st.integers(0, 1000))
def test_no_text_is_an_error(text: str, size: int) -> None:
    try:
        part = byte_range(text, size)
    except UnsatisfiableRange:
        return
    assert part is None or part[1] > 0


test_any_fields_have_an_answer = property_test("file_request")
