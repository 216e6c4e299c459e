"""A bounded cache of facts about header names, keyed by exact spelling; bounded because clients choose spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Spelling = TypeVar("Spelling")
Facts = TypeVar("Facts")


class HeaderNameCache(dict[Spelling, Facts], Generic[Spelling, Facts]):
    """The result of `compute` for each spelling, kept for the first `limit` spellings."""

    def __init__(self, compute: Callable[[Spelling], Facts], limit: int) -> None:
        super().__init__()
        self._compute = compute
        self._limit = limit

    def __missing__(self, spelling: Spelling) -> Facts:
        facts = self._compute(spelling)
        if len(self) < self._limit:
            self[spelling] = facts
        return facts
