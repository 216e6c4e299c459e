from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from chaos.soak.verdict import (
    CALM,
    BackendBroken,
    BackendFrozen,
    BackendKilled,
    Failure,
    Injection,
    LogLine,
    Loss,
    MemorySample,
    Move,
    WorkerKilled,
    WorkersEnded,
    explanation,
    growth,
    injection_at,
    read_log,
    unexplained_moves,
)

#: Under way from 9 to 11; what follows was killed at 10 and had ended at 10.1.
FAILURE = Failure(
    1, "get", 80, 5000, began=9.0, ended=11.0, status=0, reused=True, answered=False, text="it was closed"
)
BACKEND = "127.0.0.1:8081"


def reason(failure: Failure, loss: Loss, line: LogLine | None = None) -> str:
    return explanation(failure, [Injection("it", 10, 20, (loss,))], {} if line is None else {failure.number: line})


def test_a_killed_worker_explains_what_was_under_way_on_its_connections_and_nothing_else() -> None:
    loss = WorkerKilled(10.0, 10.1, frozenset({(80, 5000)}))
    assert reason(FAILURE, loss)
    assert not reason(replace(FAILURE, local=5001), loss)
    assert not reason(replace(FAILURE, port=81), loss)
    assert not reason(replace(FAILURE, began=10.2), loss)
    assert not reason(replace(FAILURE, ended=9.9), loss)


@pytest.mark.parametrize(
    ("kind", "status", "answered", "fault", "explained"),
    [
        ("post", 502, True, "wait", True),
        ("upload", 502, True, "send", True),
        ("upload", 0, False, "send", True),
        ("post", 502, True, "connect", False),  # no byte was sent: the next backend gets it
        ("post", 503, True, "wait", False),
        ("get", 502, True, "wait", False),  # it can be repeated
        ("session", 502, True, "wait", False),
        ("download", 502, True, "wait", False),
        ("download", 200, True, "body", True),
        ("events", 200, True, "body", True),
        ("events", 200, True, "", False),
        ("websocket", 101, True, "", True),
        ("websocket", 502, True, "wait", False),
    ],
)
def test_a_killed_backend_explains_what_cannot_be_repeated(
    kind: str, status: int, answered: bool, fault: str, explained: bool
) -> None:
    failure = replace(FAILURE, kind=kind, status=status, answered=answered)
    assert bool(reason(failure, BackendKilled(10.0, 10.1, BACKEND), LogLine(BACKEND, fault))) is explained


def test_a_killed_backend_explains_only_what_it_was_serving_then() -> None:
    loss, line = BackendKilled(10.0, 10.1, BACKEND), LogLine(BACKEND, "wait")
    failure = replace(FAILURE, kind="post", status=502)
    assert reason(failure, loss, line)
    assert not reason(failure, loss, LogLine("127.0.0.1:8082", "wait"))
    assert not reason(failure, loss)
    assert not reason(replace(failure, began=10.2), loss, line)
    assert not reason(replace(failure, ended=9.9), loss, line)


def test_a_broken_backend_explains_its_500_alone() -> None:
    loss = BackendBroken(8.0, 12.0, BACKEND)
    failure = replace(FAILURE, status=500, answered=True)
    assert reason(failure, loss, LogLine(BACKEND, ""))
    assert not reason(failure, loss, LogLine("127.0.0.1:8082", ""))
    assert not reason(replace(failure, status=502), loss, LogLine(BACKEND, "wait"))
    assert not reason(replace(failure, began=12.5, ended=12.6), loss, LogLine(BACKEND, ""))


def test_workers_that_end_explain_requests_that_they_never_received() -> None:
    loss = WorkersEnded(10.0, 15.0, frozenset({(80, 5000)}))
    assert reason(FAILURE, loss)
    assert not reason(FAILURE, loss, LogLine("", ""))  # a line in the log: a worker had it
    assert not reason(replace(FAILURE, reused=False), loss)
    assert not reason(replace(FAILURE, answered=True), loss)
    assert not reason(replace(FAILURE, local=5001), loss)
    assert not reason(replace(FAILURE, ended=15.1), loss)


def test_a_frozen_backend_explains_no_failure() -> None:
    assert not reason(FAILURE, BackendFrozen(8.0, 12.0, BACKEND), LogLine(BACKEND, "wait"))


@pytest.mark.parametrize(
    "loss", [BackendKilled(10.0, 10.1, BACKEND), BackendFrozen(10.0, 12.0, BACKEND), BackendBroken(10.0, 12.0, BACKEND)]
)
def test_a_session_may_leave_a_backend_that_was_lost_between_its_responses(loss: Loss) -> None:
    injections = [Injection("it", 10.0, 20.0, (loss,))]
    during = Move(1, BACKEND, "other", 9.0, 11.0)
    assert unexplained_moves([during], injections) == []
    others = [replace(during, before="other"), replace(during, until=9.9), replace(during, since=20.1, until=21.0)]
    assert unexplained_moves(others, injections) == others


def test_a_session_may_begin_anew_only_at_a_backend_that_was_started_again() -> None:
    reset = Move(1, BACKEND, BACKEND, 9.0, 11.0)
    killed, frozen = BackendKilled(10.0, 10.1, BACKEND), BackendFrozen(10.0, 12.0, BACKEND)
    assert unexplained_moves([reset], [Injection("it", 10.0, 20.0, (killed,))]) == []
    assert unexplained_moves([reset], [Injection("it", 10.0, 20.0, (frozen,))]) == [reset]


def test_a_session_may_not_leave_its_backend_because_a_worker_was_killed() -> None:
    move = Move(1, BACKEND, "other", 9.0, 11.0)
    assert unexplained_moves([move], [Injection("it", 10.0, 20.0, (WorkerKilled(10, 10.1, frozenset()),))]) == [move]


def test_a_moment_belongs_to_the_injection_that_lasts_until_recovery() -> None:
    injections = [Injection("one", 10.0, 20.0), Injection("two", 30.0, 40.0)]
    assert [injection_at(moment, injections) for moment in (9, 15, 25, 35)] == [CALM, "one", CALM, "two"]


def test_the_log_is_read_for_the_given_numbers_only() -> None:
    def line(target: str, *attempts: dict[str, str]) -> str:
        return json.dumps({"id": "x", "target": target, "status": 502, "attempts": attempts}) + "\n"

    lines = [
        line("/post/1", {"backend": "a", "fault": "connect"}, {"backend": "b", "fault": "wait"}),
        line("/get/2", {"backend": "a", "fault": "connect"}),
        line("/download/3/1000", {"backend": "c"}),
        line("/get/4"),
        json.dumps({"dropped_lines": 1}) + "\n",
    ]
    assert read_log(lines, [1, 3, 4]) == {1: LogLine("b", "wait"), 3: LogLine("c", ""), 4: LogLine("", "")}


def sample(moment: float, size: int, role: str = "workers", pid: int = 1) -> MemorySample:
    return MemorySample(moment, role, pid, size, size, size)


def test_growth_is_that_of_the_median_of_a_role_whatever_processes_it_has() -> None:
    samples = [sample(moment, 100) for moment in range(3)]
    samples += [sample(moment, 1000) for moment in range(3, 6)]
    samples += [sample(7, 100, pid=2), sample(8, 110), sample(9, 120), sample(9, 900, pid=2), sample(9, 5, "other")]
    assert growth(samples, "workers", "unique") == pytest.approx(1.15)


def test_a_growth_within_the_slack_is_none() -> None:
    samples = [*(sample(moment, 10) for moment in range(5)), *(sample(moment, 12) for moment in range(5, 10))]
    assert growth(samples, "workers", "descriptors") == pytest.approx(1.2)
    assert growth(samples, "workers", "descriptors", slack=2) == 1.0
    assert growth(samples, "workers", "descriptors", slack=1) == pytest.approx(1.2)


def test_growth_without_samples_is_unknown() -> None:
    assert math.isnan(growth([], "workers", "unique"))
    assert math.isnan(growth([sample(0, 1), sample(9, 1)], "other", "unique"))
