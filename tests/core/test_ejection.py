from __future__ import annotations

import itertools

import pytest

from lbflask.core import ejection
from lbflask.core.ejection import (
    CONNECT_WEIGHT,
    EjectionPolicy,
    FailureReport,
    FailureWindow,
    convicts,
    counted,
    weight_of_fault,
)
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import ActiveHealth, Ejection, Health

RULE = EjectionPolicy(("a", "b", "c", "d"), failures=5, window=10, duration=30, max_duration=100)
OUT = Ejection(True, 1, 50.0, 80.0)


def fault(blame: Blame, stage: Stage, status: int = 502, reused: bool = False, answered: bool = False) -> Fault:
    return Fault(blame, stage, status, "why", reused=reused, answered=answered)


def test_only_a_backends_faults_weigh_and_a_failed_connection_weighs_most() -> None:
    for blame, stage in itertools.product(Blame, Stage):
        weight = weight_of_fault(fault(blame, stage))
        if blame is not Blame.BACKEND or stage is Stage.CHOOSE:
            assert weight == 0
        else:
            assert weight == (CONNECT_WEIGHT if stage is Stage.CONNECT else 1)


def test_a_connection_that_went_stale_is_no_failure_but_a_late_answer_is() -> None:
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, reused=True)) == 0
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, reused=True, answered=True)) == 1
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, status=504, reused=True)) == 1


def test_answers_of_5xx_weigh_unless_they_are_about_the_request() -> None:
    weighing = {status for status in range(100, 1000) if ejection.weight_of_status(status)}
    assert weighing == set(range(500, 600)) - {501, 505}


def played(rule: EjectionPolicy, *reports: tuple[float, int, FailureReport]) -> bool:
    """Whether the last report convicts; each comes at a moment, after so many attempts of other workers."""
    tally: FailureWindow | None = None
    total = 1000  # a long life before
    for now, others, report in reports:
        total += others + report.attempts
        tally = counted(tally, report, total, rule, now)
    assert tally is not None
    return convicts(tally, total, rule)


@pytest.mark.parametrize("failures", range(1, 8))
def test_it_takes_as_many_failures_as_the_rule_says(failures: int) -> None:
    reports = [(float(n), 0, FailureReport(1, 1, 1)) for n in range(failures)]
    assert played(RULE, *reports) is (failures >= 5)
    assert played(RULE, (0.0, 0, FailureReport(failures, failures, failures))) is (failures >= 5)


@pytest.mark.parametrize("failures", range(1, 5))
def test_three_failed_connections_are_enough_for_five_failures(failures: int) -> None:
    assert played(RULE, *[(0.0, 0, FailureReport(1, 1, CONNECT_WEIGHT))] * failures) is (failures >= 3)


def test_what_went_well_before_the_first_failure_hides_nothing() -> None:
    first = (0.0, 5000, FailureReport(900, 1, 1))
    assert played(RULE, first, *[(0.1, 0, FailureReport(1, 1, 1))] * 4)


def test_a_busy_backend_with_few_errors_stays() -> None:
    assert not played(RULE, *[(0.1, 500, FailureReport(500, 1, 1))] * 9)


@pytest.mark.parametrize(("good", "out"), [(0, True), (5, True), (6, False)])
def test_at_least_half_of_the_attempts_in_the_window_must_fail(good: int, out: bool) -> None:
    assert played(RULE, (0.0, 0, FailureReport(1, 1, 1)), (1.0, good, FailureReport(4, 4, 4))) is out


def test_one_machine_that_cannot_reach_a_backend_does_not_take_it_from_the_others() -> None:
    assert not played(RULE, *[(n / 10, 9, FailureReport(1, 1, CONNECT_WEIGHT)) for n in range(50)])


@pytest.mark.parametrize(("pause", "out"), [(2.4, True), (2.5, False), (11.0, False)])
def test_failures_far_apart_are_not_counted_together(pause: float, out: bool) -> None:
    assert played(RULE, *[(n * pause, 0, FailureReport(1, 1, 1)) for n in range(5)]) is out


def test_no_failures_at_all_is_no_reason_and_zero_turns_it_off() -> None:
    assert EjectionPolicy(("a", "b"), failures=0).quota == 0
    assert not played(RULE, (0.0, 5, FailureReport(0, 0, 0)))


@pytest.mark.parametrize(
    ("members", "percent", "quota"),
    [
        (1, 50, 0), (1, 100, 0), (2, 50, 1), (2, 1, 1), (2, 0, 0), (3, 50, 1), (3, 100, 2), (4, 50, 2), (10, 50, 5),
        (10, 25, 2), (10, 1, 1), (10, 100, 9),
    ],
)  # fmt: skip
def test_how_many_may_be_out(members: int, percent: float, quota: int) -> None:
    assert EjectionPolicy(tuple("abcdefghij"[:members]), max_percent=percent).quota == quota


def test_room_is_taken_by_members_that_are_out_and_by_nobody_else() -> None:
    back = ejection.returned(OUT, 90.0)
    assert ejection.has_room({"a": OUT, "b": back, "removed": OUT}, RULE)
    assert not ejection.has_room({"a": OUT, "b": OUT}, RULE)


def test_an_ejection_lasts_longer_each_time_up_to_the_longest() -> None:
    state, now, lengths = None, 1000.0, []
    for _ in range(5):
        state = ejection.ejected(state, RULE, now)
        lengths.append(state.until - now)
        now = state.until + 1
        state = ejection.returned(state, now)
    assert lengths == [30, 60, 90, 100, 100]


def test_a_probe_that_fails_prolongs_the_ejection_without_beginning_a_new_one() -> None:
    assert ejection.ejected(OUT, RULE, 81.0) == Ejection(True, 2, OUT.since, 81.0 + 60)


@pytest.mark.parametrize(("later", "times"), [(100.0, 3), (100.5, 1)])
def test_a_backend_that_has_served_for_long_begins_again(later: float, times: int) -> None:
    back = ejection.returned(Ejection(True, 2, 0.0, 10.0), 20.0)
    assert ejection.ejected(back, RULE, 20.0 + later).times == times


@pytest.mark.parametrize(
    ("active", "out"),
    [
        (ActiveHealth(Health.UP, since=49.0), True),
        (ActiveHealth(Health.UP, since=50.0), True),
        (ActiveHealth(Health.UP, since=50.5), False),
        (ActiveHealth(Health.DOWN, since=60.0), True),
        (ActiveHealth(Health.UNKNOWN, since=60.0), True),
        (ActiveHealth(Health.CHECKING), True),
    ],
)
def test_a_backend_that_checks_have_seen_come_up_since_is_out_no_more(active: ActiveHealth, out: bool) -> None:
    assert ejection.is_out(OUT, active) is out
    assert not ejection.is_out(ejection.returned(OUT, 60.0), active)
    assert not ejection.is_out(None, active)


def test_those_that_have_waited_longest_are_probed_first() -> None:
    known = {
        "a": Ejection(True, 1, 0.0, 20.0),
        "b": Ejection(True, 1, 0.0, 10.0),
        "c": Ejection(True, 1, 0.0, 31.0),
        "d": Ejection(False, 1, 0.0, 5.0),
        "removed": Ejection(True, 1, 0.0, 5.0),
    }
    assert ejection.due(known, RULE, 30.0) == ["b", "a"]
    assert ejection.due(known, RULE, 9.0) == []
