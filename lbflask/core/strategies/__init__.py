"""One file a strategy, each only arithmetic: `compile(candidates)` gives a schedule, which orders them for a ticket.

`strategy_of` joins what a pool asks for: its strategy, the bound on loads, and the backups behind the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from lbflask.core.model import NO_LOADS, Backend, Candidate, Pool
from lbflask.core.strategies import (
    backups,
    bounded_load,
    consistent_hash,
    first,
    least_connections,
    random_two,
    round_robin,
)


class Schedule(Protocol):
    """A strategy compiled for one set of candidates."""

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """Every candidate once, best first. The same ticket, key and loads give the same order in every process.

        `key` is what the request is hashed by, None if it has nothing of the kind; `loads` are requests in flight by
        backend. Most requests need the first only, so what follows it is worked out when it is asked for.
        """
        ...


class Strategy(NamedTuple):
    """How schedules are made, and which facts these go by: others need not be gathered. Keys have no turns, but a
    request without one goes by turn.
    """

    compile: Callable[[Sequence[Candidate]], Schedule]
    by_turn: bool = True
    by_key: bool = False
    by_loads: bool = False


STRATEGIES: dict[str, Strategy] = {
    "round_robin": Strategy(round_robin.compile),
    "least_connections": Strategy(least_connections.compile, by_loads=True),
    "random_two": Strategy(random_two.compile, by_loads=True),
    "consistent_hash": Strategy(consistent_hash.compile, by_turn=False, by_key=True),
    "first": Strategy(first.compile, by_turn=False),
}


def strategy_of(pool: Pool) -> Strategy:
    """The pool's strategy, with what the pool wants of any."""
    compile_, by_turn, by_key, by_loads = STRATEGIES[pool.strategy]
    if pool.load_factor is not None:
        compile_, by_loads = partial(bounded_load.compile, compile_, pool.load_factor), True
    return Strategy(partial(backups.compile, compile_), by_turn, by_key, by_loads)
