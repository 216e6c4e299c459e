"""Least connections: the backend with the fewest requests in flight for its weight, over the whole fleet.

Backends that are equal in this go round as in weighted round robin, so that an idle pool is shared out exactly, and
processes that see the same loads but hold different tickets do not all pick the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies import round_robin


class LeastConnections:
    """The turns of round robin, sorted by load."""

    __slots__ = ("_turns", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._turns = round_robin.compile(candidates)
        self._weights = {candidate.backend.id: candidate.weight for candidate in candidates}

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """By requests in flight for each unit of weight; those that are equal, by turn."""
        turns = list(self._turns.order(ticket, key, loads))
        if not turns:
            return
        weights = self._weights

        def relative(backend: Backend) -> float:
            return loads.get(backend.id, 0) / weights[backend.id]

        best = min(turns, key=relative)  # the first of those that are equal
        yield best
        turns.remove(best)
        yield from sorted(turns, key=relative)


def compile(candidates: Sequence[Candidate]) -> LeastConnections:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return LeastConnections(candidates)
