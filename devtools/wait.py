"""Waiting for a condition with a deadline: the only way tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds that any wait of a test may take: a guard, not an expectation. A wait that hangs fails here with its message,
#: before the time-out of pytest ends the test. It is far longer than any wait takes on a busy machine.
PATIENCE = 60.0
#: Pauses grow with the time that a wait has taken, by this share of it and up to so many seconds: a wait for seconds
#: leaves the processor to what it waits for.
SHARE, LONGEST_PAUSE = 0.05, 0.1


def eventually(condition: Callable[[], T], expected: str, within: float = PATIENCE, every: float = 0.01) -> T:
    """The first true value of the condition; an OSError counts as false. It is evaluated `every` so many seconds at
    first, and less often in a wait that lasts.

    Fails after `within` seconds, with the text of what was `expected`.
    """
    began = time.monotonic()
    deadline = began + within
    while True:
        try:
            value: T | None = condition()
        except OSError:
            value = None
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {within:g} s: {expected}")
        time.sleep(max(every, min(SHARE * (now - began), LONGEST_PAUSE)))


def in_time(attempt: Callable[[], T], late: Callable[[T], object]) -> T:
    """The first result of `attempt` that is not `late`: for bounds so short that a busy machine sometimes misses them.
    Code that is too slow misses them every time, and fails here.
    """
    deadline = time.monotonic() + PATIENCE
    while late(result := attempt()):
        assert time.monotonic() < deadline, f"late each time, at last: {result}"
    return result
