from __future__ import annotations

import pytest

from lbflask.core.model import Candidate, Pool
from lbflask.core.strategies import STRATEGIES, strategy_of
from tests.support.orders import names
from tests.support.pools import backend

ALL = sorted(STRATEGIES)


def with_backups(*backups: bool) -> tuple[Candidate, ...]:
    return tuple(Candidate(backend(f"b{index}", backup=is_one), 1, index) for index, is_one in enumerate(backups))


@pytest.mark.parametrize("factor", [None, 1.0])
@pytest.mark.parametrize("name", ALL)
def test_backups_stand_behind_all_others(name: str, factor: float | None) -> None:
    schedule = strategy_of(Pool("p", (), name, load_factor=factor)).compile(with_backups(True, False, True, False))
    for ticket in range(20):
        for loads in ({}, {"b1": 50}, {"b1": 50, "b3": 50}):
            order = names(schedule, ticket, f"k{ticket}", loads)
            assert (set(order[:2]), set(order[2:])) == ({"b1", "b3"}, {"b0", "b2"})


@pytest.mark.parametrize("name", ALL)
def test_backups_alone_serve_by_the_same_strategy(name: str) -> None:
    schedule = strategy_of(Pool("p", (), name)).compile(with_backups(True, True, True))
    usual = STRATEGIES[name].compile(with_backups(False, False, False))
    for ticket in range(20):
        assert names(schedule, ticket, f"k{ticket}") == names(usual, ticket, f"k{ticket}")


def test_a_repr_shows_both_schedules() -> None:
    usual, spare = Candidate(backend("a"), 1), Candidate(backend("b", backup=True), 1)
    schedule = strategy_of(Pool("p", ())).compile([usual, spare])
    assert repr(schedule) == "Backups(RoundRobin(1 backends), RoundRobin(1 backends))"
    for alone in (usual, spare):
        assert repr(strategy_of(Pool("p", ())).compile([alone])) == "RoundRobin(1 backends)"
