"""What holds for every strategy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.config.schema import Config
from lbflask.core.eligibility import candidates
from lbflask.core.in_flight import MOST_CHANGES, Loads
from lbflask.core.model import Candidate, Pool, Snapshot
from lbflask.core.strategies import STRATEGIES, Schedule, strategy_of
from lbflask.core.strategies.least_connections import Levels
from tests.support.pools import backend, small_scope, weighted

ALL = sorted(STRATEGIES)
KEYS = st.none() | st.text(max_size=8)


def names(
    schedule: Schedule, ticket: int = 0, key: str | None = "key", loads: dict[str, int] | None = None
) -> list[str]:
    return [one.id for one in schedule.order(ticket, key, loads or {})]


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

MOVES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 3), st.booleans()),  # a backend or a stranger, more or less, look
    max_size=80,
)


@pytest.mark.parametrize("factor", [None, 1.0, 1.5])
@pytest.mark.parametrize("name", ["least_connections", "random_two", "consistent_hash"])
@given(weights=st.lists(st.integers(1, 3), min_size=1, max_size=6), moves=MOVES)
def test_loads_that_are_followed_give_the_order_of_loads_that_are_read_anew(
    name: str, factor: float | None, weights: list[int], moves: list[tuple[int, int, bool]]
) -> None:
    compile_ = strategy_of(Pool("p", (), name, load_factor=factor)).compile
    following, fresh, live = compile_(weighted(weights)), compile_(weighted(weights)), Loads({"b0": 1})
    for ticket, (number, count, look) in enumerate(moves):
        backend_ = f"b{number}"
        live.add(backend_, count if live.get(backend_, 0) < 4 else -5)  # at times less than none
        if look:
            assert names(following, ticket, f"k{ticket}", live) == names(fresh, ticket, f"k{ticket}", dict(live))


def test_who_has_missed_too_many_changes_starts_anew() -> None:
    live = Loads({})
    schedule = STRATEGIES["least_connections"].compile(weighted([1, 1]))
    assert names(schedule, 0, None, live) == ["b0", "b1"]
    for _ in range(MOST_CHANGES):
        live.add("b1", 1)
    live.add("b0", 1)
    assert names(schedule, 1, None, live) == ["b0", "b1"]
    live.add("b0", MOST_CHANGES)
    assert names(schedule, 0, None, live) == ["b1", "b0"]


def test_other_loads_are_not_taken_for_those_followed_before() -> None:
    schedule = STRATEGIES["least_connections"].compile(weighted([1, 1]))
    one, other = Loads({"b0": 1}), Loads({"b1": 1})
    for _ in range(3):
        assert names(schedule, 0, None, one) == ["b1", "b0"]
        assert names(schedule, 0, None, other) == ["b0", "b1"]
        assert names(schedule, 0, None, {"b0": 2, "b1": 3}) == ["b0", "b1"]


def test_levels_that_nobody_is_at_any_more_are_forgotten() -> None:
    live, levels = Loads({}), Levels(weighted([1, 1, 1]))
    for load in range(1, 2000):
        for number in range(3):
            live.add(f"b{number}", 1)
        levels.follow(live)
        assert levels.lowest() == 0b111
        assert len(levels._heap) <= 2, load


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


# First


def test_the_first_that_can_serve_as_they_are_configured_serves_all() -> None:
    configured = (Candidate(backend("z"), 1, 0), Candidate(backend("a", 9), 9, 1), Candidate(backend("m"), 1, 2))
    by_id = sorted(configured, key=lambda candidate: candidate.backend.id)
    schedule = STRATEGIES["first"].compile(by_id)
    assert [names(schedule, ticket) for ticket in range(5)] == [["z", "a", "m"]] * 5
    assert names(STRATEGIES["first"].compile(by_id[:2])) == ["a", "m"]


# Backups


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


# Bounded load


def bounded(factor: float, weights: Sequence[int]) -> Schedule:
    return strategy_of(Pool("p", (), "consistent_hash", load_factor=factor)).compile(weighted(weights))


def test_a_full_backend_gives_the_request_to_the_next_of_its_key() -> None:
    usual = names(STRATEGIES["consistent_hash"].compile(weighted([1, 1, 1])))
    schedule = bounded(1.25, [1, 1, 1])
    assert names(schedule, loads={}) == usual
    assert names(schedule, loads={usual[0]: 1}) == [usual[1], usual[2], usual[0]]
    assert names(schedule, loads=dict.fromkeys(usual, 3)) == usual  # 1.25 * 10 / 3 has room for a fourth
    assert names(schedule, loads={usual[0]: 1, "stranger": 100}) == [usual[1], usual[2], usual[0]]


def test_what_is_thought_to_have_less_than_none_in_flight_gives_no_room_and_takes_none() -> None:
    usual = names(STRATEGIES["consistent_hash"].compile(weighted([1, 1, 1])))
    schedule = bounded(1.25, [1, 1, 1])
    assert names(schedule, loads=Loads({usual[1]: -9})) == usual
    assert names(schedule, loads=Loads({usual[0]: 1, usual[1]: -9})) == [usual[1], usual[2], usual[0]]


@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    factor=st.sampled_from([1.0, 1.1, 1.25, 2.0]),
    requests=st.lists(st.integers(0, 3), max_size=60),
)
def test_no_backend_ever_has_more_than_its_bound_while_requests_of_a_few_keys_pile_up(
    weights: list[int], factor: float, requests: list[int]
) -> None:
    schedule = bounded(factor, weights)
    loads = loads_of([0] * len(weights))
    for count, request in enumerate(requests, start=1):
        first = names(schedule, key=f"k{request}", loads=loads)[0]
        loads[first] += 1
        share = weights[int(first[1:])] / sum(weights)
        assert loads[first] < factor * count * share + 1


def test_only_what_a_strategy_goes_by_is_asked_for() -> None:
    asked = {name: strategy_of(Pool("p", (), name))[1:] for name in ALL}  # turns, key, loads
    assert asked == {
        "round_robin": (True, False, False),
        "least_connections": (True, False, True),
        "random_two": (True, False, True),
        "consistent_hash": (False, True, False),
        "first": (False, False, False),
    }
    assert strategy_of(Pool("p", (), "consistent_hash", load_factor=1.5))[1:] == (False, True, True)
