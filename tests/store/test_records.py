from __future__ import annotations

import json
from typing import Any

import pytest

from lbflask.config.backends import BackendConfig
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.model import Override
from lbflask.store import records
from tests.support.changes import property_test

#: As long as load balancers of clouds are called, and longer than a configured name may be.
LONG = "http://internal-a-load-balancer-of-a-cloud-1234567890.eu-central-1.elb.example.com:8000"


def test_a_backend_whose_host_is_longer_than_a_name_is_read_from_its_record() -> None:
    backend = BackendConfig.model_validate(LONG).to_model()
    assert len(backend.id) > 64
    assert records.parse_backends(records.dump_backends([backend])) == ((backend,), 0)
    added = Override(added=backend)
    assert records.parse_override(records.dump_override(added), backend.id) == added


test_any_record_is_read_as_it_is_written_or_ignored = property_test("record")
test_any_url_is_that_of_one_backend_in_its_record = property_test("backend")


def report_with(**changes: Any) -> WorkerReport | None:
    """The report in a record that was changed."""
    plain = WorkerReport(WorkerIdentity("one", "host", 1), 1.0, 1.0)
    return records.parse_report(json.dumps(json.loads(records.dump_report(plain)) | changes))


def test_a_report_of_an_older_version_has_no_answers() -> None:
    report = report_with()
    assert report is not None
    assert report.answers is None


def test_a_status_that_is_not_registered_leaves_a_report_valid() -> None:
    report = report_with(answers=[9.5, [["7xx", "backend", "", 3]]])
    assert report is not None
    assert report.answers == Answers(9.5, {AnswerKey("7xx", "backend"): 3})


def test_answers_of_a_newer_version_with_unknown_causes_and_more_parts_are_read() -> None:
    report = report_with(answers=[9.5, [["502", "new_cause", "web", 7, "more"], ["2xx", "backend", "", 3]], "more"])
    assert report is not None
    assert report.answers == Answers(9.5, {AnswerKey("502", "new_cause", "web"): 7, AnswerKey("2xx", "backend"): 3})


@pytest.mark.parametrize(
    "answers",
    [7, [], [9.5], [-1, []], [9.5, [["2xx"]]], [9.5, [["2xx", "backend", "", -1]]], [9.5, [["ok", "a", "", 1]]]],
)
def test_a_report_with_invalid_answers_counts_as_absent(answers: object) -> None:
    assert report_with(answers=answers) is None


def test_signs_that_a_terminal_would_obey_or_that_have_no_encoding_are_replaced() -> None:
    report = report_with(instance="one\x1b[2J", host="\ud800", clients=[5.0, 9, [["10.0.0.1\n", 9]]])
    assert report is not None
    assert (report.identity.instance, report.identity.host) == ("one?[2J", "?")
    assert report.clients is not None
    assert report.clients.counts == {"10.0.0.1?": 9}


@pytest.mark.parametrize("backend", ["w1\x1b[2J", "w" * 1001])
def test_an_override_of_what_cannot_be_a_backend_counts_as_absent(backend: str) -> None:
    assert records.parse_override(records.dump_override(Override()), "w1") == Override()
    assert records.parse_override(records.dump_override(Override()), backend) is None
