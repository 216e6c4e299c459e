from __future__ import annotations

import pytest

from lbflask.core.http.field_names import MAX_SPELLINGS, NameCache, NameTable, decimal, is_token, members
from tests.support.changes import property_test


def test_a_table_knows_names_in_any_case() -> None:
    table = NameTable({"host": 1})
    assert [table[name] for name in ("host", "Host", "HOST", "other")] == [1, 1, 1, None]


def test_a_spelling_is_judged_once() -> None:
    judged = []
    cache = NameCache(lambda name: judged.append(name) or len(name))
    assert [cache["ab"], cache["ab"], cache["AB"]] == [2, 2, 2]
    assert judged == ["ab", "AB"]


def test_no_more_spellings_are_kept_than_the_bound() -> None:
    cache = NameCache(len)
    for number in range(MAX_SPELLINGS + 10):
        assert cache[str(number)] == len(str(number))
    assert len(cache) == MAX_SPELLINGS


def test_members_stand_in_one_line_or_several_without_empty_ones() -> None:
    assert list(members(["a, b\t,,", "", " ,c"])) == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["a", "X-Y_z", "!#$%&'*+-.^_`|~09"])
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", ["", "a b", "a:", "é", "a\n", "(a)", '"'])
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        (" 42\t", 42),
        ("007", 7),
        ("0" * 5000 + "7", 7),
        ("100", 100),
        ("101", 101),
        ("9" * 5000, 101),
        ("", None),
        ("-1", None),
        ("1 2", None),
        ("1.0", None),
        ("\u0661", None),
        ("\xb2", None),
    ],
)
def test_a_decimal_is_read_and_a_long_one_is_only_too_large(value: str, number: int | None) -> None:
    assert decimal(value, 100) == number


test_any_lines_have_one_framing_or_none = property_test("framing")
test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
