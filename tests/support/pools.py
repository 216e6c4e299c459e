"""Pools and candidates for tests of what balances over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from lbflask.core.eligibility import select
from lbflask.core.model import ActiveHealth, Backend, Candidate, Health, Pool, Snapshot


def backend(name: str, weight: int = 1, *, backup: bool = False) -> Backend:
    return Backend(name, name, 80, f"http://{name}:80", weight, backup=backup)


def weighted(weights: Sequence[int]) -> tuple[Candidate, ...]:
    return tuple(Candidate(backend(f"b{index}", weight), weight) for index, weight in enumerate(weights))


def candidates(pool: Pool, snapshot: Snapshot) -> tuple[Candidate, ...]:
    """The backends of the pool that may serve, with their weights."""
    return select(pool, snapshot).candidates


def small_scope() -> Iterator[tuple[Candidate, ...]]:
    """The candidates of every pool of up to four backends with weights 0 to 3, for every set of them that is up."""
    for size in range(5):
        for weights in product(range(4), repeat=size):
            backends = tuple(backend(f"b{index}", weight) for index, weight in enumerate(weights))
            pool = Pool("p", backends)
            for up in product([Health.UP, Health.DOWN], repeat=size):
                active = {one.id: ActiveHealth(health) for one, health in zip(backends, up, strict=True)}
                chosen = candidates(pool, Snapshot(1, active, heartbeat=0.0, interval=1.0))
                able = {one.id for one, health in zip(backends, up, strict=True) if health is Health.UP and one.weight}
                assert {candidate.backend.id for candidate in chosen} == able
                yield chosen
