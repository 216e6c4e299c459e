from __future__ import annotations

from lbflask.core.fleet_stats import BackendCounts, Waits, WorkerIdentity, WorkerReport, bucket_of
from lbflask.store.ports import Beat
from tests.control.servers import DOWN, UP, Counter


def serve(counter: Counter, two: BackendCounts, in_flight: int = 0, waiting: int = 0) -> None:
    """Ten seconds of a worker: 100 answers of the first backend in 20 ms, and these of the other one."""
    first = BackendCounts(100, 0, {bucket_of(0.020): 100})
    served = {"10.0.0.1:80": first, "two": two}
    waits = {"two": Waits(waiting, 3.0)} if waiting else {}
    report = WorkerReport(WorkerIdentity("one", "host", 7), counter.clock(), 10.0, served, waits=waits)
    counter.facts.beat("default", "host:7:a", Beat({"two": in_flight}, report=report), read=False)


def finding(counter: Counter) -> dict[str, str]:
    (found,) = (one for one in counter.get("/doctor")["findings"] if one["check"] == "backend two")
    assert found["level"] == "warning"
    return found


def test_a_slow_one_is_named_with_both_figures(counter: Counter) -> None:
    serve(counter, BackendCounts(100, 0, {bucket_of(0.800): 100}))
    found = finding(counter)
    assert "times that of its peers (2" in found["finding"]
    assert "`lbflask drain two`" in found["advice"]


def test_one_that_fails_is_named_with_its_share(counter: Counter) -> None:
    serve(counter, BackendCounts(100, 40, {bucket_of(0.020): 60}))
    assert finding(counter)["finding"] == "40% of its attempts failed in the last ten seconds, at its peers 0.0%"


def test_one_that_hangs_is_named_with_the_requests_that_wait(counter: Counter) -> None:
    serve(counter, BackendCounts(8, 0), in_flight=8, waiting=8)
    found = finding(counter)
    assert found["finding"].startswith("8 requests wait for a first byte, and none came in the last ten seconds")
    assert "`lbflask off two`" in found["advice"]


def test_one_does_not_hang_that_sends_long_responses(counter: Counter) -> None:
    serve(counter, BackendCounts(), in_flight=8)
    assert counter.get("/pools/default/backends/two")["in_flight"] == 8
    assert [one for one in counter.get("/doctor")["findings"] if one["check"] == "backend two"] == []


def test_of_one_that_is_down_its_check_says_all(counter: Counter) -> None:
    serve(counter, BackendCounts(100, 100), in_flight=8)
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    assert finding(counter)["finding"].startswith("down: ")
