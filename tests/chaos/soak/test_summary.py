from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chaos.soak.__main__ import QUICK, full
from chaos.soak.client import MIX, Tally
from chaos.soak.summary import Soak, checks, decides, document, text, traffic_table
from chaos.soak.verdict import Failure, Injection, LogLine, MemorySample, Move, WorkerKilled
from devtools.report import Check

LOST = Failure(7, "get", 80, 5000, began=114.9, ended=115.1, status=0, reused=True, answered=False, text="closed")
KILLED = WorkerKilled(115.0, 115.2, frozenset({(80, 5000)}))
OTHER = replace(LOST, number=8, kind="post", local=5001, status=502)


def soak(**changes: Any) -> Soak:
    """A hundred seconds of ten exchanges a second, in which a worker was killed; with changes."""
    succeeded = Counter({(100 + turn % 100, kind): 1 for turn in range(1000) for kind in MIX})
    parts: dict[str, Any] = {
        "began": 100.0, "ended": 200.0, "capacity": 15.0, "rate": 7.0, "tally": Tally(succeeded),
        "injections": [Injection("worker killed", 115.0, 125.0, (KILLED,))],
        "samples": [MemorySample(100.0 + turn, "workers", 1, 1 << 20, 1 << 20, 50) for turn in range(100)],
        "log": {8: LogLine("b", "wait")}, "tracebacks": 0,
    }  # fmt: skip
    return Soak(**(parts | changes))


def missed(found: Soak) -> list[str]:
    return [check.what for check in checks(found) if not check.met]


def test_a_run_in_which_only_the_unavoidable_failed_meets_its_targets() -> None:
    assert missed(soak(tally=Tally(soak().tally.succeeded, [LOST]))) == []


def test_each_fault_misses_its_target() -> None:
    succeeded = soak().tally.succeeded
    moved = Move(9, "a", "b", 110, 120)
    grown = [MemorySample(100.0 + turn, "workers", 1, 1, 1000 + turn, 50) for turn in range(100)]
    for changes, what in [
        ({"tally": Tally(succeeded, [LOST, OTHER])}, "failures that the documentation does not announce"),
        ({"tally": Tally(succeeded, [], [moved])}, "sessions that moved although their backend served"),
        ({"injections": [Injection("it", 1, 2, error="late")]}, "injections after which the fleet did not recover"),
        ({"tracebacks": 1}, "processes with a traceback in their log"),
        ({"rate": 8.0}, "exchanges, of those planned"),
        ({"tally": Tally(Counter({(100, "get"): 1000}))}, "least exchanges of a kind"),
        ({"samples": grown}, "memory of workers, last third to first"),
    ]:
        assert what in missed(soak(**changes))


def test_the_table_has_unexplained_failures_and_in_brackets_the_others() -> None:
    lines = traffic_table(soak(tally=Tally(soak().tally.succeeded, [LOST, LOST, OTHER]))).splitlines()
    (row,) = [line for line in lines if "worker killed" in line]
    cells = [cell.strip() for cell in row.split("|")][1:-1]
    assert cells == ["worker killed", "73", "(2)", "1", "", "", "", "", ""]


def test_the_results_are_tables_for_people_and_a_document_for_programs() -> None:
    found = soak(tally=Tally(soak().tally.succeeded, [LOST, OTHER]))
    written = text(found)
    assert "on a connection of the killed worker" in written
    assert "closed" in written
    read = json.loads(json.dumps(document(found)))
    assert [(one["number"], one["injection"], bool(one["reason"])) for one in read["failures"]] == [
        (7, "worker killed", True), (8, "worker killed", False),
    ]  # fmt: skip
    assert read["failures"][1]["log"] == {"backend": "b", "fault": "wait"}
    assert read["injections"][0]["since"] == pytest.approx(15.0)


def test_what_the_clients_counted_survives_the_pipe() -> None:
    tally = Tally(Counter({(1, "get"): 2}), [LOST], [Move(9, "a", "b", 1, 2)], 3)
    assert Tally.of(json.loads(json.dumps(tally.document()))) == tally


def test_growth_is_judged_after_the_injections_that_renew_and_enlarge_processes() -> None:
    sizes = [10] * 30 + [20] * 70
    samples = [MemorySample(100.0 + turn, "workers", 1, 1, size, 50) for turn, size in enumerate(sizes)]
    warming = Injection("upgrade", 115.0, 130.0)
    grown = "memory of workers, last third to first"
    assert grown in missed(soak(samples=samples, injections=[warming]))
    assert grown not in missed(soak(samples=samples, injections=[warming, Injection("reloads", 140.0, 150.0)]))
    samples = [replace(sample, proportional=int(sample.moment)) for sample in samples]
    assert grown in missed(soak(samples=samples, injections=[warming, Injection("reloads", 140.0, 150.0)]))


def test_growth_decides_a_long_run_only() -> None:
    assert not decides(Check("memory", 2, 1, "x"), quick=True)
    assert decides(Check("memory", 2, 1, "x"), quick=False)
    assert decides(Check("failures", 1, 0), quick=True)


def test_a_long_run_has_calm_before_and_after() -> None:
    assert full(600).calm == pytest.approx(24)
    assert QUICK.calm > 0
