from __future__ import annotations

import re

import pytest

from lbflask.control.doctor.backends import ConnectFailure
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.model import Mode, Override
from lbflask.store.ports import Beat
from tests.control.servers import DOWN, UP, Counter


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_healthy_fleet_has_only_good_findings(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    findings = counter.get("/doctor")["findings"]
    assert {finding["level"] for finding in findings} == {"good"}


def test_each_trouble_has_its_advice(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    counter.clock.advance(60)
    counter.unreachable["two"] = ConnectFailure("connection refused", FailureCause.REFUSED)
    counter.act("POST", "/pools/default/backends/10.0.0.1:80/drain")
    for version in ("1", "2"):
        report = WorkerReport(WorkerIdentity("one", "host", 1, version, "abc"), counter.clock() + 30, 10.0)
        counter.facts.beat("default", f"host:{version}:a", Beat(report=report), read=False)
    findings = counter.get("/doctor")["findings"]
    bad = {finding["check"]: finding for finding in findings if finding["level"] != "good"}
    assert set(bad) == {"version", "clocks", "checker of default", "backend 10.0.0.1:80", "backend two"}
    assert all(finding["advice"] for finding in bad.values())


def test_a_store_out_of_reach_is_the_first_finding(counter: Counter) -> None:
    counter.store.lose("gone")
    counter.fleet.degrade("gone")
    first = counter.get("/doctor")["findings"][0]
    assert (first["check"], first["level"]) == ("store", "bad")
    assert "gone" in first["finding"]


def test_the_state_has_the_troubles_without_connects_and_what_is_bad_first(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    assert counter.get("/state")["findings"] == []
    counter.unreachable["10.0.0.1:80"] = ConnectFailure("connection refused", FailureCause.REFUSED)
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    (finding,) = counter.get("/state")["findings"]
    assert (finding["check"], finding["level"], finding["finding"]) == (
        "backend two", "warning", "down: connection refused",
    )  # fmt: skip
    assert counter.facts.write_override("default", "10.0.0.1:80", None, Override(Mode.OFF))
    levels = [one["level"] for one in counter.get("/state")["findings"]]
    assert levels == ["bad", "warning", "warning"]


def test_what_follows_from_a_lost_store_is_left_out(counter: Counter) -> None:
    counter.store.lose("gone")
    counter.fleet.degrade("READONLY You can't write against a read only replica.", FailureCause.READ_ONLY)
    findings = counter.get("/doctor")["findings"]
    assert {one["check"] for one in findings} == {"store", "pool default"}
    assert re.search(r"`redis-cli -s \S+/valkey.sock replicaof no one`", findings[0]["advice"])
