from __future__ import annotations

from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.reserves import Reserves
from lbflask.store.ports import Beat
from tests.control.servers import Counter

#: Seconds that a process has run for long enough that its siblings must have started too.
LONG = 100.0


def beat(
    counter: Counter,
    pid: int,
    *,
    expected: int = 2,
    age: float = LONG,
    instance: str = "one",
    config: str = "abc",
    master: int = 0,
) -> None:
    identity = WorkerIdentity(instance, "host", pid, "1", config, counter.clock() - age, expected, master=master)
    report = WorkerReport(identity, counter.clock(), 10.0)
    counter.facts.beat("default", f"host:{pid}:a", Beat(report=report), read=True)


def findings(counter: Counter, check: str) -> list[dict[str, str]]:
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == check]


def test_a_worker_that_falls_silent_is_named_with_its_seconds(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 8)
    counter.clock.advance(4.0)
    beat(counter, 8)
    (finding,) = findings(counter, "instance one")
    assert (finding["level"], finding["finding"]) == (
        "bad", "worker 7 has been silent for 4 s: requests to it hang; 1 of 2 workers serve",
    )  # fmt: skip
    assert "`kill -KILL 7`" in finding["advice"]
    assert findings(counter, "workers") == [], "not also good"
    (instance,) = counter.get("/fleet")["instances"]
    assert (instance["expected_workers"], len(instance["workers"])) == (2, 1)
    assert instance["silent_workers"] == [{"id": "host:7:a", "pid": 7, "silent": 4.0, "master": None}]
    beat(counter, 7)
    assert findings(counter, "instance one") == []


def test_one_that_gunicorn_has_replaced_is_no_finding(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 8)
    counter.clock.advance(4.0)
    beat(counter, 8)
    beat(counter, 9, age=1.0)
    assert findings(counter, "instance one") == []
    assert findings(counter, "workers")[0]["finding"] == "2 in 1 instance"


def test_of_the_silent_only_as_many_are_named_as_are_missed(counter: Counter) -> None:
    beat(counter, 7)
    counter.clock.advance(5.0)
    beat(counter, 8)
    beat(counter, 9, master=60)
    counter.clock.advance(4.0)
    beat(counter, 9, master=60)
    (finding,) = findings(counter, "instance one")
    assert finding["finding"].startswith("worker 8 has been silent for 4 s"), "7 was replaced by 8 or 9"
    assert "`kill -KILL 8`" in finding["advice"]
    assert "the master is stopped: `kill -CONT 60`" in finding["advice"]


def test_workers_of_a_former_master_have_ended_with_it(counter: Counter) -> None:
    beat(counter, 7, master=60)
    beat(counter, 8, master=60)
    counter.clock.advance(20.0)
    beat(counter, 9, age=1.0, master=61)
    assert findings(counter, "instance one") == []
    counter.clock.advance(20.0)
    beat(counter, 9, age=21.0, master=61)
    (finding,) = findings(counter, "instance one")
    assert finding["finding"] == "1 of 2 workers serve: others have ended, or do not start"


def test_the_configuration_of_one_that_was_killed_and_replaced_is_not_in_use_any_more(counter: Counter) -> None:
    beat(counter, 7, config="old")
    beat(counter, 8, config="old")
    counter.clock.advance(4.0)
    beat(counter, 8, config="new")
    beat(counter, 9, config="new", age=1.0)
    assert counter.get("/fleet")["instances"][0]["config"] == ["new"]
    assert [one["level"] for one in findings(counter, "configuration")] == ["good"]


def test_the_one_of_two_masters_that_has_the_earlier_workers_is_to_end(counter: Counter) -> None:
    for pid, master, age in ((7, 70, LONG), (8, 60, 20.0), (9, 60, 20.0), (10, 70, LONG)):
        beat(counter, pid, master=master, age=age)
    assert counter.get("/fleet")["instances"][0]["masters"] == [70, 60]
    (finding,) = findings(counter, "instance one")
    assert finding["advice"] == (
        "on host: `kill -TERM 70` ends the old master and the upgrade; SIGTERM to 60 takes it back"
    )


def test_a_master_that_starts_no_workers_may_be_stopped(counter: Counter) -> None:
    beat(counter, 8, master=60)
    (finding,) = findings(counter, "instance one")
    assert finding["advice"].endswith("if `ps -o stat= -p 60` begins with T, the master is stopped: `kill -CONT 60`")


def test_more_workers_than_expected_are_an_upgrade_without_its_end_after_a_grace(counter: Counter) -> None:
    for pid in (7, 8):
        beat(counter, pid)
    for pid in (9, 10):
        beat(counter, pid, age=2.0)
    assert findings(counter, "instance one") == []
    for pid in (9, 10):
        beat(counter, pid)
    (finding,) = findings(counter, "instance one")
    assert finding["level"] == "warning"
    assert finding["finding"].startswith("4 workers serve, 2 are expected: an upgrade")
    assert "SIGTERM to the old one ends the upgrade" in finding["advice"], "which reports its master"
    assert findings(counter, "workers") == [], "not also good"


def test_workers_that_do_not_start_are_missed_after_a_grace(counter: Counter) -> None:
    beat(counter, 8, age=2.0)
    assert findings(counter, "instance one") == []
    counter.clock.advance(20.0)
    beat(counter, 8, age=22.0)
    (finding,) = findings(counter, "instance one")
    assert (finding["level"], finding["finding"]) == (
        "warning", "1 of 2 workers serve: others have ended, or do not start",
    )  # fmt: skip


def test_an_instance_all_of_whose_workers_are_silent_is_down(counter: Counter) -> None:
    beat(counter, 7, instance="other")
    beat(counter, 8, instance="other")
    counter.clock.advance(5.0)
    beat(counter, 9, expected=1)
    (finding,) = findings(counter, "instance other")
    assert finding["level"] == "bad"
    assert finding["finding"] == "silent for 5 s with all its workers (7, 8): it is down, or has no network"


def test_a_clock_that_differs_is_named_once_by_its_instance(counter: Counter) -> None:
    for pid in (7, 8):
        report = WorkerReport(WorkerIdentity("one", "host", pid), counter.clock() + 30, 10.0)
        counter.facts.beat("default", f"host:{pid}:a", Beat(report=report), read=False)
    (finding,) = findings(counter, "clocks")
    assert finding["finding"] == "one differs from the store by +30.0 s"
    assert "`timedatectl` on host" in finding["advice"]


def test_descriptors_that_run_out_are_named_with_the_worker(counter: Counter) -> None:
    for pid, opened in ((7, 79), (8, 80)):
        report = WorkerReport(
            WorkerIdentity("one", "host", pid), counter.clock(), 10.0, reserves=Reserves((opened, 100))
        )
        counter.facts.beat("default", f"host:{pid}:a", Beat(report=report), read=False)
    (finding,) = findings(counter, "instance one")
    assert finding["finding"] == "worker 8 has 80 of 100 file descriptors open"
    assert "LimitNOFILE=" in finding["advice"]


def test_without_a_known_number_only_the_silent_are_named(counter: Counter) -> None:
    beat(counter, 7, expected=0)
    beat(counter, 8, expected=0)
    assert findings(counter, "instance one") == []
    counter.clock.advance(4.0)
    beat(counter, 8, expected=0)
    (finding,) = findings(counter, "instance one")
    assert finding["finding"].endswith("1 of 2 workers serve")
