from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.model import Candidate
from lbflask.core.strategies import consistent_hash, round_robin
from tests.support.pools import backend, weighted

KEYS = [f"10.0.{number // 256}.{number % 256}" for number in range(2_000)]


def homes(chosen: Sequence[Candidate], keys: Sequence[str] = KEYS) -> dict[str, str]:
    schedule = consistent_hash.compile(chosen)
    return {key: next(schedule.order(0, key)).id for key in keys}


@given(st.lists(st.integers(1, 256), min_size=2, max_size=8), st.lists(st.text(max_size=6), max_size=20), st.data())
def test_a_backend_that_leaves_moves_its_own_keys_only_and_each_to_its_next(
    weights: list[int], keys: list[str], data: st.DataObject
) -> None:
    chosen = weighted(weights)
    gone = data.draw(st.integers(0, len(weights) - 1))
    with_it, without = consistent_hash.compile(chosen), consistent_hash.compile(chosen[:gone] + chosen[gone + 1 :])
    for key in keys:
        before = [one.id for one in with_it.order(0, key) if one.id != f"b{gone}"]
        assert [one.id for one in without.order(0, key)] == before


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
    schedule = consistent_hash.compile(weighted([1] * 5))
    for dead in range(5):
        orders = [list(schedule.order(0, key)) for key in KEYS]
        spilled = Counter(order[1].id for order in orders if order[0].id == f"b{dead}")
        expected = sum(spilled.values()) / 4
        assert len(spilled) == 4
        assert all(abs(count - expected) < 4 * expected**0.5 for count in spilled.values())


def test_a_key_keeps_its_backend_whatever_the_ticket_the_load_and_the_version() -> None:
    schedule = consistent_hash.compile([Candidate(backend(name), 1) for name in ("a:80", "b:80", "c:80")])
    for ticket in (0, 1, 1 << 40):
        found = [next(schedule.order(ticket, key, {"a:80": ticket})).id for key in ("x", "é", "10.0.0.1", "")]
        assert found == WRITTEN_DOWN


#: To change these is to move every client of every fleet to another backend.
WRITTEN_DOWN = ["b:80", "c:80", "a:80", "c:80"]


def test_requests_without_a_key_go_in_turn() -> None:
    chosen = weighted([2, 1, 1])
    schedule, turns = consistent_hash.compile(chosen), round_robin.compile(chosen)
    for ticket in range(12):
        assert list(schedule.order(ticket)) == list(turns.order(ticket))
