from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from lbflask.config.pools import PoolConfig
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
from lbflask.core.faults import Blame, ClientLeft, Fault, Stage
from lbflask.core.model import ActiveHealth, Ejection, Health

RULE = EjectionPolicy(("a", "b", "c", "d"), failures=5, window=10, duration=30, max_duration=100)
OUT = Ejection(True, 1, 50.0, 80.0)


def fault(blame: Blame, stage: Stage, status: int = 502, reused: bool = False, answered: bool = False) -> Fault:
    return Fault(blame, stage, status, "why", reused=reused, answered=answered)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert PoolConfig().ejection_rule() == EjectionPolicy()


def test_an_empty_report_counts_nothing() -> None:
    assert counted(None, FailureReport(), 1000, RULE, 50.0) == FailureWindow(50.0, 1000, 0, 0)
    assert FailureReport().attempts == 0


def test_a_window_from_before_the_clock_was_set_back_is_not_open() -> None:
    ahead = FailureWindow(51.0, 900, 4, 4)
    assert counted(ahead, FailureReport(1, 1, 1), 1000, RULE, 50.0) == FailureWindow(50.0, 999, 1, 1)


def test_only_a_backends_faults_weigh_and_a_failed_connection_weighs_most() -> None:
    for blame, stage in itertools.product(Blame, Stage):
        weight = weight_of_fault(fault(blame, stage))
        if blame is not Blame.BACKEND or stage is Stage.CHOOSE:
            assert weight == 0
        else:
            assert weight == (CONNECT_WEIGHT if stage is Stage.CONNECT else 1)


@pytest.mark.parametrize(("silence", "waited", "weight"), [(0.0, 99.0, 0), (5.0, 4.9, 0), (5.0, 5.0, 1)])
def test_a_client_that_leaves_a_silent_backend_weighs_if_set(silence: float, waited: float, weight: int) -> None:
    assert weight_of_fault(ClientLeft(Stage.WAIT, waited), silence) == weight
    assert weight_of_fault(fault(Blame.CLIENT, Stage.SEND), silence) == 0
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT), silence) == 1


def test_a_connection_that_went_stale_is_no_failure_but_a_late_answer_is() -> None:
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, reused=True)) == 0
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, reused=True, answered=True)) == 1
    assert weight_of_fault(fault(Blame.BACKEND, Stage.WAIT, status=504, reused=True)) == 1


def test_answers_of_5xx_weigh_unless_they_are_about_the_request() -> None:
    weighing = {status for status in range(100, 1000) if ejection.weight_of_status(status)}
    assert weighing == set(range(500, 600)) - {501, 505}
    assert weighing == EjectionPolicy().statuses


def test_only_the_statuses_that_are_named_weigh() -> None:
    statuses = frozenset({429, 503})
    assert {status for status in range(100, 1000) if ejection.weight_of_status(status, statuses)} == statuses


def played(rule: EjectionPolicy, *reports: tuple[float, int, FailureReport]) -> bool:
    """Whether the last report convicts; each comes at a moment, after so many attempts of other workers."""
    tally: FailureWindow | None = None
    total = 1000  # a long life before
    for seconds, others, report in reports:
        total += others + report.attempts
        tally = counted(tally, report, total, rule, 1000.0 + seconds)
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


@pytest.mark.parametrize(("good", "out"), [(0, True), (1, False)])
def test_failures_must_exceed_what_went_well_in_the_window(good: int, out: bool) -> None:
    assert played(RULE, (0.0, 0, FailureReport(1, 1, 1)), (1.0, good, FailureReport(4, 4, 4))) is out


@pytest.mark.parametrize(("attempts", "out"), [(195, True), (196, False)])
def test_one_attempt_decides_even_among_hundreds(attempts: int, out: bool) -> None:
    assert convicts(FailureWindow(0.0, 1000, 100, 100), 1000 + attempts, RULE) is out


@pytest.mark.parametrize(("good", "out"), [(7, True), (8, False)])
def test_a_success_makes_up_for_the_mean_weight_of_a_failure(good: int, out: bool) -> None:
    """Ten failed connections, less so many successes, must have the weight of five failures."""
    assert convicts(FailureWindow(0.0, 1000, 10, 20), 1010 + good, RULE) is out


def test_responses_that_break_off_may_exceed_the_attempts() -> None:
    assert not convicts(FailureWindow(0.0, 1000, 4, 4), 1000, RULE)
    assert convicts(FailureWindow(0.0, 1000, 5, 5), 1000, RULE)


def test_a_window_that_follows_begins_with_a_part_of_the_lead_of_the_last_one() -> None:
    last = FailureWindow(50.0, 940, 20, 30)
    report = FailureReport(3, 1, 1)
    assert counted(last, report, 1003, RULE, 59.9) == FailureWindow(50.0, 940, 21, 31)
    assert counted(last, report, 1003, RULE, 60.0) == FailureWindow(60.0, 960, 13 + 1, 20 + 1)
    assert counted(last, report, 1003, RULE, 80.0) == FailureWindow(80.0, 1002, 1, 1)
    assert counted(replace(last, failures=30), report, 1003, RULE, 60.0) == FailureWindow(60.0, 1002, 1, 1)


def test_a_busy_window_ends_before_its_time() -> None:
    busy = FailureWindow(50.0, 0, 100, 200)
    report = FailureReport(1, 1, 2)
    assert counted(busy, report, 1001, RULE, 51.0) == FailureWindow(50.0, 0, 101, 202)
    assert counted(busy, report, 1002, RULE, 51.0) == FailureWindow(51.0, 501, 49 + 1, 99 + 2)


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


@pytest.mark.parametrize(("now", "due"), [(1099.5, False), (1100.0, True), (1000.0, False), (999.5, True)])
def test_a_probe_is_due_at_the_end_of_the_ejection_or_if_that_is_too_far_ahead(now: float, due: bool) -> None:
    """An ejection lasts at most `max_duration`, which is 100 seconds here: a later end is by another clock."""
    assert ejection.due({"a": Ejection(True, 4, 1000.0, 1100.0)}, RULE, now) == (["a"] if due else [])
