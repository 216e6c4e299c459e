"""The authors, times and reasons of changes."""

from __future__ import annotations

import pytest

from lbflask.core.operator_note import MAX_REASON, OperatorNote, described, reason_error

NOON = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 12 * 3600


def test_a_change_is_described_with_author_time_and_reason() -> None:
    note = OperatorNote("alice", NOON, "ticket 123")
    assert described("drained", note, NOON + 60) == "drained by alice since 12:00 UTC: ticket 123"
    assert described("drained", OperatorNote("alice", NOON), NOON) == "drained by alice since 12:00 UTC"
    assert described("drained", None, NOON) == "drained by an operator"


@pytest.mark.parametrize("now", [NOON + 86_400, NOON - 1])
def test_a_change_of_another_day_has_its_date(now: float) -> None:
    assert described("drained", OperatorNote("alice", NOON), now) == "drained by alice since 2023-11-14 12:00 UTC"


@pytest.mark.parametrize("reason", ["", "ticket 123", "größer: 日本語", "x" * MAX_REASON])
def test_a_reason_is_a_line_of_printable_characters(reason: str) -> None:
    assert reason_error(reason) == ""


@pytest.mark.parametrize("reason", ["two\nlines", "\x1b[31m", "a\u202eb", "a\u2066b", "\u2028", "\x85", "\ud800"])
def test_other_characters_are_refused(reason: str) -> None:
    assert "printable" in reason_error(reason)


def test_a_long_reason_is_refused_with_its_length() -> None:
    assert reason_error("x" * (MAX_REASON + 1)) == "has 201 characters; 200 are allowed"
