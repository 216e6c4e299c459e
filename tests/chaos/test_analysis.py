"""What follows from what happened: phases, percentiles, and when the last worker had joined."""

from __future__ import annotations

import math

import pytest

from chaos.analysis import (
    FLOOR,
    HealthSample,
    LoadRequest,
    Outcome,
    Phases,
    failures,
    first_match,
    late,
    settled,
    under_way,
)
from devtools.report import Check

ONE, TWO = (1, 10), (1, 11)


def asked(due: float, takes: float = 0.001, failure: str = "", local: int = 0, *, slow: bool = False) -> LoadRequest:
    return LoadRequest(due, due + takes, 80, local, failure, slow)


def said(moment: float, worker: tuple[int, int], store: str) -> HealthSample:
    return HealthSample(moment, *worker, "ok", store, 0.1)


def connected(sample: HealthSample) -> bool:
    return sample.store == "connected"


def test_requests_belong_to_the_phase_in_which_they_were_due() -> None:
    phases = Phases.of([asked(moment) for moment in (0.5, 1.5, 2.0, 2.9, 3.0, 9.0)], 1, 2, 3)
    assert [[r.due for r in phase] for phase in (phases.before, phases.during, phases.after)] == [
        [1.5], [2.0, 2.9], [3.0, 9.0],
    ]  # fmt: skip


def test_a_failure_before_the_beginning_counts() -> None:
    phases = Phases.of([asked(0.5, failure="502"), asked(0.6)], 1, 2, 3)
    assert [request.failure for request in phases.all] == ["502"]


def test_neither_failures_nor_what_is_slow_on_purpose_are_in_the_percentiles() -> None:
    phases = Phases([asked(0, 0.002), asked(0, 9.0, "reset"), asked(0, 9.0, slow=True)], [], [])
    before, during, _ = phases.p99
    assert before == pytest.approx(2.0)
    assert math.isnan(during)


@pytest.mark.parametrize(("before", "during", "met"), [(0.001, 0.0149, True), (0.001, 0.016, False),
                                                       (0.010, 0.029, True), (0.010, 0.031, False)])  # fmt: skip
def test_three_times_as_long_is_allowed_and_five_ms_are_the_least_to_compare_with(
    before: float, during: float, met: bool
) -> None:
    check = Phases([asked(0, before)], [asked(1, during)], []).calm()
    assert check.met is met
    assert check.target == pytest.approx(3 * max(before * 1000, FLOOR))


def test_no_answer_at_all_during_the_trouble_is_a_miss() -> None:
    assert not Phases([asked(0)], [asked(1, failure="502")], []).calm().met


def test_the_last_worker_to_join_decides_and_one_that_leaves_again_has_not_joined() -> None:
    samples = [
        said(0.5, ONE, "unreachable"), said(1.1, ONE, "connected"), said(1.2, ONE, "unreachable"),
        said(1.5, ONE, "connected"), said(1.0, TWO, "unreachable"), said(1.3, TWO, "connected"),
    ]  # fmt: skip
    assert settled(samples, [ONE, TWO], 1.0, connected) == pytest.approx(0.5)
    assert settled(samples, [TWO], 1.0, connected) == pytest.approx(0.3)


def test_a_worker_without_a_sample_has_not_joined() -> None:
    samples = [said(1.1, ONE, "connected")]
    assert settled(samples, [ONE, TWO], 1.0, connected) == math.inf
    assert first_match(samples, [ONE, TWO], 1.0, connected) == math.inf
    assert first_match(samples, [ONE], 1.0, connected) == pytest.approx(0.1)


def test_one_that_ends_badly_has_not_joined() -> None:
    assert settled([said(1.1, ONE, "connected"), said(1.2, ONE, "unreachable")], [ONE], 1.0, connected) == math.inf


def test_requests_under_way_are_those_that_overlap_on_the_given_connections() -> None:
    requests = [asked(1.0, 0.5, local=7), asked(1.0, 0.5, local=8), asked(0.1, 0.1, local=7), asked(3.0, local=7)]
    assert under_way(requests, {7}, 1.2, 1.3) == requests[:1]


def test_failures_but_for_one_kind() -> None:
    requests = [asked(0), asked(0, failure="500"), asked(0, failure="reset")]
    assert [request.failure for request in failures(requests, "500")] == ["reset"]


def test_late_is_after_and_not_at() -> None:
    assert late([1.0, 2.0, 3.0], 2.0) == 1


def test_an_outcome_is_a_line_of_the_table() -> None:
    outcome = Outcome("x", 1234, 0, (1.0, 2.0, 3.0), math.nan, [Check("failed", 1, 0)])
    assert outcome.row() == ["x", "1,234", "0", "1", "2", "3", "", "FAIL"]
