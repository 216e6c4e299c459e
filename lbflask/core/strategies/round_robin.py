"""Smooth weighted round robin, exact for the fleet: `ticket mod cycle` picks from a cycle that all processes compute.

The cycle spreads each backend's turns by the divisor method of Sainte-Laguë: the k-th turn (k = 0, 1, …) of a backend
of weight w is due at (2k + 1) / 2w, and turns are taken as they fall due (Balinski and Young, "Fair Representation",
1982). Over a whole cycle the turns equal the weights exactly, unless these would make it longer than MOST_TURNS: then
they are in proportion as nearly as so many turns allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import gcd

from lbflask.core.model import NO_LOADS, Backend, Candidate

#: The most turns of a cycle, although each backend has at least one: enough for a thousand backends of any weights. To
#: sort so many takes about a third of a second.
MOST_TURNS = 1 << 18


class RoundRobin:
    """A cycle of turns over the candidates."""

    __slots__ = ("_backends", "_cycle")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._cycle = _turns([candidate.weight for candidate in candidates])

    def __repr__(self) -> str:
        return f"RoundRobin({len(self._backends)} backends)"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - neither has an effect
        """The backend whose turn it is, then the others, which are computed only when they are needed.

        The ticket has two digits: the low one selects the first choice, the high one rotates the others. So the
        requests of a dead backend that no check has found yet go evenly to all others, and not to its neighbour.
        """
        if not self._cycle:
            return
        backends = self._backends
        first = self._cycle[ticket % len(self._cycle)]
        yield backends[first]
        _, following = self.places(ticket)
        for place in (*range(following, len(backends)), *range(following)):
            if place != first:
                yield backends[place]

    def places(self, ticket: int) -> tuple[int, int]:
        """The place in the pool of the backend whose turn it is, and the one from which the others follow, cyclically.

        The pool must not be empty.
        """
        round_, turn = divmod(ticket, len(self._cycle))
        first, count = self._cycle[turn], len(self._backends)
        return first, (first + 1 + round_ % (count - 1)) % count if count > 1 else first


def _turns(weights: Sequence[int]) -> tuple[int, ...]:
    """Indices of the candidates in the order of their turns; as short as the weights allow."""
    if not weights:
        return ()
    divisor, turns = gcd(*weights), sum(weights)
    reduced = [weight // divisor for weight in weights]
    if turns // divisor > MOST_TURNS:
        reduced = [max(1, weight * MOST_TURNS // turns) for weight in weights]
    if max(reduced) == 1:
        return tuple(range(len(reduced)))
    due = sorted(((2 * k + 1) / weight, index) for index, weight in enumerate(reduced) for k in range(weight))
    return tuple(index for _, index in due)
