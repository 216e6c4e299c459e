"""Waiting for a condition with a deadline: the only way tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, within: float = 10.0, every: float = 0.01) -> T:
    """The first true value that `look` gives; an OSError counts as not yet. Fails after `within` seconds,
    and looks `every` so many.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            value: T | None = look()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(every)
