"""Statuses of responses in settings: single ones and classes, such as 404 and `5xx` (RFC 9110 §15)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_STATUS: Final = re.compile(r"([1-5])(?:([0-9][0-9])|[xX][xX])", re.ASCII)


def statuses_of(texts: Iterable[str]) -> frozenset[int]:
    """All statuses that these texts stand for. Raises ValueError for a text that is neither a status nor a class."""
    found: set[int] = set()
    for text in texts:
        match = _STATUS.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:32]!r} is no status: write one such as 404, or a class such as 5xx")
        hundreds = int(match[1]) * 100
        found.update(range(hundreds, hundreds + 100) if match[2] is None else (hundreds + int(match[2]),))
    return frozenset(found)
