"""One file a strategy, each only arithmetic: `compile(candidates)` gives a schedule, which orders them for a ticket.

`strategy_of` joins what a pool asks for: its strategy, the bound on loads, and the backups behind the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from lbflask.core.model import Candidate, Pool
from lbflask.core.strategies import (
    backups,
    bounded_load,
    consistent_hash,
    first,
    least_connections,
    power_of_two,
    round_robin,
)
from lbflask.core.strategies.schedule import Schedule

__all__ = ["STRATEGIES", "Schedule", "Strategy", "strategy_of"]


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
    "random_two": Strategy(power_of_two.compile, by_loads=True),
    "consistent_hash": Strategy(consistent_hash.compile, by_turn=False, by_key=True),
    "first": Strategy(first.compile, by_turn=False),
}


def strategy_of(pool: Pool) -> Strategy:
    """The pool's strategy, with what the pool wants of any."""
    compile_, by_turn, by_key, by_loads = STRATEGIES[pool.strategy]
    if pool.load_factor is not None:
        compile_, by_loads = partial(bounded_load.compile, compile_, pool.load_factor), True
    return Strategy(partial(backups.compile, compile_), by_turn, by_key, by_loads)
