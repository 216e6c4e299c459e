"""A bound on the load of each backend: those that have reached it go behind the others, in the same order.

A backend of weight w may have ceil(factor * (m + 1) * w / W) requests in flight, of the m that all W have and the new
one (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018). With a factor of at
least 1 the bounds add up to more than m, so one of the backends always has room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil

from lbflask.core.in_flight import LoadListener
from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.schedule import Compile


class _InFlight(LoadListener):
    """Requests in flight at all candidates together; a negative count, which a lost update leaves, is 0."""

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
    """The order of another schedule, within `factor` (at least 1) times the share of each candidate."""

    __slots__ = ("_factor", "_in_flight", "_inner", "_total", "_weights")

    def __init__(self, inner: Compile, factor: float, candidates: Sequence[Candidate]) -> None:
        self._inner = inner(candidates)
        self._factor = factor
        self._weights = {candidate.backend.id: candidate.weight for candidate in candidates}
        self._total = sum(self._weights.values())
        self._in_flight: list[_InFlight] = []  # unused now: one, unless threads order concurrently

    def __repr__(self) -> str:
        return f"BoundedLoad({self._inner!r}, {self._factor})"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The backends that have room, then the full ones. Requests at backends that are no candidates do not count."""
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
