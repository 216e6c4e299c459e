from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice, pairwise, product
from math import log1p

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.model import Candidate
from lbflask.core.strategies.consistent_hash import CIRCLES, ConsistentHash
from lbflask.core.strategies.hashing import hash_of, mixed
from lbflask.core.strategies.round_robin import RoundRobin
from tests.support.pools import backend, weighted

KEYS = [f"10.0.{number // 256}.{number % 256}" for number in range(2_000)]


#: Every pool of up to four backends with weights 1 to 3.
SMALL = [weights for size in range(5) for weights in product(range(1, 4), repeat=size)]


def order(chosen: Sequence[Candidate], key: str) -> list[str]:
    return [one.id for one in ConsistentHash(chosen).order(0, key)]


def homes(chosen: Sequence[Candidate], keys: Sequence[str] = KEYS) -> dict[str, str]:
    schedule = ConsistentHash(chosen)
    return {key: next(schedule.order(0, key)).id for key in keys}


@given(st.lists(st.integers(1, 256), min_size=2, max_size=8), st.lists(st.text(max_size=6), max_size=20), st.data())
def test_a_backend_that_leaves_moves_its_own_keys_only_and_each_to_its_next(
    weights: list[int], keys: list[str], data: st.DataObject
) -> None:
    chosen = weighted(weights)
    gone = data.draw(st.integers(0, len(weights) - 1))
    with_it, without = ConsistentHash(chosen), ConsistentHash(chosen[:gone] + chosen[gone + 1 :])
    for key in keys:
        before = [one.id for one in with_it.order(0, key) if one.id != f"b{gone}"]
        assert [one.id for one in without.order(0, key)] == before


def test_every_set_of_every_small_pool_orders_a_key_as_the_whole_pool_does_but_for_those_that_are_missing() -> None:
    for weights in SMALL:
        pool = weighted(weights)
        for key in ("k", "10.0.0.1", "ü"):
            whole = order(pool, key)
            for size in range(len(pool)):
                for chosen in combinations(pool, size):
                    there = {candidate.backend.id for candidate in chosen}
                    assert order(chosen, key) == [name for name in whole if name in there]


def test_where_names_stand_is_worked_out_once_for_all_who_order_most_of_them() -> None:
    whole = ConsistentHash(weighted([1, 2, 1, 1]))
    expected = [list(whole.order(0, key)) for key in KEYS[:50]]
    one_left, lighter = ConsistentHash(weighted([1, 2, 1])), ConsistentHash(weighted([1, 1, 1, 1]))
    assert whole._circles is one_left._circles is lighter._circles
    grown, few = ConsistentHash(weighted([1] * 5)), ConsistentHash(weighted([1]))
    assert len({id(schedule._circles) for schedule in (whole, grown, few)}) == 3
    assert [list(whole.order(0, key)) for key in KEYS[:50]] == expected
    assert [one.id for one in few.order(0, "k")] == ["b0"]
    del whole, one_left, lighter, grown, few
    gc.collect()
    assert ConsistentHash(weighted([1, 1]))._circles.places.keys() == {"b0", "b1"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1, 1, 1, 2, 7, 256]), min_size=1, max_size=40), st.text(max_size=6))
def test_the_order_is_that_of_all_numbers_of_the_key_though_few_are_looked_at(weights: list[int], key: str) -> None:
    """The definition, word for word, and slowly."""
    hashed = hash_of(key)
    number, sign = hashed % 1024, -1 if hashed >> 10 & 1 else 1

    def score(candidate: Candidate) -> float:
        point = hash_of(candidate.backend.id) * (mixed(number) | 1) % 2**64 >> 20
        u = (point - (hashed >> 20)) * sign % 2**44 / 2**44
        return -log1p(-u) / candidate.weight

    pool = weighted(weights)
    scores = {candidate.backend.id: score(candidate) for candidate in pool}
    found = [scores[name] for name in order(pool, key)]
    assert len(found) == len(pool)
    assert all(one < other * (1 + 1e-6) for one, other in pairwise(found))


@pytest.mark.parametrize("size", [2, 3, 10, 100])
def test_the_circles_together_give_each_backend_nearly_the_same(size: int) -> None:
    """Measured on the circles themselves, as if keys were without number: within five times the usual difference."""
    ends = [hash_of(f"b{index}") for index in range(size)]
    shares = [0.0] * size
    for number in range(CIRCLES):
        circle = sorted((end * (mixed(number) | 1) % 2**64, index) for index, end in enumerate(ends))
        for (begin, one), (end, other) in pairwise([(circle[-1][0] - 2**64, circle[-1][1]), *circle]):
            for index in (one, other):  # keys go both ways
                shares[index] += (end - begin) / 2**65 / CIRCLES
    assert sum(shares) == pytest.approx(1.0)
    assert all(abs(share * size - 1) < 5 / (2 * CIRCLES) ** 0.5 for share in shares)


def test_a_thousand_backends_share_keys_and_spill_over_all_others() -> None:
    chosen = weighted([1] * 1000)
    schedule = ConsistentHash(chosen)
    counts: Counter[str] = Counter()
    spilled: Counter[str] = Counter()
    for number in range(60_000):
        first, second = islice(schedule.order(0, f"k{number}"), 2)
        counts[first.id] += 1
        if first.id == "b7":
            spilled[second.id] += 1
    assert len(counts) == 1000
    assert max(counts.values()) < 2 * 60
    assert min(counts.values()) > 60 / 2
    assert max(spilled.values()) <= 4  # chance alone gives one of a thousand so much


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(1, 100), st.data())
def test_more_weight_brings_keys_and_moves_none_between_the_others(
    weights: list[int], more: int, data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, len(weights) - 1))
    heavier = [weight + more * (index == changed) for index, weight in enumerate(weights)]
    before, after = homes(weighted(weights), KEYS[:200]), homes(weighted(heavier), KEYS[:200])
    assert {after[key] for key in before if after[key] != before[key]} <= {f"b{changed}"}


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 3], [1] * 10, [10, 1]])
def test_keys_are_shared_out_by_weight(weights: list[int]) -> None:
    counts = Counter(homes(weighted(weights)).values())
    for index, weight in enumerate(weights):
        expected = len(KEYS) * weight / sum(weights)
        assert abs(counts[f"b{index}"] - expected) < 4 * expected**0.5


def test_the_keys_of_a_dead_backend_are_shared_out_evenly_over_the_others() -> None:
    schedule = ConsistentHash(weighted([1] * 5))
    for dead in range(5):
        orders = [list(schedule.order(0, key)) for key in KEYS]
        spilled = Counter(order[1].id for order in orders if order[0].id == f"b{dead}")
        expected = sum(spilled.values()) / 4
        assert len(spilled) == 4
        assert all(abs(count - expected) < 4 * expected**0.5 for count in spilled.values())


def test_a_key_keeps_its_backend_whatever_the_ticket_the_load_and_the_version() -> None:
    schedule = ConsistentHash([Candidate(backend(name), 1) for name in ("a:80", "b:80", "c:80")])
    for ticket in (0, 1, 1 << 40):
        found = [next(schedule.order(ticket, key, {"a:80": ticket})).id for key in ("x", "é", "10.0.0.1", "", "y")]
        assert found == WRITTEN_DOWN


#: To change these is to move every client of every fleet to another backend.
WRITTEN_DOWN = ["a:80", "a:80", "b:80", "b:80", "c:80"]


def test_requests_without_a_key_go_in_turn() -> None:
    chosen = weighted([2, 1, 1])
    schedule, turns = ConsistentHash(chosen), RoundRobin(chosen)
    for ticket in range(12):
        assert list(schedule.order(ticket)) == list(turns.order(ticket))


def test_a_repr_shows_the_number_of_backends() -> None:
    whole = ConsistentHash(weighted([1, 2, 3]))
    assert repr(whole) == "ConsistentHash(3 backends)"
    assert repr(ConsistentHash(weighted([1, 2]))) == "ConsistentHash(2 backends)"
