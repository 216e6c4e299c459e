from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from lbflask.config.traffic import RetriesConfig
from lbflask.core.faults import AttemptTimeout, Blame, Fault, FoundDown, RetriedResponse, Stage
from lbflask.core.retry import RetryPolicy, costs_budget, is_better, replayable, went_stale

#: RFC 9110 §9.2.2, written out: the rest must never be replayed.
IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
OTHERS = ("POST", "PATCH", "CONNECT", "BREW", "get")
STATUSES = (400, 408, 413, 502, 503, 504)

#: Of the backend's faults with an untouched body: which methods go to the next backend, by stage and time-out.
TABLE = {
    (Stage.CHOOSE, False): (),
    (Stage.CHOOSE, True): (),
    (Stage.CONNECT, False): IDEMPOTENT + OTHERS,
    (Stage.CONNECT, True): IDEMPOTENT + OTHERS,
    (Stage.SEND, False): IDEMPOTENT,
    (Stage.SEND, True): (),
    (Stage.WAIT, False): IDEMPOTENT,
    (Stage.WAIT, True): (),
    (Stage.BODY, False): (),
    (Stage.BODY, True): (),
}


@dataclass(frozen=True)
class Case:
    method: str
    fault: Fault
    touched: bool

    @property
    def retried(self) -> bool:
        return replayable(self.fault, self.method, self.touched)


def every_case() -> Iterator[Case]:
    flags = (False, True)
    for method, blame, stage, status, touched, reused, answered in product(
        IDEMPOTENT + OTHERS, Blame, Stage, STATUSES, flags, flags, flags
    ):
        yield Case(method, Fault(blame, stage, status, "…", reused=reused, answered=answered), touched)


def retried_cases() -> list[Case]:
    cases = [case for case in every_case() if case.retried]
    assert cases  # an invariant over nothing would prove nothing
    return cases


def test_the_whole_product_follows_the_table() -> None:
    for case in every_case():
        fault = case.fault
        allowed = TABLE[fault.stage, fault.status == 504]
        expected = fault.blame is Blame.BACKEND and not case.touched and case.method in allowed
        assert case.retried is expected, case


def test_a_touched_body_is_never_sent_again() -> None:
    assert not any(case.touched for case in retried_cases())


def test_a_method_that_is_not_idempotent_is_never_replayed_once_sending_began() -> None:
    assert {case.fault.stage for case in retried_cases() if case.method not in IDEMPOTENT} == {Stage.CONNECT}


def test_only_the_faults_of_backends_are_retried() -> None:
    assert {case.fault.blame for case in retried_cases()} == {Blame.BACKEND}


def test_nothing_is_retried_after_the_response_began() -> None:
    assert Stage.BODY not in {case.fault.stage for case in retried_cases()}


def test_a_spent_deadline_is_not_spent_twice() -> None:
    assert {case.fault.stage for case in retried_cases() if case.fault.status == 504} == {Stage.CONNECT}


def test_a_failed_connection_may_be_followed_by_another_for_every_method() -> None:
    methods = {case.method for case in retried_cases() if case.fault.stage is Stage.CONNECT}
    assert methods == {*IDEMPOTENT, *OTHERS}


def test_only_a_reused_silent_connection_to_the_backend_goes_stale() -> None:
    stale = [case.fault for case in every_case() if went_stale(case.fault)]
    assert {fault.stage for fault in stale} == {Stage.SEND, Stage.WAIT}
    assert {fault.blame for fault in stale} == {Blame.BACKEND}
    assert {(fault.reused, fault.answered) for fault in stale} == {(True, False)}
    assert 504 not in {fault.status for fault in stale}


@pytest.mark.parametrize("stage", [Stage.SEND, Stage.WAIT])
def test_a_keep_alive_connection_closed_before_any_byte_came_back_went_stale(stage: Stage) -> None:
    assert went_stale(Fault(Blame.BACKEND, stage, 502, "closed", reused=True))


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert RetriesConfig().policy() == RetryPolicy()


def test_only_a_response_that_is_no_failure_and_not_retried_is_better_than_the_first_one() -> None:
    policy = RetryPolicy(statuses=frozenset({429, 503}))
    assert [status for status in (200, 304, 404, 429, 500, 502, 503, 504) if is_better(status, policy)] == [
        200,
        304,
        404,
    ]


def test_only_attempts_after_a_failed_connection_cost_no_budget() -> None:
    free = {stage for stage in Stage if not costs_budget(Fault(Blame.BACKEND, stage, 502, "…"))}
    assert free == {Stage.CONNECT}


def test_the_time_of_an_attempt_is_not_that_of_the_request() -> None:
    for stage in (Stage.SEND, Stage.WAIT):
        fault = AttemptTimeout(stage, 2.5)
        assert (fault.status, str(fault)) == (504, "no response within 2.5 s, the time of one attempt")
        assert [method for method in IDEMPOTENT + OTHERS if replayable(fault, method, body_touched=False)] == [
            *IDEMPOTENT
        ]
        assert not replayable(fault, "GET", body_touched=True)
        assert costs_budget(fault)
        assert not went_stale(fault)


def test_a_response_with_a_retried_status_is_followed_by_another_attempt() -> None:
    for status in (429, 503, 504):
        fault = RetriedResponse(status)
        assert str(fault) == f"responded {status}, which is retried"
        assert replayable(fault, "GET", body_touched=False)
        assert not replayable(fault, "POST", body_touched=False)
        assert costs_budget(fault)


def test_the_settings_name_the_statuses() -> None:
    assert RetriesConfig(statuses=(503, 429)).policy().statuses == {429, 503}
    assert RetriesConfig().policy() == RetryPolicy()


def test_a_request_that_hangs_at_a_backend_found_down_moves_like_one_whose_connection_failed() -> None:
    fault = FoundDown(3.0)
    assert replayable(fault, "GET", body_touched=False)
    assert not replayable(fault, "POST", body_touched=False)
    assert not costs_budget(fault)
    assert not went_stale(fault)
