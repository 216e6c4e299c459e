"""Rendezvous hashing: the same key goes to the same backend, in every process, and moves only when it has to.

Each pair of key and backend has a number of its own between 0 and 1, u; the key goes where -ln(1 - u) / weight is least
(Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; with weights, Schindelhauer and
Schomaker, "Weighted Distributed Hash Tables", 2005). A backend that leaves gives its keys to all others, and takes the
same ones back; no other key moves.

To look at all pairs takes time in the number of backends, so u is a distance. All backends stand on each of many
circles, on each at another point; a key has a point on one of them, and a direction, and u is how far the backend is
from there. Those that are near come first, and the search ends as soon as none that is farther can be better.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain
from math import log1p

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies import round_robin
from lbflask.core.strategies.hashing import hash_of, mixed

#: Circles. The shares of backends differ by about 1 / sqrt(2 * CIRCLES) of a share, however many keys there are.
CIRCLES = 1024

_ALL = (1 << 64) - 1
#: Points on a circle are the upper bits of 64. On circles, the lower ones say who stands there, in hashes of keys the
#: circle and the direction.
_PLACE = (1 << 20) - 1
_POINT = _ALL - _PLACE
_CIRCLE = CIRCLES - 1
_BACKWARDS = CIRCLES


class ConsistentHash:
    """The candidates, on circles that are drawn when a key first needs them."""

    __slots__ = ("_backends", "_circles", "_equal", "_heaviest", "_seeds", "_turns", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._weights = tuple(candidate.weight for candidate in candidates)
        self._heaviest = max(self._weights, default=1)
        self._equal = min(self._weights, default=1) == self._heaviest
        self._seeds = [hash_of(backend.id) for backend in self._backends]
        self._circles: dict[int, array[int]] = {}
        self._turns = round_robin.compile(candidates)

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The backend of the key, then where the key would go without it, and so on; without a key, by turn."""
        if key is None:
            yield from self._turns.order(ticket, key, loads)
            return
        hashed = hash_of(key)
        number = hashed & _CIRCLE
        circle = self._circles.get(number)
        if circle is None:
            circle = self._circles[number] = self._drawn(number)
        backends = self._backends
        if self._equal:
            for place in _walk(circle, hashed):
                yield backends[circle[place] & _PLACE]
        else:
            for place in self._by_weight(circle, hashed):
                yield backends[place]

    def _drawn(self, number: int) -> array[int]:
        """The points of all on this circle, in order, with the place of each in its lower bits.

        A product with an odd number that looks like chance spreads seeds that look like chance (Dietzfelbinger et al.,
        "A Reliable Randomized Algorithm for the Closest-Pair Problem", 1997), at a third of the price of a hash.
        """
        factor = mixed(number) | 1
        return array("Q", sorted([seed * factor & _POINT | place for place, seed in enumerate(self._seeds)]))

    def _by_weight(self, circle: array[int], hashed: int) -> Iterator[int]:
        """Places in the pool in the order of -ln(1 - u) / weight; of equals the nearer one first."""
        point, backwards, heaviest = hashed & _POINT, hashed & _BACKWARDS, self._heaviest
        waiting: list[tuple[float, int, int]] = []
        for found in _walk(circle, hashed):
            there = circle[found]
            distance = (point - there if backwards else there - point) & _ALL
            time = -log1p(-(distance >> 12) / (1 << 52))
            while waiting and waiting[0][0] <= time / heaviest:
                yield heappop(waiting)[2]
            place = there & _PLACE
            weight = self._weights[place]
            if weight == heaviest and not waiting:
                yield place
            else:
                heappush(waiting, (time / weight, distance, place))
        while waiting:
            yield heappop(waiting)[2]


def _walk(circle: array[int], hashed: int) -> Iterable[int]:
    """Where on the circle they stand, from the point of the key all round in its direction."""
    begin = bisect_left(circle, hashed & _POINT)
    if hashed & _BACKWARDS:
        return chain(range(begin - 1, -1, -1), range(len(circle) - 1, begin - 1, -1))
    return chain(range(begin, len(circle)), range(begin))


def compile(candidates: Sequence[Candidate]) -> ConsistentHash:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return ConsistentHash(candidates)
