"""Least connections: the backend with the fewest requests in flight for its weight, over the whole fleet.

Backends that are equal in this take turns as in weighted round robin, so that an idle pool is shared exactly, and
processes that see the same loads but hold different tickets do not all pick the same backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

from lbflask.core.in_flight import LoadListener
from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.round_robin import RoundRobin


class Levels(LoadListener):
    """Which backends have the same number of requests in flight for each unit of weight, lowest first.

    The backends of a level are the bits of an integer: the next one in turn is found in a few machine words even among
    a thousand.
    """

    __slots__ = ("_at", "_heap", "_members", "_places", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        super().__init__()
        self._weights = [candidate.weight for candidate in candidates]
        self._places = {candidate.backend.id: place for place, candidate in enumerate(candidates)}
        self._at: list[float] = []  # the level of each place
        self._members: dict[float, int] = {}  # of the levels in the heap, which may be empty
        self._heap: list[float] = []

    def lowest(self) -> int:
        """The backends of the lowest level, as bits by their places. There must be candidates."""
        while True:
            members = self._members[self._heap[0]]
            if members:
                return members
            del self._members[heappop(self._heap)]

    def _rebuild(self, loads: Mapping[str, int]) -> None:
        self._at = [loads.get(name, 0) / weight for name, weight in zip(self._places, self._weights, strict=True)]
        members: dict[float, int] = {}
        for place, level in enumerate(self._at):
            members[level] = members.get(level, 0) | 1 << place
        self._members, self._heap = members, list(members)
        heapify(self._heap)

    def _update(self, backend: str, load: int) -> None:
        place = self._places.get(backend)
        if place is None:
            return
        level, before = load / self._weights[place], self._at[place]
        if level == before:
            return
        self._at[place] = level
        self._members[before] ^= 1 << place
        if level in self._members:
            self._members[level] |= 1 << place
        else:
            self._members[level] = 1 << place
            heappush(self._heap, level)


class LeastConnections:
    """The turns of round robin, sorted by load."""

    __slots__ = ("_backends", "_candidates", "_levels", "_turns", "_weights")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._weights = {candidate.backend.id: candidate.weight for candidate in candidates}
        self._turns = RoundRobin(candidates)
        self._levels: list[Levels] = []  # unused now: one, unless threads order concurrently

    def __repr__(self) -> str:
        return f"LeastConnections({len(self._backends)} backends)"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """By requests in flight for each unit of weight, then by turn."""
        if not self._backends:
            return
        best = self._backends[self._best(ticket, loads)]
        yield best
        weights = self._weights

        def relative(backend: Backend) -> float:
            return loads.get(backend.id, 0) / weights[backend.id]

        turns = list(self._turns.order(ticket, key, loads))
        turns.remove(best)
        yield from sorted(turns, key=relative)

    def _best(self, ticket: int, loads: Mapping[str, int]) -> int:
        """The first in turn of the lowest level."""
        try:
            levels = self._levels.pop()
        except IndexError:
            levels = Levels(self._candidates)
        levels.follow(loads)
        lowest = levels.lowest()
        self._levels.append(levels)
        first, following = self._turns.places(ticket)
        if lowest >> first & 1:
            return first
        behind = lowest >> following
        if behind:
            return following + (behind & -behind).bit_length() - 1
        return (lowest & -lowest).bit_length() - 1
