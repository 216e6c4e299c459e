"""Regular expressions of users, whose search time is bounded for any expression and any text.

The engine of the standard library can take time exponential in the length of the text, and cannot be stopped. The one
used here stops after a time limit, and lets other threads run meanwhile.
"""

from __future__ import annotations

import regex

#: Seconds of processor time that a search may take: a linear one of 256 KiB takes about a hundredth of that.
MOST_SECONDS = 0.25


class BadExpression(ValueError):
    """The text is not a regular expression; the message gives the reason."""


class BoundedExpression:
    """An expression in Python's syntax. Equal to any expression of the same `pattern`. Raises BadExpression."""

    def __init__(self, pattern: str, seconds: float = MOST_SECONDS) -> None:
        self.pattern = pattern
        self._seconds = seconds
        try:
            self._compiled = regex.compile(pattern)
        except regex.error as error:
            raise BadExpression(str(error)) from None
        except (OverflowError, RecursionError, MemoryError):
            raise BadExpression("it is too large") from None

    def search(self, text: str) -> bool:
        """Whether there is a match anywhere in the text. Raises TimeoutError."""
        return self._compiled.search(text, concurrent=True, timeout=self._seconds) is not None

    def __eq__(self, other: object) -> bool:
        return self.pattern == getattr(other, "pattern", None)

    def __hash__(self) -> int:
        return hash(self.pattern)
