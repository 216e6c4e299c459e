"""Power of two choices: of two backends that are drawn by weight, the one with fewer requests in flight for its weight.

Drawing first keeps processes, which learn of each other's requests a moment late, from all rushing to the one that was
the least loaded (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). What is drawn is a hash
of the ticket, so the same ticket draws the same two everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.hashing import mixed


class RandomTwo:
    """The candidates, each as long as its weight, on a line from which two are drawn."""

    __slots__ = ("_backends", "_ends", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._weights = tuple(candidate.weight for candidate in candidates)
        self._ends = tuple(accumulate(self._weights))

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - drawn, whatever the key
        """The less loaded of the two, the other one, and the rest from a place that is drawn too.

        Of two that are equal the one drawn first: without loads, shares are those of the weights on the long run.
        """
        backends, weights = self._backends, self._weights
        if len(backends) < 2:
            yield from backends
            return
        drawn = mixed(ticket)
        best, other = self._two(drawn)
        if loads.get(backends[other].id, 0) * weights[best] < loads.get(backends[best].id, 0) * weights[other]:
            best, other = other, best
        yield backends[best]
        yield backends[other]
        rest = [backend for index, backend in enumerate(backends) if index not in (best, other)]
        if rest:
            start = mixed(drawn) % len(rest)
            yield from rest[start:]
            yield from rest[:start]

    def _two(self, drawn: int) -> tuple[int, int]:
        """Two different places of at least two. The second draw leaves out the part of the line that the first hit."""
        ends, weights = self._ends, self._weights
        first = bisect_right(ends, (drawn & 0xFFFFFFFF) % ends[-1])
        point = (drawn >> 32) % (ends[-1] - weights[first])
        if point >= ends[first] - weights[first]:
            point += weights[first]
        return first, bisect_right(ends, point)


def compile(candidates: Sequence[Candidate]) -> RandomTwo:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return RandomTwo(candidates)
