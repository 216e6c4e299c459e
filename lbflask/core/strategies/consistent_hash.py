"""Rendezvous hashing: the same key goes to the same backend in every process, and moves only when that backend leaves.

Each pair of key and backend has a number u between 0 and 1; the key goes where -ln(1 - u) / weight is least
(Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; with weights, Schindelhauer and
Schomaker, "Weighted Distributed Hash Tables", 2005). When a backend leaves, its keys go to all others, and the same
ones return with it; no other key moves.

To compute all pairs would take time in the number of backends, so u is a distance. Each of many circles has one point
for each backend. A key has a point on one circle, and a direction; u is the distance from there to the backend. The
nearest backends come first, and the search ends as soon as no farther one can be better.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain
from math import log1p
from weakref import ref

from mypy_extensions import mypyc_attr

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.hashing import hash_of, mixed
from lbflask.core.strategies.round_robin import RoundRobin

#: Circles. The shares of backends differ by about 1 / sqrt(2 * CIRCLES) of a share, for any number of keys.
CIRCLES = 1024

_ALL = (1 << 64) - 1
#: The upper bits of 64 are a point on a circle. The lower ones are the place of the backend at a point of a circle, and
#: the circle and the direction in the hash of a key.
_PLACE = (1 << 20) - 1
_POINT = _ALL - _PLACE
_CIRCLE = CIRCLES - 1
_BACKWARDS = CIRCLES


@mypyc_attr(native_class=False)  # which weak references need
class Circles:
    """The points of names on each circle, which is drawn when a key first needs it. They depend only on the names, so
    that all schedules over some of these names share them.
    """

    __slots__ = ("__weakref__", "_drawn", "_seeds", "places")

    def __init__(self, names: Sequence[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        self._seeds = [hash_of(name) for name in names]
        self._drawn: dict[int, array[int]] = {}

    def circle(self, number: int) -> array[int]:
        """The points of all names, sorted, each with the place of its name in its lower bits.

        A product of pseudo-random seeds with an odd pseudo-random number is as well spread (Dietzfelbinger et al.,
        "A Reliable Randomized Algorithm for the Closest-Pair Problem", 1997), at a third of the price of a hash.
        """
        drawn = self._drawn.get(number)
        if drawn is None:
            factor = mixed(number) | 1
            points = sorted([seed * factor & _POINT | place for place, seed in enumerate(self._seeds)])
            drawn = self._drawn[number] = array("Q", points)
        return drawn


#: Those in use: without them all circles would be drawn anew when a backend goes down, returns or changes its weight.
_in_use: list[ref[Circles]] = []


def _circles_of(names: Sequence[str]) -> Circles:
    """Circles that have all of these names, and at most as many others, so that a walk finds these soon."""
    wanted = set(names)
    known = [circles for circles in [reference() for reference in _in_use] if circles is not None]
    for circles in known:
        if len(circles.places) <= 2 * len(wanted) and wanted <= circles.places.keys():
            return circles
    drawn = Circles(names)
    _in_use[:] = [ref(circles) for circles in (*known, drawn)]
    return drawn


class ConsistentHash:
    """The candidates by their distances on circles."""

    __slots__ = ("_backends", "_circles", "_equal", "_heaviest", "_turns", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._circles = _circles_of([candidate.backend.id for candidate in candidates])
        places = self._circles.places
        self._backends: list[Backend | None] = [None] * len(places)
        self._weights = [0] * len(places)
        for candidate in candidates:
            place = places[candidate.backend.id]
            self._backends[place], self._weights[place] = candidate.backend, candidate.weight
        weights = {candidate.weight for candidate in candidates}
        self._heaviest, self._equal = max(weights, default=1), len(weights) < 2
        self._turns = RoundRobin(candidates)

    def __repr__(self) -> str:
        return f"ConsistentHash({len(self._backends) - self._backends.count(None)} backends)"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The backend of the key, then the one where the key would go without it, and so on; without a key, by turn."""
        if key is None:
            yield from self._turns.order(ticket, key, loads)
            return
        hashed, backends = hash_of(key), self._backends
        circle = self._circles.circle(hashed & _CIRCLE)
        places = _walk(circle, hashed) if self._equal else self._by_weight(circle, hashed)
        for place in places:
            backend = backends[place & _PLACE]
            if backend is not None:
                yield backend

    def _by_weight(self, circle: array[int], hashed: int) -> Iterator[int]:
        """Places in the order of -ln(1 - u) / weight, the nearer of equal ones first."""
        point, backwards, heaviest = hashed & _POINT, hashed & _BACKWARDS, self._heaviest
        waiting: list[tuple[float, int, int]] = []
        for there in _walk(circle, hashed):
            weight = self._weights[there & _PLACE]
            if not weight:
                continue
            distance = (point - there if backwards else there - point) & _ALL
            time = -log1p(-(distance >> 12) / (1 << 52))
            while waiting and waiting[0][0] <= time / heaviest:
                yield heappop(waiting)[2]
            if weight == heaviest:  # better than all that wait, and than all farther ones
                yield there & _PLACE
            else:
                heappush(waiting, (time / weight, distance, there & _PLACE))
        while waiting:
            yield heappop(waiting)[2]


def _walk(circle: array[int], hashed: int) -> Iterator[int]:
    """The points of the circle, once around from the point of the key in its direction."""
    begin = bisect_left(circle, hashed & _POINT)
    if hashed & _BACKWARDS:
        return map(circle.__getitem__, chain(range(begin - 1, -1, -1), range(len(circle) - 1, begin - 1, -1)))
    return map(circle.__getitem__, chain(range(begin, len(circle)), range(begin)))
