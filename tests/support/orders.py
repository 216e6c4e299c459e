"""Orders of schedules, as the names of their backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from lbflask.core.in_flight import Loads
from lbflask.core.strategies import Schedule
from lbflask.core.strategies.schedule import Compile
from tests.support.pools import weighted

#: Changes of loads: the number of a backend, or of a stranger, by how much, and whether an order follows.
MOVES = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), st.booleans()), max_size=80)


def names(
    schedule: Schedule, ticket: int = 0, key: str | None = "key", loads: Mapping[str, int] | None = None
) -> list[str]:
    return [one.id for one in schedule.order(ticket, key, {} if loads is None else loads)]


def assert_follows(compile_: Compile, weights: Sequence[int], moves: Sequence[tuple[int, int, bool]]) -> None:
    """Loads that change, at times to less than none, give the same orders as copies of them."""
    following, fresh, live = compile_(weighted(weights)), compile_(weighted(weights)), Loads({"b0": 1})
    for ticket, (number, count, look) in enumerate(moves):
        backend = f"b{number}"
        live.add(backend, count if live.get(backend, 0) < 4 else -5)
        if look:
            assert names(following, ticket, f"k{ticket}", live) == names(fresh, ticket, f"k{ticket}", dict(live))
