"""In which line of a TOML file a key stands. tomllib tells no places, so it is asked about ever longer parts of it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, steps: Sequence[str | int]) -> int:
    """The line, from 1, in which the statement begins that gives the key its value; 0 where none does.

    A key is the steps that lead to it, such as `health`, `rise`; or `backends`, 0, `weight`.
    """
    names = [step for step in steps if isinstance(step, str)]
    lines = text.split("\n")
    for number, line in enumerate(lines if names else []):
        if names[-1] not in line:
            continue
        ends = (end for end in range(number + 1, len(lines) + 1) if _parsed(lines[:end]) is not None)
        end = next(ends, None)
        if end is not None and _has(_parsed(lines[:end]), steps):
            begins = (start for start in range(number, -1, -1) if _parsed(lines[:start]) is not None)
            return next(begins) + 1
    return 0


def _parsed(lines: list[str]) -> dict[str, Any] | None:
    """The values of a part of a file; None if it ends within a statement."""
    try:
        return tomllib.loads("\n".join(lines))
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _has(values: Any, steps: Sequence[str | int]) -> bool:
    for step in steps:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
