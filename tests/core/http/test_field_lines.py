"""Field lines as they stand in a head."""

from __future__ import annotations

from lbflask.core.http.field_lines import field_pairs
from lbflask.core.http.types import Fields


def test_lines_become_pairs_when_they_are_read() -> None:
    assert field_pairs((b"X-A: b: c\r\nx-a: d\r\n", False, 0)) == [("X-A", "b: c"), ("x-a", "d")]
    assert field_pairs((b"", False, 0)) == []


def test_pairs_stay_what_they_are() -> None:
    pairs: Fields = [("X-A", "b")]
    assert field_pairs(pairs) is pairs
