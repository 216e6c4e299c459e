from __future__ import annotations

import pytest

from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.reserves import FileSystem, LossCause, LostLines, Reserves, Use
from lbflask.store.ports import Beat
from tests.control.servers import Counter


@pytest.fixture
def counter() -> Counter:
    return Counter()


def beat(counter: Counter, pid: int, reserves: Reserves) -> None:
    report = WorkerReport(WorkerIdentity("one", "web1", pid), counter.clock(), 10.0, reserves=reserves)
    counter.facts.beat("default", f"web1:{pid}:a", Beat(report=report), read=False)


def lost(count: int, cause: LossCause = LossCause.NO_ROOM, path: str = "/var/log/lbflask/access.log") -> Reserves:
    return Reserves(lost_lines=LostLines(count, path, "No space left on device", cause))


def findings(counter: Counter) -> list[dict[str, str]]:
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == "instance one"]


def test_lost_lines_of_all_workers_are_one_finding_with_the_folder(counter: Counter) -> None:
    beat(counter, 7, lost(400))
    beat(counter, 8, lost(12))
    (finding,) = findings(counter)
    assert (finding["level"], finding["finding"]) == (
        "warning",
        "412 lines of the access log were lost in the last minute: No space left on device "
        "(/var/log/lbflask/access.log)",
    )
    assert "on web1: `df -h /var/log/lbflask`" in finding["advice"]
    assert finding in counter.get("/state")["findings"], "status and dashboard show it too"
    beat(counter, 7, Reserves())
    beat(counter, 8, Reserves())
    assert findings(counter) == []


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (LossCause.NO_READER, "start the reader of standard output"),
        (LossCause.SLOW_READER, "the reader of standard output hangs or is too slow"),
        (LossCause.OVERLOAD, "add workers"),
        (LossCause.OTHER, "the system's log"),
    ],
)
def test_the_advice_is_that_of_the_cause(counter: Counter, cause: LossCause, advice: str) -> None:
    beat(counter, 7, lost(1, cause, "-"))
    (finding,) = findings(counter)
    assert finding["finding"].startswith("1 line of the access log was lost in the last minute: ")
    assert advice in finding["advice"]


MIB = 1 << 20
LOG = FileSystem(Use.LOG, "/var/log/lbflask/access.log", 12 * MIB, 1000 * MIB)
SHARED = FileSystem(Use.SHARED, "/dev/shm/lbflask-metrics-a", MIB, 64 * MIB)


def test_file_systems_that_are_nearly_full_are_named_once_with_their_figures(counter: Counter) -> None:
    for pid in (7, 8):
        beat(counter, pid, Reserves(nearly_full=(LOG, SHARED)))
    shared, log = findings(counter)
    assert (log["level"], log["finding"]) == (
        "warning",
        "12 of 1000 MiB are free where the access log is (/var/log/lbflask/access.log): without room its lines are "
        "lost",
    )
    assert "on web1: `df -h /var/log/lbflask/access.log`" in log["advice"]
    assert shared["finding"].startswith("1 of 64 MiB are free where what the workers share is (/dev/shm/")
    (instance,) = counter.get("/fleet")["instances"]
    assert [one["use"] for one in instance["nearly_full"]] == ["shared", "log"]


def test_lost_lines_leave_no_second_finding_about_the_same_disk(counter: Counter) -> None:
    beat(counter, 7, Reserves(lost_lines=lost(3).lost_lines, nearly_full=(LOG,)))
    (finding,) = findings(counter)
    assert finding["finding"].startswith("3 lines of the access log were lost")
