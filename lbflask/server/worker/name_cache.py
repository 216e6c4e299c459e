"""What there is to know of a field's name, worked out once for each spelling, up to a bound: others choose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Spelling = TypeVar("Spelling")
Known = TypeVar("Known")


class HeaderNameCache(dict[Spelling, Known], Generic[Spelling, Known]):
    """What `judge` says of a spelling; it is remembered for the first `most` of them, and then costs one look-up."""

    def __init__(self, judge: Callable[[Spelling], Known], most: int) -> None:
        super().__init__()
        self._judge = judge
        self._most = most

    def __missing__(self, spelling: Spelling) -> Known:
        known = self._judge(spelling)
        if len(self) < self._most:
            self[spelling] = known
        return known
