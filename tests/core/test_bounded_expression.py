from __future__ import annotations

import threading
import time

import pytest

from lbflask.core.bounded_expression import BadExpression, BoundedExpression
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [("ok", "it is ok", True), ("^ok", "it is ok", False), ("(?i)READY$", "is ready", True), ("", "", True)],
)
def test_a_match_may_be_anywhere_in_the_text(pattern: str, text: str, found: bool) -> None:
    assert BoundedExpression(pattern).search(text) is found


def test_a_search_without_end_is_stopped() -> None:
    with pytest.raises(TimeoutError):
        BoundedExpression("(a|aa)+$", seconds=0.01).search("a" * 200 + "b")


def test_a_search_takes_at_most_a_quarter_of_a_second_and_lets_other_threads_run() -> None:
    """The quarter is documented in docs/health-checks.md."""
    ended, turns = threading.Event(), 0

    def count() -> None:
        nonlocal turns
        while not ended.wait(0.001):
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before, begin = turns, time.thread_time()
        with pytest.raises(TimeoutError):
            BoundedExpression("(a|aa)+$").search("a" * 200 + "b")
        seconds, during = time.thread_time() - begin, turns - before
    finally:
        ended.set()
        thread.join()
    assert seconds < 0.75
    assert during >= 2


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


test_any_expression_is_searched_within_its_time_or_rejected = property_test("expression")
