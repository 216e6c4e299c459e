"""What workers tell of their latest attempts, added up."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.client_shares import ClientCounts, ClientRates
from lbflask.core.fleet_stats import (
    WINDOW,
    BackendCounts,
    RecentStats,
    Roster,
    Waits,
    Worker,
    WorkerIdentity,
    WorkerReport,
    bucket_of,
    quantiles,
    recent_answers,
    recent_clients,
    recent_refused_clients,
    recent_stats,
    summed_waits,
    upper_quantile,
)
from lbflask.core.reserves import Reserves
from lbflask.core.slow_uploads import Uploads

latencies = st.floats(0.0001, 1600)


def worker(in_flight: dict[str, int], seconds: float = 10, **served: BackendCounts) -> Worker:
    return Worker("w", 0.0, in_flight, WorkerReport(WorkerIdentity(), 0.0, seconds, served))


@given(latencies)
def test_a_latency_is_known_to_a_tenth(seconds: float) -> None:
    assert quantiles({bucket_of(seconds): 1}, [0.5]) == [pytest.approx(seconds, rel=0.1)]


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
    assert quantiles(buckets, [share]) == [pytest.approx(exact, rel=0.1)]


@pytest.mark.parametrize("buckets", [{}, {3: 0}])
def test_nothing_has_no_quantile(buckets: dict[int, int]) -> None:
    assert quantiles(buckets, (0.5, 0.99)) == [None, None]


def test_a_bucket_without_requests_is_no_quantile() -> None:
    assert quantiles({0: 0, 8: 1}, [0.5]) == quantiles({8: 1}, [0.5])


@given(st.lists(st.lists(latencies, max_size=9), max_size=5))
def test_accounts_add_up_to_the_account_of_all(of_each: list[list[float]]) -> None:
    def account(seconds: list[float]) -> dict[str, BackendCounts]:
        buckets: dict[int, int] = {}
        for one in seconds:
            buckets[bucket_of(one)] = buckets.get(bucket_of(one), 0) + 1
        return {"a": BackendCounts(len(seconds), 1, buckets)}

    together = recent_stats(worker({}, 1, **account(seconds)) for seconds in of_each)
    everything = account([one for seconds in of_each for one in seconds])["a"]
    everything = BackendCounts(everything.attempts, len(of_each), everything.buckets)
    assert together == (recent_stats([worker({}, 1, a=everything)]) if of_each else {})


def test_rates_are_those_of_each_workers_own_window() -> None:
    one, two = worker({"a": 2}, 10, a=BackendCounts(100, 10)), worker({"a": 1}, 5, a=BackendCounts(100, 0))
    stats = recent_stats([one, two, Worker("n", 0, {"b": 1})])
    assert stats["a"] == RecentStats(3, 30.0, 0.05)
    assert stats["b"] == RecentStats(1, 0.0, None)


def test_latencies_of_a_backend_are_those_of_all_workers() -> None:
    one, two = (worker({}, a=BackendCounts(50, 0, buckets)) for buckets in ({0: 50}, {0: 48, 40: 2}))
    (stats,) = recent_stats([one, two]).values()
    assert stats.p50 == pytest.approx(0.0001, rel=0.1)
    assert stats.p99 == pytest.approx(0.0001 * 2**10, rel=0.1)


def test_a_report_covers_the_last_ten_seconds() -> None:
    """docs/admin-api.md."""
    assert WINDOW == 10


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (WorkerIdentity(), {}),
        (BackendCounts(), {}),
        (
            WorkerReport(WorkerIdentity(), 5.0, 9.0),
            {"identity": WorkerIdentity(), "clock": 5.0, "seconds": 9.0, "reserves": Reserves()},
        ),
        (Worker("w", 5.0, {}), {"id": "w", "at": 5.0}),
        (Roster(5.0), {"now": 5.0}),
        (RecentStats(), {"uploads": Uploads()}),
    ],
)
def test_what_is_not_given_is_empty(value: Any, known: dict[str, object]) -> None:
    assert {one.name: getattr(value, one.name) for one in fields(value) if getattr(value, one.name)} == known


def test_a_window_of_less_than_a_second_makes_no_huge_rate() -> None:
    assert recent_stats([worker({}, 0.001, a=BackendCounts(1, 5))])["a"] == RecentStats(0, 1.0, 1.0)


def test_a_quantile_is_the_middle_of_the_bucket_that_reaches_the_share() -> None:
    middles = [pytest.approx(0.0001 * 2 ** (0.5 / 4)), pytest.approx(0.0001 * 2 ** (8.5 / 4))]
    assert quantiles({0: 1, 8: 1}, (0.5, 0.99)) == middles


def test_reports_of_the_same_backend_add_up() -> None:
    one = {"a": BackendCounts(20, 5, {3: 1})}
    stats = recent_stats([worker({}, **one), worker({}), worker({}, **one, b=BackendCounts(10, 0, {}))])
    (middle,) = quantiles({3: 2}, [0.5])
    assert stats == {"a": RecentStats(0, 4.0, 0.25, middle, middle), "b": RecentStats(0, 1.0, 0.0)}


def report(at: float, id: str = "w", **values: Any) -> Worker:  # noqa: A002 - as in Worker
    return Worker(id, at, {}, WorkerReport(WorkerIdentity(), at, 10.0, **values), reported=at)


def test_answers_of_a_worker_count_once_though_each_of_its_pools_lists_it() -> None:
    ok, full = AnswerKey("2xx", "backend"), AnswerKey("503", "queue_full", "web")
    workers = [
        report(1.0, answers=Answers(10.0, {ok: 90})),
        report(2.0, answers=Answers(10.0, {ok: 100})),
        report(1.0, "v", answers=Answers(10.0, {ok: 100, full: 5})),
        report(1.0, "old"),
        Worker("silent", 0.0, {}),
    ]
    assert recent_answers(workers) == {ok: 20.0, full: 0.5}


def test_clients_of_a_worker_in_several_pools_count_once_by_its_latest_report() -> None:
    def report(at: float, id_: str, clients: ClientCounts | None) -> Worker:
        return Worker(id_, at, {}, WorkerReport(WorkerIdentity(), at, 10.0, clients=clients), at)

    old, new = ClientCounts(5.0, 50, {"a": 50}), ClientCounts(5.0, 10, {"b": 10})
    workers = [report(1.0, "one", old), report(2.0, "one", new), report(1.0, "two", new), report(1.0, "old", None)]
    assert recent_clients(workers) == ClientRates(4.0, {"b": 4.0})
    assert recent_refused_clients(workers) == ClientRates(0.0, {})
    refused = WorkerReport(WorkerIdentity(), 0.0, 10.0, refused_clients=new)
    assert recent_refused_clients([Worker("one", 0.0, {}, refused)]) == ClientRates(2.0, {"b": 2.0})


def test_uploads_of_several_workers_add_up() -> None:
    workers = [
        Worker(id_, 0.0, {}, WorkerReport(WorkerIdentity(), 0.0, 10.0, uploads={"a": Uploads(3, 2, seconds, {"c": 2})}))
        for id_, seconds in (("one", 9.0), ("two", 7.0))
    ]
    assert recent_stats(workers)["a"].uploads == Uploads(6, 4, 9.0, {"c": 4})


def test_waits_of_several_workers_add_up_and_the_oldest_counts() -> None:
    reports = [
        WorkerReport(WorkerIdentity(), 0.0, 10.0, waits=waits)
        for waits in ({"a": Waits(2, 3.0), "b": Waits(1, 9.0)}, {"a": Waits(1, 5.0)})
    ]
    assert summed_waits(reports) == {"a": Waits(3, 5.0), "b": Waits(1, 9.0)}


@pytest.mark.parametrize(("id_", "pid"), [("vm:12:a", 12), ("vm:²:a", 0), ("vm:" + "9" * 5000 + ":a", 0), ("", 0)])
def test_the_pid_of_a_worker_is_that_of_its_report_or_of_its_id(id_: str, pid: int) -> None:
    assert Worker(id_, 1.0, {}).pid == pid
    assert Worker(id_, 1.0, {}, WorkerReport(WorkerIdentity(pid=7), 1.0, 1.0)).pid == 7


@given(st.floats(0.0002, 1000.0))
def test_no_latency_of_a_bucket_exceeds_its_upper_end(seconds: float) -> None:
    upper = upper_quantile({bucket_of(seconds): 1}, 0.95)
    assert upper is not None
    assert seconds <= upper * 1.0001
    assert upper <= 1.2 * seconds


def test_no_latency_is_known_without_a_request() -> None:
    assert upper_quantile({}, 0.95) is None
