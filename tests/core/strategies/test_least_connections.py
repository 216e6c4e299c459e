from __future__ import annotations

from collections import Counter
from itertools import product
from math import gcd

from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.in_flight import MOST_CHANGES, Loads
from lbflask.core.strategies.least_connections import LeastConnections, Levels
from lbflask.core.strategies.round_robin import RoundRobin
from tests.support.orders import MOVES, assert_follows, names
from tests.support.pools import small_scope, weighted


def test_every_small_pool_with_every_small_load_goes_by_load_for_weight_and_then_by_turn() -> None:
    for weights in product(range(1, 4), repeat=3):
        chosen = weighted(weights)
        schedule, turns = LeastConnections(chosen), RoundRobin(chosen)
        for counts in product(range(3), repeat=3):
            loads = {f"b{index}": count for index, count in enumerate(counts)}
            relative = {f"b{index}": counts[index] * 36 // weights[index] for index in range(3)}  # exact: 36 = 4 * 9
            for ticket in range(6):
                order = [one.id for one in schedule.order(ticket, None, loads)]
                in_turn = [one.id for one in turns.order(ticket)]
                assert order == sorted(in_turn, key=lambda name: relative[name])


def test_of_several_that_are_equal_the_next_in_turn_is_first_wherever_the_others_are() -> None:
    chosen = weighted([1] * 4)
    schedule, turns = LeastConnections(chosen), RoundRobin(chosen)
    for counts in product(range(2), repeat=4):
        loads = {f"b{index}": count for index, count in enumerate(counts) if count}
        for ticket in range(12):
            assert names(schedule, ticket, None, loads) == sorted(names(turns, ticket), key=lambda name: name in loads)


def test_an_idle_pool_is_shared_out_exactly_by_weight() -> None:
    for chosen in small_scope():
        schedule = LeastConnections(chosen)
        weights = [candidate.weight for candidate in chosen]
        cycle = sum(weights) // gcd(*weights) if weights else 0
        counts = Counter(next(schedule.order(ticket)).id for ticket in range(cycle))
        assert counts == {one.backend.id: one.weight // gcd(*weights) for one in chosen}


def test_backends_of_equal_load_go_round_whatever_the_others_have() -> None:
    schedule = LeastConnections(weighted([1, 1, 1, 1]))
    for idle in ({"b0", "b1"}, {"b1", "b3"}, {"b0", "b2", "b3"}):
        loads = {f"b{index}": 0 if f"b{index}" in idle else 5 for index in range(4)}
        counts = Counter(next(schedule.order(ticket, None, loads)).id for ticket in range(24))
        assert set(counts) == idle


def test_a_dead_backend_of_an_idle_pool_spills_evenly() -> None:
    schedule = LeastConnections(weighted([1] * 4))
    for dead in range(4):
        orders = [list(schedule.order(ticket)) for ticket in range(12)]
        spilled = Counter(order[1].id for order in orders if order[0].id == f"b{dead}")
        assert spilled == {f"b{other}": 1 for other in range(4) if other != dead}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 80))
def test_requests_that_never_end_pile_up_in_proportion_to_the_weights(weights: list[int], requests: int) -> None:
    """When a backend gets its k-th request, none has fewer than k - 1 for its weight."""
    schedule = LeastConnections(weighted(weights))
    loads = {f"b{index}": 0 for index in range(len(weights))}
    for ticket in range(requests):
        loads[next(schedule.order(ticket, None, loads)).id] += 1
    lowest = min(loads[f"b{index}"] / weight for index, weight in enumerate(weights))
    assert all((loads[f"b{index}"] - 1) / weight <= lowest for index, weight in enumerate(weights))


def test_who_has_missed_too_many_changes_starts_anew() -> None:
    live = Loads({})
    schedule = LeastConnections(weighted([1, 1]))
    assert names(schedule, 0, None, live) == ["b0", "b1"]
    for _ in range(MOST_CHANGES):
        live.add("b1", 1)
    live.add("b0", 1)
    assert names(schedule, 1, None, live) == ["b0", "b1"]
    live.add("b0", MOST_CHANGES)
    assert names(schedule, 0, None, live) == ["b1", "b0"]


def test_other_loads_are_not_taken_for_those_followed_before() -> None:
    schedule = LeastConnections(weighted([1, 1]))
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


def test_loads_that_change_are_followed() -> None:
    schedule, loads = LeastConnections(weighted([1, 1, 1])), Loads({})
    for backend, count, order in (
        ("b0", 2, ["b1", "b2", "b0"]),
        ("stranger", 9, ["b1", "b2", "b0"]),
        ("b1", 1, ["b2", "b1", "b0"]),
        ("b2", 1, ["b1", "b2", "b0"]),
        ("b0", -2, ["b0", "b1", "b2"]),
    ):
        loads.add(backend, count)
        assert names(schedule, 0, None, loads) == order
    loads.add("b0", 1)
    loads.add("b0", -1)
    assert names(schedule, 0, None, loads) == ["b0", "b1", "b2"]


@given(weights=st.lists(st.integers(1, 3), min_size=1, max_size=6), moves=MOVES)
def test_any_loads_that_change_are_followed(weights: list[int], moves: list[tuple[int, int, bool]]) -> None:
    assert_follows(LeastConnections, weights, moves)


def test_the_next_in_turn_of_the_lowest_level_may_come_before_the_first_one() -> None:
    schedule = LeastConnections(weighted([1, 1, 1]))
    assert [next(schedule.order(ticket, None, {"b1": 1, "b2": 1})).id for ticket in range(6)] == ["b0"] * 6


def test_no_candidates_have_no_order() -> None:
    assert names(LeastConnections(())) == []


def test_a_repr_shows_the_number_of_backends() -> None:
    assert repr(LeastConnections(weighted([1, 2]))) == "LeastConnections(2 backends)"
