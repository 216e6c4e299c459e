"""What workers tell of their latest attempts, added up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.fleet_stats import (
    BackendCounts,
    RecentStats,
    Worker,
    WorkerIdentity,
    WorkerReport,
    added,
    bucket_of,
    quantile,
    recent_stats,
)

latencies = st.floats(0.0001, 1600)


def worker(in_flight: dict[str, int], seconds: float = 10, **served: BackendCounts) -> Worker:
    return Worker("w", 0.0, in_flight, WorkerReport(WorkerIdentity(), 0.0, seconds, served))


@given(latencies)
def test_a_latency_is_known_to_a_tenth(seconds: float) -> None:
    stats = quantile({bucket_of(seconds): 1}, 0.5)
    assert stats == pytest.approx(seconds, rel=0.1)


@given(latencies, latencies)
def test_longer_latencies_have_higher_buckets(one: float, other: float) -> None:
    assert (bucket_of(one) <= bucket_of(other)) >= (one <= other)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e-9, 1e9])
def test_every_latency_has_a_bucket(seconds: float) -> None:
    assert 0 <= bucket_of(seconds) <= 95


@given(st.lists(latencies, min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_that_of_the_latencies_themselves(seconds: list[float], share: float) -> None:
    buckets: dict[int, int] = {}
    for one in seconds:
        buckets[bucket_of(one)] = buckets.get(bucket_of(one), 0) + 1
    exact = next(one for place, one in enumerate(sorted(seconds), start=1) if place >= share * len(seconds))
    assert quantile(buckets, share) == pytest.approx(exact, rel=0.1)


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


@given(st.lists(st.lists(latencies, max_size=9), max_size=5))
def test_accounts_add_up_to_the_account_of_all(of_each: list[list[float]]) -> None:
    def account(seconds: list[float]) -> dict[str, BackendCounts]:
        buckets: dict[int, int] = {}
        for one in seconds:
            buckets[bucket_of(one)] = buckets.get(bucket_of(one), 0) + 1
        return {"a": BackendCounts(len(seconds), 1, buckets)}

    together = added(account(seconds) for seconds in of_each)
    everything = account([one for seconds in of_each for one in seconds])
    if of_each:
        assert together == {"a": BackendCounts(everything["a"].attempts, len(of_each), everything["a"].buckets)}
    else:
        assert together == {}


def test_rates_are_those_of_each_workers_own_window() -> None:
    one, two = worker({"a": 2}, 10, a=BackendCounts(100, 10)), worker({"a": 1}, 5, a=BackendCounts(100, 0))
    stats = recent_stats([one, two, Worker("n", 0, {"b": 1})])
    assert stats["a"] == RecentStats(3, 30.0, 0.05)
    assert stats["b"] == RecentStats(1, 0.0, None)


def test_a_window_of_less_than_a_second_makes_no_huge_rate() -> None:
    assert recent_stats([worker({}, 0.001, a=BackendCounts(1, 5))])["a"] == RecentStats(0, 1.0, 1.0)


def test_a_quantile_is_the_middle_of_the_bucket_that_reaches_the_share() -> None:
    assert quantile({0: 1, 8: 1}, 0.5) == pytest.approx(0.0001 * 2 ** (0.5 / 4))
    assert quantile({0: 1, 8: 1}, 0.99) == pytest.approx(0.0001 * 2 ** (8.5 / 4))


def test_reports_of_the_same_backend_add_up() -> None:
    one = {"a": BackendCounts(2, 1, {3: 1})}
    assert added([one, {}, one | {"b": BackendCounts(1, 0, {})}]) == {
        "a": BackendCounts(4, 2, {3: 2}),
        "b": BackendCounts(1, 0, {}),
    }
