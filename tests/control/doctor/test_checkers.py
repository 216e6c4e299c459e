"""Stand-by checkers: named when a fleet has none."""

from __future__ import annotations

from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.control.servers import Counter

LEADER, OTHER = "checker:1:a", "host:2:b"


def start(counter: Counter, *instances: str) -> None:
    for instance in instances:
        report = WorkerReport(WorkerIdentity(instance, instance, 7), counter.clock(), 10.0)
        counter.facts.beat("default", f"{instance}:7:a", Beat({}, report=report), read=False)


def findings(counter: Counter) -> list[tuple[str, str]]:
    found = [one for one in counter.get("/doctor")["findings"] if one["check"] == "checker of default"]
    return [(one["level"], one["finding"]) for one in found]


def test_one_checker_is_enough_for_one_instance(counter: Counter) -> None:
    start(counter, "one")
    ((level, finding),) = findings(counter)
    assert level == "good"
    assert "stand-by" not in finding


def test_a_fleet_without_a_stand_by_is_named_until_there_is_one(counter: Counter) -> None:
    start(counter, "one", "two")
    first, second = findings(counter)
    assert first[0] == "good"
    assert second == ("warning", f"no other checker runs: when {LEADER} ends, no backend is checked")
    assert counter.facts.hold_lease("default", OTHER, 600) is None
    ((level, finding),) = findings(counter)
    assert level == "good"
    assert finding.endswith(", 1 on stand-by")
    assert counter.get("/pools/default")["checker"]["standby"] == [OTHER]
