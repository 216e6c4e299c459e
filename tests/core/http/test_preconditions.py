from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.http_dates import date_text
from lbflask.core.http.preconditions import Validators, failed_status, range_applies
from tests.support.changes import property_test

NOW = 1_800_000_000.0
MODIFIED = 1_700_000_000
SAME, BEFORE, AFTER = date_text(MODIFIED), date_text(MODIFIED - 1), date_text(MODIFIED + 1)
STRONG, WEAK = Validators('"a"', MODIFIED), Validators('W/"a"', MODIFIED)


@pytest.mark.parametrize(
    ("tags", "weak", "strong"),
    [
        ("*", True, True),
        (" * ", True, True),
        ('"a"', True, True),
        ('W/"a"', True, False),
        ('"b", "a"', True, True),
        (' , "b" ,, W/"a",', True, False),
        ('"b"', False, False),
        ('"a', False, False),
        ("a", False, False),
        ("", False, False),
        ('"a" "a"', False, False),
        ('w/"a"', False, False),
        ('"a", *', False, False),
        ('"a,"', False, False),
    ],
)
def test_tags_match_by_the_comparison_of_their_field(tags: str, weak: bool, strong: bool) -> None:
    assert STRONG.matches(tags, weak=True) is weak
    assert STRONG.matches(tags, weak=False) is strong


def test_a_weak_tag_of_the_file_matches_by_the_weak_comparison_only() -> None:
    assert WEAK.matches('"a"', weak=True)
    assert WEAK.matches('W/"a"', weak=True)
    assert not WEAK.matches('W/"a"', weak=False)
    assert not WEAK.matches('"a"', weak=False)


#: By field: values that hold, that fail, and that mean nothing.
VALUES: dict[str, tuple[str | None, ...]] = {
    "if-match": (None, '"a"', '"b"'),
    "if-unmodified-since": (None, SAME, BEFORE, "yesterday"),
    "if-none-match": (None, '"b"', '"a"'),
    "if-modified-since": (None, BEFORE, SAME, "yesterday"),
}


@pytest.mark.parametrize("values", [*product(*VALUES.values())])
def test_preconditions_are_evaluated_in_their_order(values: tuple[str | None, ...]) -> None:
    """RFC 9110 section 13.2.2, written down once more, for all combinations."""
    asked = {name: value for name, value in zip(VALUES, values, strict=True) if value is not None}
    match, unmodified, none_match, modified = values
    expected = None
    if match == '"b"' or (match is None and unmodified == BEFORE):
        expected = 412
    elif none_match == '"a"' or (none_match is None and modified == SAME):
        expected = 304
    assert failed_status(asked, STRONG, NOW) == expected


def test_a_date_between_two_changes_counts() -> None:
    assert failed_status({"if-modified-since": AFTER}, STRONG, NOW) == 304
    assert failed_status({"if-unmodified-since": AFTER}, STRONG, NOW) is None


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        (None, True),
        ('"a"', True),
        ('"b"', False),
        ('W/"a"', False),
        ('*"', False),
        ('"b", "a"', False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
        ("yesterday", False),
        ("*", False),
    ],
)
def test_a_range_needs_the_strong_validator_of_the_file(condition: str | None, applies: bool) -> None:
    asked = {} if condition is None else {"if-range": condition}
    assert range_applies(asked, STRONG, NOW) is applies


def test_the_date_of_a_file_that_was_just_modified_is_no_strong_validator() -> None:
    assert range_applies({"if-range": SAME}, STRONG, MODIFIED + 1)
    assert not range_applies({"if-range": SAME}, STRONG, MODIFIED + 0.9)
    assert not range_applies({"if-range": '"a"'}, WEAK, NOW)


@given(st.dictionaries(st.sampled_from([*VALUES, "if-range"]), st.text('aW/*," \t\\\xff:GMT0123456789', max_size=40)))
def test_no_value_is_an_error(asked: dict[str, str]) -> None:
    assert failed_status(asked, STRONG, NOW) in (None, 304, 412)
    assert range_applies(asked, STRONG, NOW) in (True, False)


test_any_fields_have_an_answer = property_test("file_request")
