"""Byte ranges (RFC 9110 §14): one range is served. A request for several gets the whole file, as §14.2 allows."""

from __future__ import annotations

import re
from typing import Final

from lbflask.core.http.field_names import decimal

_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
#: A position beyond any file: those behind it count as one.
_MOST: Final = 1 << 63


class UnsatisfiableRange(Exception):
    """No byte of the file is in the range: 416 (RFC 9110 §15.5.17)."""


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """The first byte and the number of bytes that a Range asks for; None where the whole file is the answer.

    That is for several ranges, for another unit, for what is no range, and for the last bytes of an empty file.
    Raises UnsatisfiableRange.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        if not last:
            return None
        count = _position(last)
        if count == 0:
            raise UnsatisfiableRange
        count = min(count, size)
        return (size - count, count) if size else None
    start = _position(first)
    end = _position(last) if last else _MOST
    if end < start and last:
        return None
    if start >= size:
        raise UnsatisfiableRange
    return start, min(end, size - 1) - start + 1


def _position(digits: str) -> int:
    return decimal(digits, _MOST) or 0
