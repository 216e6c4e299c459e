"""Waiting for a condition with a deadline: the only way tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds that any wait of a test may take. No expectation, but a guard: what hangs fails here, with its own message,
#: before pytest's time-out ends the test. Far more than anything takes on a machine that is busy with other work.
PATIENCE = 60.0


def eventually(look: Callable[[], T], what: str, within: float = PATIENCE, every: float = 0.01) -> T:
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


def in_time(attempt: Callable[[], T], late: Callable[[T], object]) -> T:
    """The first result of `attempt` that is not `late`: for what has to happen within a time-out or a bound so short
    that a busy machine misses it now and then. Code that is too slow misses it every time, and fails here.
    """
    deadline = time.monotonic() + PATIENCE
    while late(result := attempt()):
        assert time.monotonic() < deadline, f"late each time, at last: {result}"
    return result
