from __future__ import annotations

from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.control.servers import Counter

LONG = 100.0


def beat(
    counter: Counter, pid: int, host: str = "web1", boot: str = "1a", lineage: str = "m1",
    *, age: float = LONG, stopping: bool = False,
) -> None:  # fmt: skip
    identity = WorkerIdentity("edge", host, pid, "1", "abc", counter.clock() - age, 1, boot, lineage)
    report = WorkerReport(identity, counter.clock(), 10.0, stopping=stopping)
    counter.facts.beat("default", f"{host}:{pid}:{boot}", Beat(report=report), read=False)


def findings(counter: Counter) -> list[tuple[str, str]]:
    found = [one for one in counter.get("/doctor")["findings"] if one["check"] == "instance edge"]
    return [(one["finding"], one["advice"]) for one in found]


def test_two_machines_with_one_name_are_both_named(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 7, "web2", "2b", "m2", age=9.0)
    beat(counter, 8, "web2", "2b", "m2", age=1.0)
    assert not [text for text, _ in findings(counter) if "name" in text], "the second has just begun"
    counter.clock.advance(2.0)
    for pid, host, boot in ((7, "web1", "1a"), (7, "web2", "2b")):
        beat(counter, pid, host, boot, age=11.0)
    ((text, advice),) = findings(counter)
    assert text.startswith("web1 and web2 have this name: ")
    assert "an `instance` of its own" in advice


def test_two_machines_with_one_host_name_are_told_apart(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 8, boot="2b", lineage="m2")
    ((text, advice),) = findings(counter)
    assert text.startswith("2 machines of the host name web1 have this name: ")
    assert "boot_id" in advice


def test_two_masters_of_one_machine_are_named_once_a_restart_must_be_over(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 8, lineage="m2", age=59.0)
    assert "an upgrade (SIGUSR2) has not ended" in findings(counter)[0][0]
    counter.clock.advance(2.0)
    beat(counter, 7)
    beat(counter, 8, lineage="m2", age=61.0)
    ((text, advice),) = findings(counter)
    assert text.startswith("2 masters on web1 have this name (workers 7 and 8): ")
    assert "`ps -o pid,ppid,lstart,args -C gunicorn`" in advice


def test_both_masters_of_an_upgrade_are_one(counter: Counter) -> None:
    beat(counter, 7)
    beat(counter, 8)
    ((text, _),) = findings(counter)
    assert text.startswith("2 workers serve, 1 are expected: an upgrade")


def test_one_that_stops_and_one_that_died_share_their_name_with_a_successor(counter: Counter) -> None:
    beat(counter, 5, "web0", "0c", "m0")
    counter.clock.advance(4.0)
    beat(counter, 7, stopping=True)
    beat(counter, 7, "web2", "2b", "m2")
    assert not [text for text, _ in findings(counter) if "have this name" in text]


def test_workers_of_an_older_version_do_not_say_where_they_are(counter: Counter) -> None:
    beat(counter, 7, boot="", lineage="")
    beat(counter, 8, boot="", lineage="")
    assert not [text for text, _ in findings(counter) if "have this name" in text]
