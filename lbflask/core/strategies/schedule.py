"""The result of compiling a strategy for one set of candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from lbflask.core.model import NO_LOADS, Backend


class Schedule(Protocol):
    """A strategy compiled for one set of candidates."""

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """Every candidate once, best first. The same ticket, key and loads give the same order in every process.

        `key` is what the request is hashed by, None if it has nothing of the kind; `loads` are requests in flight by
        backend. Most requests need the first only, so what follows it is worked out when it is asked for.
        """
        ...
