from __future__ import annotations

import pytest

from lbflask.core.braced_names import foreign_variable, parts
from tests.support.changes import property_test

test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")
test_any_format_is_one_of_lines_or_rejected = property_test("log_format")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (("", ""),)),
        ("a{b}c", (("a", "b"), ("c", ""))),
        ("{a}{b}", (("", "a"), ("", "b"), ("", ""))),
        ("{{a}}", (("{a}", ""),)),
        ("{", (("{", ""),)),
        ("{} {1} ${a} {{ }}", (("{} {1} ${a} {{ }}", ""),)),
        ('{"a": {"b": 1}}', (('{"a": {"b": 1}}', ""),)),
    ],
)
def test_a_text_has_names_and_braces_of_its_own(text: str, found: tuple[tuple[str, str], ...]) -> None:
    assert parts(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a{b}c", (("a", "b"), ("c", ""))),
        ("{{a}}", (("{a}", ""),)),
        ("{{{a}}}", (("{", "a"), ("}", ""))),
        ("{1}{a b}", (("", "1"), ("", "a b"), ("", ""))),
    ],
)
def test_where_every_brace_counts_a_doubled_one_is_a_brace(text: str, found: tuple[tuple[str, str], ...]) -> None:
    assert parts(text, every_brace=True) == found


@pytest.mark.parametrize(("text", "reason"), [("{a", "'{' is not paired"), ("a}", "'}' is not"), ("{}", "{} has no")])
def test_where_every_brace_counts_each_belongs_to_a_name(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parts(text, every_brace=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://$host$request_uri", "$host"),
        ("${remote_addr}", "${remote_addr"),
        ("a %{Referer}i", "%{Referer}i"),
        ("%[src]", "%[src]"),
        ("https://{host}/$x?pa$word 100%{client} %[]", ""),
    ],
)
def test_a_variable_of_another_proxy_is_found(text: str, found: str) -> None:
    assert foreign_variable(text) == found


def test_anything_of_its_form_may_count() -> None:
    assert foreign_variable("a $anything", any_name=True) == "$anything"
    assert foreign_variable("a %{any}", any_name=True) == "%{any}"
    assert foreign_variable("100% $5", any_name=True) == ""
