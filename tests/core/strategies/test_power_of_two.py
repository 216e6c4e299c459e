from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.strategies.hashing import mixed
from lbflask.core.strategies.power_of_two import RandomTwo
from tests.support.orders import names
from tests.support.pools import weighted

MANY = 20_000  #: tickets; what is counted over them is the same in every run


def near(count: int, expected: float) -> bool:
    """Within five standard deviations of so many draws, at least."""
    return abs(count - expected) < 5 * MANY**0.5 / 2


def test_the_most_loaded_of_a_pool_is_never_chosen() -> None:
    schedule = RandomTwo(weighted([1, 1, 1, 1]))
    for counts in product(range(3), repeat=4):
        loads = {f"b{index}": count for index, count in enumerate(counts)}
        heaviest = [index for index in range(4) if counts[index] == max(counts)]
        if len(heaviest) == 1:
            assert all(next(schedule.order(ticket, None, loads)).id != f"b{heaviest[0]}" for ticket in range(30))


@given(
    weights=st.lists(st.integers(1, 256), min_size=2, max_size=6),
    loads=st.lists(st.integers(0, 20), min_size=6, max_size=6),
    ticket=st.integers(0, 1 << 63),
)
def test_the_choice_has_no_more_for_its_weight_than_the_second(
    weights: list[int], loads: list[int], ticket: int
) -> None:
    known = {f"b{index}": load for index, load in enumerate(loads)}
    best, other, *_ = RandomTwo(weighted(weights)).order(ticket, None, known)
    assert known[best.id] * other.weight <= known[other.id] * best.weight


def test_the_less_loaded_of_two_is_chosen_always() -> None:
    schedule = RandomTwo(weighted([1, 3]))
    assert {next(schedule.order(ticket, None, {"b0": 1, "b1": 2})).id for ticket in range(50)} == {"b1"}
    assert {next(schedule.order(ticket, None, {"b0": 1, "b1": 4})).id for ticket in range(50)} == {"b0"}
    for idle, busy in (("b0", "b1"), ("b1", "b0")):
        assert {next(schedule.order(ticket, None, {busy: 1})).id for ticket in range(50)} == {idle}


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 3, 4], [256, 1], [1, 1, 1, 1, 1, 1, 1]])
def test_an_idle_pool_is_shared_out_by_weight_on_the_long_run(weights: list[int]) -> None:
    schedule = RandomTwo(weighted(weights))
    counts = Counter(next(schedule.order(ticket)).id for ticket in range(MANY))
    for index, weight in enumerate(weights):
        assert near(counts[f"b{index}"], MANY * weight / sum(weights))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_dead_backend_spills_evenly_over_the_others(size: int) -> None:
    schedule = RandomTwo(weighted([1] * size))
    spilled: Counter[str] = Counter()
    for ticket in range(MANY):
        first, second, *_ = schedule.order(ticket)
        if first.id == "b0":
            spilled[second.id] += 1
    assert len(spilled) == size - 1
    assert all(near(count, MANY / size / (size - 1)) for count in spilled.values())


def test_two_dead_backends_spill_evenly_over_the_others() -> None:
    schedule = RandomTwo(weighted([1] * 5))
    orders = [names(schedule, ticket) for ticket in range(MANY)]
    spilled = Counter(third for first, second, third, *_ in orders if {first, second} == {"b0", "b1"})
    assert set(spilled) == {"b2", "b3", "b4"}
    assert all(near(count, sum(spilled.values()) / 3) for count in spilled.values())


def test_mixing_gives_each_number_another_and_turns_half_of_its_bits() -> None:
    assert len({mixed(number) for number in range(MANY)}) == MANY
    flipped = sum((mixed(number) ^ mixed(number + 1)).bit_count() for number in range(MANY)) / MANY
    assert 31.5 < flipped < 32.5
    assert mixed(0) == 0xE220A8397B1DCDAF  # the first of SplitMix64 from 0, as published


@pytest.mark.parametrize("weights", [[], [3]])
def test_of_fewer_than_two_nothing_is_drawn(weights: list[int]) -> None:
    assert names(RandomTwo(weighted(weights)), 7) == [f"b{index}" for index in range(len(weights))]


def test_two_have_no_rest() -> None:
    assert sorted(names(RandomTwo(weighted([1, 2])))) == ["b0", "b1"]


def test_a_repr_shows_the_number_of_backends() -> None:
    assert repr(RandomTwo(weighted([1, 2]))) == "RandomTwo(2 backends)"
