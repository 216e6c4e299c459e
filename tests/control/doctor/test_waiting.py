from __future__ import annotations

from lbflask.core.fleet_stats import BackendCounts, Waits, WorkerIdentity, WorkerReport, bucket_of
from lbflask.core.slow_uploads import Uploads
from lbflask.store.ports import Beat
from tests.control.servers import Counter

ANSWERS = {"two": BackendCounts(10, 0, {bucket_of(0.01): 10})}


def beat(counter: Counter, pid: int, wait: Waits, served: dict[str, BackendCounts] | None = None) -> None:
    identity = WorkerIdentity("one", "host", pid, "1", "abc", counter.clock())
    report = WorkerReport(identity, counter.clock(), 10.0, served or {}, waits={"two": wait})
    counter.facts.beat("default", f"host:{pid}:a", Beat({"two": wait.count}, report=report), read=True)


def findings(counter: Counter) -> list[tuple[str, str]]:
    found = [one for one in counter.get("/doctor")["findings"] if one["check"] == "backend two"]
    assert all("`lbflask off two`" in one["advice"] for one in found)
    return [(one["level"], one["finding"]) for one in found]


def test_a_backend_that_answers_nothing_while_its_checks_pass_is_an_error(counter: Counter) -> None:
    beat(counter, 7, Waits(4, 12.4))
    beat(counter, 8, Waits(8, 34.2))
    assert findings(counter) == [
        (
            "bad",
            "12 requests wait for a first byte, the oldest for 34 s; its checks pass; it has answered no request for "
            "ten seconds",
        )
    ]
    view = counter.get("/pools/default/backends/two")
    assert (view["waiting"], view["oldest_wait"]) == (12, 34.2)
    assert view["reason"] == "connected; 12 requests wait for a first byte, the oldest for 34 s"
    assert view["state"] == "up"


def test_one_slow_request_among_others_is_a_warning(counter: Counter) -> None:
    beat(counter, 7, Waits(1, 9.0), ANSWERS)
    assert findings(counter) == [
        ("warning", "1 request waits for a first byte, for 9 s; its checks pass; it answers others")
    ]


def test_a_short_wait_is_no_finding(counter: Counter) -> None:
    beat(counter, 7, Waits(3, 4.9), ANSWERS)
    assert findings(counter) == []
    view = counter.get("/pools/default/backends/two")
    assert (view["waiting"], view["oldest_wait"], view["reason"]) == (3, 4.9, "connected")


def test_a_request_behind_slow_uploads_is_no_reason_to_switch_the_backend_off(counter: Counter) -> None:
    identity = WorkerIdentity("one", "host", 7, "1", "abc", counter.clock())
    uploads = Uploads(4, 4, 15.0, {"10.1.2.3": 4})
    report = WorkerReport(identity, counter.clock(), 10.0, {}, waits={"two": Waits(1, 9.0)}, uploads={"two": uploads})
    counter.facts.beat("default", "host:7:a", Beat({"two": 5}, report=report), read=True)
    waiting, slow = (one for one in counter.get("/doctor")["findings"] if one["check"] == "backend two")
    assert waiting["finding"].startswith("1 request waits for a first byte, for 9 s")
    assert waiting["advice"].startswith("the slow uploads that hold it come first")
    assert "`timeouts.request = 60`" in slow["advice"]


def test_without_the_store_the_requests_of_the_worker_that_answers_are_named(counter: Counter) -> None:
    counter.fleet.refresh()
    counter.store.lose("gone")
    counter.fleet.degrade("gone")
    assert findings(counter) == []
    counter.waits["two"] = Waits(3, 31.0)
    counter.fleet.traffic("default").began("two")
    counter.fleet.flush()
    assert counter.get("/pools/default/backends/two")["oldest_wait"] == 31.0
    ((level, text),) = findings(counter)
    assert level == "bad"
    assert text.startswith("3 requests wait for a first byte, the oldest for 31 s")
