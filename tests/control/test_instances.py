"""The operations on instances: who may drain which, for how long, and what shows it."""

from __future__ import annotations

from typing import Any

import pytest

from lbflask.control import health
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.instance_drain import DEFAULT_DURATION, MAX_DURATION
from lbflask.store.ports import Beat
from tests.control.servers import ALICE, GRAFANA, TOKENS, UP, Counter

OTHER = "other/0.0.0.0:8080"


@pytest.fixture
def counter() -> Counter:
    counter = Counter()
    report = WorkerReport(WorkerIdentity(OTHER, "other", 1, "1.0", "abc"), counter.clock(), 10.0)
    counter.facts.beat("default", "other:1:a", Beat(report=report), read=False)
    return counter


def drain(counter: Counter, instance: str = OTHER, status: int = 200, **more: Any) -> Any:
    return counter.act("POST", "/instances/drain", status, json={"instance": instance, **more})


def undrain(counter: Counter, instance: str = OTHER, status: int = 200) -> Any:
    return counter.act("POST", "/instances/undrain", status, json={"instance": instance})


def test_a_drain_is_shown_with_its_operator_and_its_end_until_it_ends(counter: Counter) -> None:
    assert [one["drain"] for one in counter.get("/instances")["instances"]] == [None]
    done = drain(counter, seconds=60)
    shown = {"until": counter.clock() + 60, "who": "anyone (127.0.0.1)"}
    assert (done["changed"], done["instance"]["drain"]["until"]) == (True, shown["until"])
    for instances in (counter.get("/instances"), counter.get("/fleet"), counter.get("/state")["fleet"]):
        (instance,) = instances["instances"]
        assert (instance["name"], instance["drain"]["until"]) == (OTHER, shown["until"])
        assert instance["drain"]["who"]
    assert undrain(counter)["changed"]
    assert not undrain(counter)["changed"]
    assert counter.get("/instances")["instances"][0]["drain"] is None


def test_it_lasts_a_week_unless_a_time_is_given(counter: Counter) -> None:
    assert drain(counter)["instance"]["drain"]["until"] == counter.clock() + DEFAULT_DURATION


def test_an_instance_that_does_not_run_stays_in_the_list_while_it_is_drained(counter: Counter) -> None:
    drain(counter)
    counter.facts.leave("default", "other:1:a")
    (instance,) = counter.get("/instances")["instances"]
    assert (instance["name"], instance["host"], instance["workers"]) == (OTHER, "other", [])
    assert undrain(counter) == {"changed": True, "instance": None}
    assert counter.get("/instances")["instances"] == []
    assert "no instance" in undrain(counter, status=404)["detail"]


def test_the_instance_that_answers_is_known_before_its_first_report(counter: Counter) -> None:
    assert drain(counter, "one")["instance"]["workers"] == []


@pytest.mark.parametrize("seconds", [0, -1, MAX_DURATION + 1, 1.5, "1h", None])
def test_a_time_out_of_bounds_changes_nothing(counter: Counter, seconds: Any) -> None:
    drain(counter, status=422, seconds=seconds)
    assert counter.facts.read_drains() == {}


def test_nothing_is_drained_while_the_store_is_lost(counter: Counter) -> None:
    counter.store.lose()
    drain(counter, status=503)
    counter.store.find()
    assert counter.facts.read_drains() == {}


def test_readers_may_look_and_operators_drain() -> None:
    counter = Counter(admin={"tokens": TOKENS})
    for action in ("drain", "undrain"):
        assert counter.ask("POST", f"/instances/{action}", GRAFANA, json={"instance": "one"}).status_code == 403
    assert counter.get("/instances", GRAFANA)["instances"] == []
    assert counter.ask("POST", "/instances/drain", ALICE, json={"instance": "one"}).status_code == 200
    (event,) = counter.facts.read_events(5)
    assert (event.kind, event.what, event.actor) == ("operator", "instance_drain", "alice (127.0.0.1)")
    assert event.reason == f"one for {DEFAULT_DURATION} s"


def test_doctor_reminds_of_it(counter: Counter) -> None:
    drain(counter)
    findings = {one["check"]: one for one in counter.get("/doctor")["findings"]}
    assert findings[f"instance {OTHER}"]["advice"] == f"`lbflask instance undrain {OTHER}` after maintenance"


@pytest.mark.parametrize(("drained", "ending"), [(False, True), (True, False), (True, True), (False, False)])
def test_health_is_503_while_the_instance_drains_or_ends(drained: bool, ending: bool) -> None:
    counter = Counter()
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    if drained:
        counter.facts.write_drain("one", "alice", 60)
    counter.fleet.refresh()
    pools = list(counter.running.pools.values())
    code, public = health.view(pools, counter.fleet, details=False, ending=ending)
    assert (code, public["status"]) == ((503, "draining") if drained or ending else (200, "ok"))
    assert "draining" not in public
    _, details = health.view(pools, counter.fleet, details=True, ending=ending)
    if drained or ending:
        assert (details["draining"]["shutdown"], details["draining"]["who"]) == (ending, "alice" if drained else "")
    else:
        assert "draining" not in details


@pytest.mark.parametrize(
    ("worker", "pid"), [("vm:12:a", 12), ("vm:²:a", 0), ("vm:" + "9" * 5000 + ":a", 0), ("vm", 0), ("", 0)]
)
def test_a_worker_that_has_not_reported_has_the_pid_of_its_id_if_that_has_one(worker: str, pid: int) -> None:
    counter = Counter()
    counter.facts.beat("default", worker, Beat(), read=False)
    ((found,),) = (one["workers"] for one in counter.get("/instances")["instances"])
    assert (found["id"], found["pid"]) == (worker, pid)
