"""Counts of the checks of credentials, by kind and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum


class AuthOutcome(StrEnum):
    """What a check of credentials came to."""

    ALLOWED = "allowed"  #: verified now
    CACHED = "cached"  #: verified before
    REFUSED = "refused"  #: no credentials, or wrong ones
    FAILED = "failed"  #: not possible: a service is down, or there are too many at once


class AuthCounts:
    """The checks of a worker since its start. Threads and greenlets may share it."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"AuthCounts({dict(self._counts)})"

    def add(self, kind: str, outcome: AuthOutcome) -> None:
        """Count one check."""
        self._counts[kind, outcome.value] += 1

    def items(self) -> Iterator[tuple[tuple[str, str], int]]:
        """The number of checks by kind and outcome."""
        yield from list(self._counts.items())
