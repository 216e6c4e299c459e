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

#: Turns of a cycle at most, but one for each backend: those of a thousand backends of whatever weights. As many take
#: about a third of a second to put in order.
MOST_TURNS = 1 << 18


class RoundRobin:
    """A cycle of turns over the candidates."""

    __slots__ = ("_backends", "_cycle")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._backends = tuple(candidate.backend for candidate in candidates)
        self._cycle = _turns([candidate.weight for candidate in candidates])

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - turns go by neither
        """The backend whose turn it is, then the others, which are put in order only if they are asked for.

        The ticket is read as a number of two digits: the low one picks the first choice, the high one turns the
        rest. A backend that is dead but not yet known to be thus spills evenly over all others, and not onto its
        neighbour.
        """
        if not self._cycle:
            return
        backends = self._backends
        first = self._cycle[ticket % len(self._cycle)]
        yield backends[first]
        if len(backends) > 1:
            _, following = self.places(ticket)
            for place in (*range(following, len(backends)), *range(following)):
                if place != first:
                    yield backends[place]

    def places(self, ticket: int) -> tuple[int, int]:
        """Where in the pool the backend stands whose turn it is, and from where on the others follow, all round.

        The pool must not be empty.
        """
        round_, turn = divmod(ticket, len(self._cycle))
        first, count = self._cycle[turn], len(self._backends)
        return first, (first + 1 + round_ % (count - 1)) % count if count > 1 else first


def compile(candidates: Sequence[Candidate]) -> RoundRobin:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return RoundRobin(candidates)


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
