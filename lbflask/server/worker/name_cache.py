"""A bounded cache of facts about header names, keyed by exact spelling; bounded because clients choose spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Spelling = TypeVar("Spelling")
Facts = TypeVar("Facts")


class HeaderNameCache(dict[Spelling, Facts], Generic[Spelling, Facts]):
    """What `compute` says of a spelling; it is remembered for the first `most` of them, and then costs one look-up."""

    def __init__(self, compute: Callable[[Spelling], Facts], limit: int) -> None:
        super().__init__()
        self._compute = compute
        self._limit = limit

    def __missing__(self, spelling: Spelling) -> Facts:
        facts = self._compute(spelling)
        if len(self) < self._limit:
            self[spelling] = facts
        return facts
