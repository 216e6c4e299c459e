from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.model import Candidate, Pool, Snapshot
from lbflask.core.strategies import STRATEGIES
from lbflask.core.strategies.round_robin import MOST_TURNS, RoundRobin, _turns
from tests.support.pools import backend, candidates, small_scope, weighted


def cycle_of(weights: Sequence[int]) -> int:
    return sum(weights) // gcd(*weights) if weights else 0


def picks(chosen: Sequence[Candidate], tickets: range) -> list[str]:
    schedule = RoundRobin(chosen)
    return [next(schedule.order(ticket)).id for ticket in tickets]


def test_every_order_of_every_small_pool_holds_each_candidate_exactly_once() -> None:
    for chosen in small_scope():
        schedule = RoundRobin(chosen)
        everyone = sorted(candidate.backend.id for candidate in chosen)
        for ticket in range(2 * max(1, cycle_of([candidate.weight for candidate in chosen]))):
            assert sorted(one.id for one in schedule.order(ticket)) == everyone


def test_the_picks_over_each_cycle_of_every_small_pool_equal_the_weights_exactly() -> None:
    for chosen in small_scope():
        weights = {candidate.backend.id: candidate.weight for candidate in chosen}
        length = cycle_of(list(weights.values()))
        reduced = {name: weight // gcd(*weights.values()) for name, weight in weights.items()}
        for start in (0, length):
            assert Counter(picks(chosen, range(start, start + length))) == reduced


def assert_smooth(chosen: Sequence[Candidate], cycles: int) -> None:
    """In every prefix each count is near its exact share.

    The bound: let t be the moment the last turn of the prefix fell due. A backend of weight w has then had every turn
    due before t, so its count is within 1/2 of t*w. The counts add up to the prefix's length m, so m is within the sum
    of those errors of t*W. For a share s = w/W the distance from m*s is therefore at most
    (1 - s)/2 for its own error and s*(n - 1)/2 for the others' together: 1/2 + s*(n - 2)/2, which is below 1 for two
    backends or three, and below 3/2 for four. No order can do better than 1/2 for two backends of equal weight.
    """
    total = sum(candidate.weight for candidate in chosen)
    counts: Counter[str] = Counter()
    tickets = range(cycles * cycle_of([one.weight for one in chosen]))
    for length, name in enumerate(picks(chosen, tickets), start=1):
        counts[name] += 1
        for candidate in chosen:
            share = Fraction(candidate.weight, total)
            bound = Fraction(1, 2) + share * (len(chosen) - 2) / 2 if len(chosen) > 1 else 0
            assert abs(counts[candidate.backend.id] - length * share) <= bound


def test_no_prefix_of_the_turns_of_a_small_pool_strays_from_the_exact_shares() -> None:
    for weights in {tuple(candidate.weight for candidate in chosen) for chosen in small_scope()}:
        assert_smooth(weighted(weights), cycles=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 256), min_size=1, max_size=8))
def test_large_pools_are_exact_over_a_cycle_too(weights: list[int]) -> None:
    length, divisor = cycle_of(weights), gcd(*weights)
    counts = Counter(picks(weighted(weights), range(length)))
    assert [counts[f"b{index}"] for index in range(len(weights))] == [weight // divisor for weight in weights]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 24), min_size=1, max_size=10))
def test_large_pools_are_smooth_too(weights: list[int]) -> None:
    assert_smooth(weighted(weights), cycles=1)


@given(st.lists(st.integers(1, 256), min_size=1, max_size=12), st.integers(0, 1 << 63))
def test_any_ticket_orders_each_candidate_exactly_once(weights: list[int], ticket: int) -> None:
    order = RoundRobin(weighted(weights)).order(ticket)
    assert sorted(one.id for one in order) == sorted(f"b{index}" for index in range(len(weights)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(0, 200), st.integers(0, 60))
def test_backends_of_equal_weight_differ_by_at_most_one_in_any_run_of_tickets(
    weights: list[int], start: int, length: int
) -> None:
    counts = Counter(picks(weighted(weights), range(start, start + length)))
    for weight in set(weights):
        equals = [counts[f"b{index}"] for index, other in enumerate(weights) if other == weight]
        assert max(equals) - min(equals) <= 1


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_a_dead_backend_spills_evenly_over_the_others(size: int) -> None:
    chosen = weighted([1] * size)
    schedule = RoundRobin(chosen)
    for dead in range(size):
        spilled: Counter[str] = Counter()
        for ticket in range(3 * size * (size - 1)):
            first, second, *_ = schedule.order(ticket)
            if first.id == f"b{dead}":
                spilled[second.id] += 1
        assert spilled == {f"b{other}": 3 for other in range(size) if other != dead}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.data())
def test_every_dead_backend_spills_evenly_whatever_the_weights(weights: list[int], data: st.DataObject) -> None:
    dead = data.draw(st.integers(0, len(weights) - 1))
    schedule = RoundRobin(weighted(weights))
    spilled: Counter[str] = Counter()
    for ticket in range(cycle_of(weights) * (len(weights) - 1)):
        first, second, *_ = schedule.order(ticket)
        if first.id == f"b{dead}":
            spilled[second.id] += 1
    assert set(spilled.values()) == {weights[dead] // gcd(*weights)}
    assert len(spilled) == len(weights) - 1


def test_a_ticket_gives_the_same_order_however_the_pool_lists_its_backends() -> None:
    backends = [backend("a", 3), backend("b"), backend("c", 2), backend("d")]
    orders = set()
    for listed in permutations(backends):
        schedule = RoundRobin(candidates(Pool("p", listed), Snapshot()))
        orders.add(tuple(tuple(one.id for one in schedule.order(ticket)) for ticket in range(30)))
    assert len(orders) == 1


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ([1], "b0 b0 b0"),
        ([1, 1, 1], "b0 b1 b2"),
        ([2, 2, 2], "b0 b1 b2"),  # as short as the weights allow
        ([2, 1], "b0 b1 b0"),
        ([5, 1, 1], "b0 b0 b0 b1 b2 b0 b0"),  # single turns fall due in the middle
    ],
)
def test_turns_are_spread_over_the_cycle(weights: list[int], turns: str) -> None:
    assert picks(weighted(weights), range(len(turns.split()))) == turns.split()


def test_the_others_follow_from_the_next_one_and_rotate_with_each_cycle() -> None:
    schedule = RoundRobin(weighted([1, 1, 1, 1]))
    orders = ["".join(one.id[1:] for one in schedule.order(ticket)) for ticket in range(2, 18, 4)]
    assert orders == ["2301", "2013", "2130", "2301"]


def test_an_empty_pool_orders_nobody() -> None:
    schedule = RoundRobin(())
    assert [tuple(schedule.order(ticket)) for ticket in (0, 1, 1 << 40)] == [(), (), ()]


def test_round_robin_is_a_strategy_by_its_name() -> None:
    assert next(STRATEGIES["round_robin"].compile(weighted([1, 1])).order(1)).id == "b1"


@pytest.mark.parametrize(
    "weights",
    [(10**9, 1), (10**18, 10**18 - 1, 1), tuple(range(1, 3000)), (1 << 400, 3)],
    ids=["two", "huge", "many", "bits"],
)
def test_a_cycle_is_bounded_whatever_the_weights(weights: tuple[int, ...]) -> None:
    turns = _turns(weights)
    assert len(turns) <= MOST_TURNS + len(weights)
    counts = Counter(turns)
    assert set(counts) == set(range(len(weights))), "nobody is left with nothing"
    assert min(counts.values()) == 1, "the shares of the lightest are far less than a turn"
    heaviest = max(range(len(weights)), key=weights.__getitem__)
    expected = Fraction(weights[heaviest], sum(weights))
    assert abs(Fraction(counts[heaviest], len(turns)) - expected) < Fraction(1, 100)


def test_a_common_factor_of_the_weights_makes_no_difference() -> None:
    plain, scaled = RoundRobin(weighted([2, 1, 1])), RoundRobin(weighted([2 * MOST_TURNS, MOST_TURNS, MOST_TURNS]))
    for ticket in range(24):
        assert [one.id for one in plain.order(ticket)] == [one.id for one in scaled.order(ticket)]


def test_a_thousand_backends_of_any_weights_share_exactly() -> None:
    weights = [1 + (number * 7919) % 256 for number in range(1000)]
    assert Counter(_turns(weights)) == Counter(dict(enumerate(weights)))


def test_a_repr_shows_the_number_of_backends() -> None:
    assert repr(RoundRobin(weighted([1, 2]))) == "RoundRobin(2 backends)"
