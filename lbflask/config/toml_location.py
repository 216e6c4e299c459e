"""Finds the line of a key in a TOML file. tomllib reports no positions, so that prefixes of the file are parsed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

#: Characters that are parsed to find one line; if that needs more, the error names the file without a line.
MOST_PARSED = 2_000_000


def line_of(text: str, steps: Sequence[str | int]) -> int:
    """The line, from 1, in which the statement begins that gives the key its value; 0 where none does.

    A key is the steps that lead to it, such as `health`, `rise`; or `backends`, 0, `weight`.
    """
    if not any(isinstance(step, str) for step in steps):
        return 0
    try:
        return _Search(text.split("\n")).first_with(steps)
    except _TooLong:
        return 0


def key_of(steps: Sequence[str | int]) -> str:
    """The key to which the steps lead, such as `routes[0].match.path`."""
    key = ""
    for step in steps:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
    return key


class _TooLong(Exception):
    """The search has parsed MOST_PARSED characters."""


class _Search:
    """Bisection over the prefixes of a file that are valid TOML: those up to the end of a statement."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._left = MOST_PARSED

    def first_with(self, steps: Sequence[str | int]) -> int:
        """The first line of the statement with which the key is there; 0 if it never is. Raises _TooLong."""
        low, high = 1, len(self._lines) + 1
        while low < high:
            middle = (low + high) // 2
            end, values = self._statement(middle)
            if _has(values, steps):
                high = middle
            else:
                low = end + 1
        return low if low <= len(self._lines) else 0

    def _statement(self, number: int) -> tuple[int, Any]:
        """The line that ends the statement in this line, and all values up to there; None where no statement ends."""
        beginning = "\n".join(self._lines[: number - 1])
        for end in range(number, len(self._lines) + 1):
            beginning = f"{beginning}\n{self._lines[end - 1]}" if end > 1 else self._lines[0]
            self._left -= len(beginning)
            if self._left < 0:
                raise _TooLong
            values = _parsed(beginning)
            if values is not None:
                return end, values
        return len(self._lines), None


def _parsed(text: str) -> dict[str, Any] | None:
    """The values of a part of a file; None if it ends within a statement."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _has(values: Any, steps: Sequence[str | int]) -> bool:
    for step in steps:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
