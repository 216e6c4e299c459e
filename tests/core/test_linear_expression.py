from __future__ import annotations

import sys
import time

import pytest

from lbflask.core.linear_expression import MOST_CHARACTERS, BadLinearExpression, LinearExpression
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [("b", "abc", True), ("^b", "abc", False), (r"^/v[0-9]+/", "/v12/x", True), ("(?i)^/API", "/api", True)],
)
def test_a_match_may_be_anywhere_in_the_text(pattern: str, text: str, found: bool) -> None:
    assert LinearExpression(pattern).search(text) is found


def test_groups_have_numbers_and_names() -> None:
    expression = LinearExpression(r"^/old/(?P<rest>[^/]*)(/x)?$")
    assert expression.groups == {"0", "1", "2", "rest"}
    assert expression.groups_of("/old/a") == {"0": "/old/a", "1": "a", "2": "", "rest": "a"}
    assert expression.groups_of("/old/a/x") == {"0": "/old/a/x", "1": "a", "2": "/x", "rest": "a"}
    assert expression.groups_of("/new") is None
    assert LinearExpression("(?P<a>x)?y").groups_of("y") == {"0": "y", "1": "", "a": ""}


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing \\)"),
        ("a{1001}", "invalid repetition size"),
        ("(?=x)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("\ud800", "it is no text"),
        ("x" * (MOST_CHARACTERS + 1), "is longer than 1000 characters"),
    ],
)
def test_what_the_engine_does_not_take_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(BadLinearExpression, match=reason):
        LinearExpression(pattern)


def test_without_the_package_the_error_has_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(BadLinearExpression, match=r"pip install 'lbflask\[re2\]'"):
        LinearExpression("a")


def test_the_worst_expression_takes_time_linear_in_the_text() -> None:
    expression, began = LinearExpression("(a|aa)+$"), time.thread_time()
    assert not expression.search("a" * 65_536 + "b")
    assert time.thread_time() - began < 1.0


def test_expressions_of_the_same_pattern_are_equal() -> None:
    assert LinearExpression("a") == LinearExpression("a")
    assert LinearExpression("a") != "a"
    assert len({LinearExpression("a"), LinearExpression("a"), LinearExpression("b")}) == 2
    assert repr(LinearExpression("a")) == "LinearExpression('a')"


test_any_expression_is_searched_or_rejected = property_test("linear_expression")
