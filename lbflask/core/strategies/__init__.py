"""One file a strategy, each only arithmetic: `compile(candidates)` gives a schedule, which orders them for a ticket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies import round_robin


class Schedule(Protocol):
    """A strategy compiled for one set of candidates."""

    def order(self, ticket: int) -> Sequence[Backend]:
        """Every candidate once, best first. The same ticket gives the same order in every process."""
        ...


STRATEGIES: dict[str, Callable[[Sequence[Candidate]], Schedule]] = {
    "round_robin": round_robin.compile,
}
