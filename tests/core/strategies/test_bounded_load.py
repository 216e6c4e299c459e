from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.in_flight import Loads
from lbflask.core.strategies.bounded_load import BoundedLoad
from lbflask.core.strategies.consistent_hash import ConsistentHash
from tests.support.orders import names
from tests.support.pools import weighted


def bounded(factor: float, weights: Sequence[int]) -> BoundedLoad:
    return BoundedLoad(ConsistentHash, factor, weighted(weights))


def test_a_full_backend_gives_the_request_to_the_next_of_its_key() -> None:
    usual = names(ConsistentHash(weighted([1, 1, 1])))
    schedule = bounded(1.25, [1, 1, 1])
    assert names(schedule, loads={}) == usual
    assert names(schedule, loads={usual[0]: 1}) == [usual[1], usual[2], usual[0]]
    assert names(schedule, loads=dict.fromkeys(usual, 3)) == usual  # 1.25 * 10 / 3 has room for a fourth
    assert names(schedule, loads={usual[0]: 1, "stranger": 100}) == [usual[1], usual[2], usual[0]]


def test_what_is_thought_to_have_less_than_none_in_flight_gives_no_room_and_takes_none() -> None:
    usual = names(ConsistentHash(weighted([1, 1, 1])))
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
    loads = {f"b{index}": 0 for index in range(len(weights))}
    for count, request in enumerate(requests, start=1):
        first = names(schedule, key=f"k{request}", loads=loads)[0]
        loads[first] += 1
        share = weights[int(first[1:])] / sum(weights)
        assert loads[first] < factor * count * share + 1


def test_loads_that_change_are_followed() -> None:
    usual = names(ConsistentHash(weighted([1, 1, 1])))
    schedule, loads = bounded(1.25, [1, 1, 1]), Loads({})
    assert names(schedule, loads=loads) == usual
    loads.add(usual[0], 1)
    loads.add("stranger", 100)
    assert names(schedule, loads=loads) == [usual[1], usual[2], usual[0]]
    loads.add(usual[0], -1)
    assert names(schedule, loads=loads) == usual
    loads.add(usual[0], 2)
    loads.add(usual[2], 4)
    assert names(schedule, loads=loads) == usual  # 1.25 * 7 / 3 has room for a third


def test_requests_that_end_leave_less_room_for_others() -> None:
    usual = names(ConsistentHash(weighted([1, 1, 1])))
    schedule, loads = bounded(1.25, [1, 1, 1]), Loads({usual[0]: 1, usual[1]: 1})
    for change, order in ((0, usual), (-1, [usual[1], usual[2], usual[0]]), (1, usual)):
        loads.add(usual[1], change)
        assert names(schedule, loads=loads) == order


def test_a_repr_shows_the_bounded_schedule_and_the_factor() -> None:
    assert repr(BoundedLoad(ConsistentHash, 1.25, weighted([1, 2]))) == "BoundedLoad(ConsistentHash(2 backends), 1.25)"
