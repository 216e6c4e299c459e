"""One file a strategy, each only arithmetic: a class that compiles candidates to a schedule, which orders them.

`strategy_of` combines the settings of a pool: its strategy, the bound on loads, and the backups behind the others.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from lbflask.core.model import Pool
from lbflask.core.strategies.backups import with_backups
from lbflask.core.strategies.bounded_load import BoundedLoad
from lbflask.core.strategies.consistent_hash import ConsistentHash
from lbflask.core.strategies.first import First
from lbflask.core.strategies.least_connections import LeastConnections
from lbflask.core.strategies.power_of_two import RandomTwo
from lbflask.core.strategies.round_robin import RoundRobin
from lbflask.core.strategies.schedule import Compile, Schedule

__all__ = ["STRATEGIES", "Schedule", "Strategy", "strategy_of"]


class Strategy(NamedTuple):
    """How schedules are compiled, and which facts they depend on: no other facts are gathered.

    `reason` is the reason, in one word, for a choice that only the strategy makes (core/log_fields.py). A strategy by
    key has no turns, but orders a request without a key by turn.
    """

    compile: Compile
    reason: str
    by_turn: bool = True
    by_key: bool = False
    by_loads: bool = False


STRATEGIES: dict[str, Strategy] = {
    "round_robin": Strategy(RoundRobin, "turn"),
    "least_connections": Strategy(LeastConnections, "least", by_loads=True),
    "random_two": Strategy(RandomTwo, "random", by_loads=True),
    "consistent_hash": Strategy(ConsistentHash, "hash", by_turn=False, by_key=True),
    "first": Strategy(First, "first", by_turn=False),
}


def strategy_of(pool: Pool) -> Strategy:
    """The strategy of the pool, within its bound on loads, and with its backups last."""
    compile_, reason, by_turn, by_key, by_loads = STRATEGIES[pool.strategy]
    if pool.load_factor is not None:
        compile_, by_loads = partial(BoundedLoad, compile_, pool.load_factor), True
    return Strategy(partial(with_backups, compile_), reason, by_turn, by_key, by_loads)
