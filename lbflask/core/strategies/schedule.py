"""The result of compiling a strategy for one set of candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from lbflask.core.model import NO_LOADS, Backend, Candidate


class Schedule(Protocol):
    """A strategy compiled for one set of candidates; an empty one orders nothing."""

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """Every candidate once, best first. The same ticket, key and loads give the same order in every process.

        `key` is the value that the strategy hashes, None for a request without one; `loads` are the requests in flight
        by backend. Most requests need only the first backend, so the others are computed when they are needed.
        """
        ...


#: Compiles a schedule over candidates.
Compile = Callable[[Sequence[Candidate]], Schedule]
