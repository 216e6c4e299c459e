from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest

import lbflask
from lbflask.core.http.reason_phrases import REASONS, reason_phrase

#: RFC 9110 has new phrases for them; Python has these from 3.13 on.
RENAMED = {413, 414, 416, 422}


def test_every_status_that_python_knows_has_its_reason() -> None:
    assert {status.value for status in HTTPStatus} <= REASONS.keys()
    phrases = {status.value: status.phrase for status in HTTPStatus if status not in RENAMED}
    assert {status: reason_phrase(status) for status in phrases} == phrases


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (203, "Non-Authoritative Information"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (499, "Client Closed Request"),
        (505, "HTTP Version Not Supported"),
        (299, ""),
        (600, ""),
    ],
)
def test_reasons_are_those_of_the_registry(status: int, phrase: str) -> None:
    """RFC 9110 §15, and the IANA registry of HTTP status codes."""
    assert reason_phrase(status) == phrase


def test_no_reason_is_taken_from_python() -> None:
    """Its phrases change from release to release."""
    files = Path(lbflask.__file__).parent.rglob("*.py")
    assert [path for path in files if "import HTTPStatus" in path.read_text("utf-8")] == []
