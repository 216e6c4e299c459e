from __future__ import annotations

import pytest

from lbflask.core.bounded_expression import BadExpression, BoundedExpression


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [("ok", "it is ok", True), ("^ok", "it is ok", False), ("(?i)READY$", "is ready", True), ("", "", True)],
)
def test_a_match_may_be_anywhere_in_the_text(pattern: str, text: str, found: bool) -> None:
    assert BoundedExpression(pattern).search(text) is found


def test_a_search_without_end_is_stopped() -> None:
    with pytest.raises(TimeoutError):
        BoundedExpression("(a|aa)+$", seconds=0.01).search("a" * 200 + "b")


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(", "missing \\)"), ("a{3,2}", "min repeat"), ("(" * 100_000, "it is too large")]
)
def test_what_is_no_expression_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(BadExpression, match=reason):
        BoundedExpression(pattern)


def test_expressions_of_the_same_pattern_are_equal() -> None:
    assert BoundedExpression("a") == BoundedExpression("a", seconds=1.0)
    assert len({BoundedExpression("a"), BoundedExpression("a"), BoundedExpression("b")}) == 2
    assert BoundedExpression("a") != "a"
