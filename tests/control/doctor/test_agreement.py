from __future__ import annotations

import shlex

from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.control.servers import Counter


def beat(counter: Counter, instance: str, config: str, version: str = "1", pid: int = 7) -> None:
    identity = WorkerIdentity(instance, instance, pid, version, config, counter.clock() - 100.0)
    report = WorkerReport(identity, counter.clock(), 10.0)
    counter.facts.beat("default", f"{instance}:{pid}:a", Beat(report=report), read=False)


def finding(counter: Counter, subject: str) -> dict[str, str]:
    (found,) = [one for one in counter.get("/doctor")["findings"] if one["check"] == subject]
    return dict(found)


def test_instances_that_agree_are_well(counter: Counter) -> None:
    assert finding(counter, "configuration")["finding"] == "all have none yet"
    beat(counter, "one", "abc")
    beat(counter, "two", "abc")
    assert (finding(counter, "configuration")["level"], finding(counter, "version")["finding"]) == (
        "good",
        "all have 1",
    )


def test_each_configuration_is_named_with_its_instances_and_the_command_that_compares_them(counter: Counter) -> None:
    beat(counter, "one", "abc")
    beat(counter, "the other/[::]:80", "def")
    for number in range(5):
        beat(counter, f"web{number}", "abc")
    found = finding(counter, "configuration")
    assert found["level"] == "warning"
    assert found["finding"] == ("not all have the same: abc at one, web0, web1 and 3 more; def at the other/[::]:80")
    assert f"`lbflask config diff --instance {shlex.quote('the other/[::]:80')}`" in found["advice"]


def test_an_instance_that_is_not_in_the_fleet_cannot_say_which_differs(counter: Counter) -> None:
    beat(counter, "two", "abc")
    beat(counter, "three", "def")
    assert "`lbflask config diff --instance NAME`" in finding(counter, "configuration")["advice"]


def test_versions_that_differ_are_named_too(counter: Counter) -> None:
    beat(counter, "one", "abc")
    beat(counter, "two", "abc", version="2")
    found = finding(counter, "version")
    assert found["finding"] == "not all have the same: 1 at one; 2 at two"
    assert "update all instances" in found["advice"]
