"""Power of two choices: of two backends that are drawn by weight, the one with fewer requests in flight for its weight.

Loads of other processes arrive a moment late. The draw keeps all processes from sending their requests to the backend
that was least loaded before (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). It is a hash
of the ticket, so that the same ticket draws the same two backends in every process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.hashing import mixed


class RandomTwo:
    """The candidates on a line from which two are drawn, each with its weight as length."""

    __slots__ = ("_backends", "_ends", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._weights = tuple(candidate.weight for candidate in candidates)
        self._ends = tuple(accumulate(self._weights))

    def __repr__(self) -> str:
        return f"RandomTwo({len(self._backends)} backends)"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - the key has no effect
        """The less loaded of the two, the other one, and the rest from a place that is drawn too.

        Of two that are equal, the one drawn first: without loads, the shares approach the weights.
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
        """Two different places of at least two. The second draw excludes the part of the line that the first hit."""
        ends, weights = self._ends, self._weights
        first = bisect_right(ends, (drawn & 0xFFFFFFFF) % ends[-1])
        point = (drawn >> 32) % (ends[-1] - weights[first])
        if point >= ends[first] - weights[first]:
            point += weights[first]
        return first, bisect_right(ends, point)
