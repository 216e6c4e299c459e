"""What holds for every strategy."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.config.schema import Config
from lbflask.core.in_flight import Loads
from lbflask.core.log_fields import FIELDS
from lbflask.core.model import Pool, Snapshot
from lbflask.core.strategies import STRATEGIES, strategy_of
from tests.support.orders import MOVES, assert_follows, names
from tests.support.pools import backend, candidates, small_scope, weighted

ALL = sorted(STRATEGIES)
KEYS = st.none() | st.text(max_size=8)


def loads_of(counts: Sequence[int]) -> dict[str, int]:
    return {f"b{index}": count for index, count in enumerate(counts)}


def test_a_pool_may_have_each_strategy_by_its_name() -> None:
    assert sorted(get_args(Config.model_fields["strategy"].annotation)) == ALL


@pytest.mark.parametrize("factor", [None, 1.0, 1.5])
@pytest.mark.parametrize("name", ALL)
def test_every_order_of_every_small_pool_holds_each_candidate_exactly_once(name: str, factor: float | None) -> None:
    compile_ = strategy_of(Pool("p", (), name, load_factor=factor)).compile
    for chosen in small_scope():
        everyone = sorted(candidate.backend.id for candidate in chosen)
        schedule = compile_(chosen)
        for ticket in range(4):
            for loads in ({}, {"b0": 2, "b2": 1, "stranger": 9}):
                assert sorted(names(schedule, ticket, f"k{ticket}", loads)) == everyone
                assert sorted(names(schedule, ticket, None, loads)) == everyone


@pytest.mark.parametrize("name", ALL)
@given(weights=st.lists(st.integers(1, 256), min_size=1, max_size=12), ticket=st.integers(0, 1 << 63), key=KEYS)
def test_any_ticket_and_key_order_each_candidate_exactly_once(
    name: str, weights: list[int], ticket: int, key: str | None
) -> None:
    schedule = STRATEGIES[name].compile(weighted(weights))
    assert sorted(names(schedule, ticket, key)) == sorted(f"b{index}" for index in range(len(weights)))


@pytest.mark.parametrize("name", ALL)
def test_the_same_facts_give_the_same_order_in_every_process(name: str) -> None:
    one, other = (STRATEGIES[name].compile(weighted([3, 1, 2, 1])) for _ in range(2))
    for ticket in range(50):
        assert names(one, ticket, f"k{ticket}", {"b1": 1}) == names(other, ticket, f"k{ticket}", {"b1": 1})


@pytest.mark.parametrize("name", ALL)
def test_an_empty_pool_orders_nobody(name: str) -> None:
    for factor in (None, 1.25):
        schedule = strategy_of(Pool("p", (), name, load_factor=factor)).compile(())
        assert [names(schedule, ticket, key) for ticket in (0, 1, 1 << 40) for key in ("k", None)] == [[]] * 6


@pytest.mark.parametrize("name", ALL)
def test_a_pool_whose_weights_are_all_zero_orders_nobody(name: str) -> None:
    for size in range(1, 5):
        pool = Pool("p", tuple(backend(f"b{index}", 0) for index in range(size)), name)
        assert names(strategy_of(pool).compile(candidates(pool, Snapshot()))) == []


@pytest.mark.parametrize("name", ALL)
def test_two_cycles_of_every_small_pool_order_each_candidate_exactly_once(name: str) -> None:
    seen = set()
    for chosen in small_scope():
        weights = tuple((candidate.backend.id, candidate.weight) for candidate in chosen)
        if weights in seen:
            continue
        seen.add(weights)
        schedule = STRATEGIES[name].compile(chosen)
        everyone = sorted(candidate.backend.id for candidate in chosen)
        for ticket in range(2 * sum(weight for _, weight in weights)):
            assert sorted(names(schedule, ticket, f"k{ticket}", {"b0": ticket % 3})) == everyone


# Loads as they change


@pytest.mark.parametrize("factor", [None, 1.0, 1.5])
@pytest.mark.parametrize("name", ["least_connections", "random_two", "consistent_hash"])
@given(weights=st.lists(st.integers(1, 3), min_size=1, max_size=6), moves=MOVES)
def test_loads_that_are_followed_give_the_order_of_loads_that_are_read_anew(
    name: str, factor: float | None, weights: list[int], moves: list[tuple[int, int, bool]]
) -> None:
    assert_follows(strategy_of(Pool("p", (), name, load_factor=factor)).compile, weights, moves)


@pytest.mark.parametrize("name", ["least_connections", "consistent_hash"])
def test_threads_may_order_at_once(name: str) -> None:
    """As on gunicorn's threaded worker, where one writes loads at a time and any number reads."""
    schedule, live = strategy_of(Pool("p", (), name, load_factor=1.5)).compile(weighted([1, 2, 3, 1])), Loads({})
    lock = threading.Lock()

    def serve(number: int) -> None:
        for turn in range(200):
            first, *others = names(schedule, number + turn, f"k{turn}", live)
            assert sorted([first, *others]) == ["b0", "b1", "b2", "b3"]
            with lock:
                live.add(first, 1)
            with lock:
                live.add(first, -1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(serve, range(4)))
    assert live == {}
    assert names(schedule, 3, "k", live) == names(schedule, 3, "k", {})


def test_only_what_a_strategy_goes_by_is_asked_for() -> None:
    asked = {name: strategy_of(Pool("p", (), name))[2:] for name in ALL}  # turns, key, loads
    assert asked == {
        "round_robin": (True, False, False),
        "least_connections": (True, False, True),
        "random_two": (True, False, True),
        "consistent_hash": (False, True, False),
        "first": (False, False, False),
    }
    assert strategy_of(Pool("p", (), "consistent_hash", load_factor=1.5))[2:] == (False, True, True)


def test_the_reasons_of_the_strategies_are_those_of_the_access_log() -> None:
    reasons = [strategy.reason for strategy in STRATEGIES.values()]
    assert len(set(reasons)) == len(STRATEGIES)
    assert set(reasons) <= set(re.findall(r"`(\w+)`", FIELDS["why"]))
