"""No backend far above its share: those that have all they may have in flight go behind the others, in their order.

A backend of weight w may have ceil(factor * (m + 1) * w / W) requests in flight, of the m that all W have and the one
to be placed (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018). With a factor of at
least 1 the bounds add up to more than m, so one of the backends always has room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.load_listener import LoadListener

if TYPE_CHECKING:
    from lbflask.core.strategies.schedule import Schedule


class _InFlight(LoadListener):
    """What all candidates together have in flight; one that is thought to have less than none has none."""

    __slots__ = ("_each", "total")

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._each = dict.fromkeys(names, 0)
        self.total = 0

    def _rebuild(self, loads: Mapping[str, int]) -> None:
        self._each = {name: max(0, loads.get(name, 0)) for name in self._each}
        self.total = sum(self._each.values())

    def _update(self, backend: str, load: int) -> None:
        before = self._each.get(backend)
        if before is not None:
            load = max(0, load)
            self._each[backend] = load
            self.total += load - before


class BoundedLoad:
    """Another schedule's order, within bounds."""

    __slots__ = ("_factor", "_in_flight", "_inner", "_total", "_weights")

    def __init__(self, inner: Schedule, factor: float, candidates: Sequence[Candidate]) -> None:
        self._inner = inner
        self._factor = factor
        self._weights = {candidate.backend.id: candidate.weight for candidate in candidates}
        self._total = sum(self._weights.values())
        self._in_flight: list[_InFlight] = []  # not in use now: one, unless threads order concurrently

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The backends that have room, then the full ones. What strangers have in flight does not count."""
        placed = self._factor * (1 + self._placed(loads))
        full = []
        for backend in self._inner.order(ticket, key, loads):
            if loads.get(backend.id, 0) < ceil(placed * self._weights[backend.id] / self._total):
                yield backend
            else:
                full.append(backend)
        yield from full

    def _placed(self, loads: Mapping[str, int]) -> int:
        """Requests in flight at the candidates."""
        try:
            in_flight = self._in_flight.pop()
        except IndexError:
            in_flight = _InFlight(self._weights)
        in_flight.follow(loads)
        total = in_flight.total
        self._in_flight.append(in_flight)
        return total


def compile(  # noqa: A001 - the strategy's verb
    inner: Callable[[Sequence[Candidate]], Schedule], factor: float, candidates: Sequence[Candidate]
) -> BoundedLoad:
    """The schedule of `inner` over the candidates, within `factor` (at least 1) times each one's share."""
    return BoundedLoad(inner(candidates), factor, candidates)
