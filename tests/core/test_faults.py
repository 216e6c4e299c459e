from __future__ import annotations

import re
from enum import StrEnum

import pytest

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import (
    AttemptTimeout,
    Blame,
    ClientLeft,
    Fault,
    FoundDown,
    NotAdmitted,
    Outpaced,
    RefusalResponse,
    Resource,
    RetriedResponse,
    Shortage,
    Stage,
)
from tests.support.documentation import page, public_values


@pytest.mark.parametrize("kind", [Blame, Stage])
def test_faults_have_the_names_that_users_read_in_the_log(kind: type[StrEnum]) -> None:
    assert sorted(kind) == public_values(kind)


def test_resources_have_the_names_of_their_label_in_metrics() -> None:
    (row,) = re.findall(r"^\| `shortages_total` .*", page("metrics.md"), re.MULTILINE)
    documented = re.findall(r"`(\w+)`", row.partition("lacked")[2])
    assert documented == list(Resource)


def test_a_fault_says_whose_it_was_how_far_the_request_had_got_and_why() -> None:
    fault = Fault(Blame.BACKEND, Stage.WAIT, 504, "no answer within 3 s")
    assert str(fault) == "no answer within 3 s"
    assert repr(fault) == "Fault(backend/wait 504: no answer within 3 s)"


def test_a_fault_is_of_a_new_and_silent_connection_unless_told_otherwise() -> None:
    fault = Fault(Blame.BACKEND, Stage.SEND, 502, "reset")
    assert (fault.reused, fault.answered) == (False, False)


def test_a_shortage_is_to_blame_on_this_process_and_answered_503() -> None:
    shortage = Shortage(Stage.CONNECT, Resource.PORTS, "no free port")
    assert (shortage.blame, shortage.status, str(shortage)) == (Blame.SELF, 503, "no free port")
    assert shortage.resource is Resource.PORTS


@pytest.mark.parametrize(
    ("silence", "reason"), [(0.9, "the client hung up"), (31.2, "the client hung up; w1 had sent nothing for 31 s")]
)
def test_a_client_that_left_names_the_backend_that_was_silent_for_long(silence: float, reason: str) -> None:
    fault = ClientLeft(Stage.WAIT, silence)
    fault.name_backend("w1")
    assert (fault.blame, fault.stage, fault.status, fault.reason) == (Blame.CLIENT, Stage.WAIT, 499, reason)


def test_a_backend_that_was_found_down_is_to_blame() -> None:
    fault = FoundDown(3.24)
    assert (fault.blame, fault.stage, fault.status) == (Blame.BACKEND, Stage.WAIT, 502)
    assert fault.reason == "silent for 3.2 s, and then found down by its checks"


@pytest.mark.parametrize(
    ("blame", "stage", "status", "cause"),
    [
        (Blame.CLIENT, Stage.SEND, 499, AnswerCause.CLIENT_LEFT),
        (Blame.CLIENT, Stage.SEND, 408, AnswerCause.CLIENT_SLOW),
        (Blame.CLIENT, Stage.CHOOSE, 400, AnswerCause.BAD_REQUEST),
        (Blame.BACKEND, Stage.CHOOSE, 503, AnswerCause.NO_BACKEND),
        (Blame.SELF, Stage.CHOOSE, 500, AnswerCause.INTERNAL),
        (Blame.BACKEND, Stage.CONNECT, 504, AnswerCause.CONNECTION_FAILED),
        (Blame.BACKEND, Stage.WAIT, 504, AnswerCause.TIMEOUT),
        (Blame.BACKEND, Stage.WAIT, 502, AnswerCause.BACKEND_FAILED),
    ],
)
def test_the_cause_of_an_answer_follows_from_blame_stage_and_status(
    blame: Blame, stage: Stage, status: int, cause: AnswerCause
) -> None:
    assert Fault(blame, stage, status, "").answer_cause is cause


def test_an_attempt_without_a_response_in_its_time_is_a_fault_of_the_backend() -> None:
    fault = AttemptTimeout(Stage.WAIT, 1.5)
    assert (fault.blame, fault.stage, fault.status) == (Blame.BACKEND, Stage.WAIT, 504)
    assert fault.reason == "no response within 1.5 s, the time of one attempt"
    assert fault.answer_cause is AnswerCause.TIMEOUT


def test_a_response_that_is_retried_states_its_status() -> None:
    fault = RetriedResponse(503)
    assert (fault.blame, fault.status, fault.reason) == (Blame.BACKEND, 502, "responded 503, which is retried")


def test_an_attempt_that_another_one_outpaced_is_no_fault_of_its_backend() -> None:
    fault = Outpaced("web2")
    assert (fault.blame, fault.stage) == (Blame.SELF, Stage.WAIT)
    assert fault.reason == "ended, since web2 responded first"


def test_a_refusal_of_another_service_has_its_body() -> None:
    refusal = RefusalResponse(403, "no", AnswerCause.AUTH, [("X-Why", "no")], b"body")
    assert (refusal.status, refusal.fields, refusal.body) == (403, [("X-Why", "no")], b"body")
    assert refusal.answer_cause is AnswerCause.AUTH


def test_a_refusal_has_fields_for_the_client_and_a_reason_for_the_log() -> None:
    refusal = NotAdmitted(401, "no credentials", AnswerCause.ACCESS, [("WWW-Authenticate", "Basic")], "no such user")
    assert (refusal.blame, refusal.stage, refusal.status) == (Blame.CLIENT, Stage.CHOOSE, 401)
    assert (refusal.reason, refusal.log_reason) == ("no credentials", "no such user")
    assert (refusal.answer_cause, refusal.fields) == (AnswerCause.ACCESS, [("WWW-Authenticate", "Basic")])
