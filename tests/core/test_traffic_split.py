from __future__ import annotations

import pytest

from lbflask.core.traffic_split import WeightedSplit

KEYS = [f"client-{number}" for number in range(10_000)]


@pytest.mark.parametrize("shares", [{"a": 95, "b": 5}, {"a": 50, "b": 30, "c": 20}, {"a": 99.5, "b": 0.5}])
def test_pools_get_their_shares_of_many_keys(shares: dict[str, float]) -> None:
    split = WeightedSplit("route", shares)
    pools = [split.pool(key) for key in KEYS]
    for pool, share in shares.items():
        expected = len(KEYS) * share / 100
        assert abs(pools.count(pool) - expected) < 5 * expected**0.5


def test_a_key_has_the_same_pool_every_time_and_everywhere() -> None:
    again = WeightedSplit("route", {"b": 5, "a": 95})
    split = WeightedSplit("route", {"a": 95, "b": 5})
    assert all(split.pool(key) == again.pool(key) for key in KEYS[:1000])


def test_keys_keep_their_pools_in_other_versions() -> None:
    """A change of these pools moves clients between the pools of every fleet that splits."""
    split = WeightedSplit("route", {"a": 50, "b": 30, "c": 20})
    assert "".join(map(split.pool, KEYS[:24])) == "bbacaaaccaaabbacabacaaba"


def test_when_a_share_grows_no_key_moves_but_towards_it() -> None:
    before, after = (
        WeightedSplit("route", {"stable": 95, "canary": 5}),
        WeightedSplit("route", {"stable": 80, "canary": 20}),
    )
    moved = {(before.pool(key), after.pool(key)) for key in KEYS}
    assert moved == {("stable", "stable"), ("stable", "canary"), ("canary", "canary")}


def test_a_pool_without_a_share_gets_nothing() -> None:
    split = WeightedSplit("route", {"a": 100, "b": 0})
    assert {split.pool(key) for key in KEYS[:100]} == {"a"}


def test_routes_do_not_split_alike() -> None:
    one, two = WeightedSplit("one", {"a": 50, "b": 50}), WeightedSplit("two", {"a": 50, "b": 50})
    same = sum(one.pool(key) == two.pool(key) for key in KEYS)
    assert abs(same - len(KEYS) / 2) < 500
