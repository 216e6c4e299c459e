"""What totals were before a window that ends now, so that the difference is what is recent."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

#: Seconds between two totals that are kept.
STEP = 0.9

Total = TypeVar("Total")


class RecentTotals(Generic[Total]):
    """The totals of the last `window` seconds, with those before: at first `nothing`. They may be of any type."""

    __slots__ = ("_marks", "_window")

    def __init__(self, window: float, nothing: Total) -> None:
        self._window = window
        self._marks: deque[tuple[float, Total]] = deque([(float("-inf"), nothing)])

    def __repr__(self) -> str:
        return f"<RecentTotals of {self._window:g} s: {self._marks[-1][1]}>"

    def before(self, now: float, total: Total) -> Total:
        """The total before the last `window` seconds, or at the last call before them; keeps the present one.

        `now` is of a steady clock, in seconds.
        """
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= now - self._window:
            marks.popleft()
        if now - marks[-1][0] >= STEP:
            marks.append((now, total))
        return marks[0][1]
