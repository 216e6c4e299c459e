from __future__ import annotations

import pytest

from lbflask.core.http.rewrites import ExpressionRewrite, PrefixRewrite, unknown_groups
from lbflask.core.linear_expression import LinearExpression
from tests.support.changes import property_test

OLD = LinearExpression("^/old/(?P<rest>.*)")


def test_a_prefix_is_replaced_by_its_number_of_segments() -> None:
    assert PrefixRewrite(1, "/new").of("/%6fld/a%2Fb?c=/old") == "/new/a%2Fb?c=/old"
    assert PrefixRewrite(1, "").of("/old") == "/"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/old/a/b?c=d&e", "/new/a/b?c=d&e"),
        ("/old/", "/new/"),
        ("/old/a%2Fb%20c", "/new/a%2Fb%20c"),
        ("/%6Fld/a", "/new/a"),
        ("/older/a?b", "/older/a?b"),
        ("/x/old/a", "/x/old/a"),
        ("*", "*"),
    ],
)
def test_an_expression_gives_the_whole_path_and_keeps_the_query(target: str, expected: str) -> None:
    assert ExpressionRewrite(OLD, "/new/{1}").of(target) == expected
    assert ExpressionRewrite(OLD, "/new/{rest}").of(target) == expected


def test_a_path_without_a_match_is_not_even_decoded() -> None:
    assert ExpressionRewrite(OLD, "/new").of("/%61") == "/%61"


def test_groups_that_the_expression_does_not_have_are_found() -> None:
    assert unknown_groups("/{0}/{1}/{rest}", OLD) == []
    assert unknown_groups("/{2}/{x}", OLD) == ["2", "x"]
    assert unknown_groups("/{1}}", OLD) == ["}"]


def test_rewrites_that_do_the_same_are_equal() -> None:
    rewrites = [PrefixRewrite(1, "/a"), ExpressionRewrite(OLD, "/a")]
    assert rewrites == [PrefixRewrite(1, "/a"), ExpressionRewrite(LinearExpression(OLD.pattern), "/a")]
    assert len({*rewrites, PrefixRewrite(2, "/a"), PrefixRewrite(1, "/a"), ExpressionRewrite(OLD, "/b")}) == 4
    assert rewrites[0] != rewrites[1]
    assert rewrites[1] != "a"


test_any_target_is_rewritten_to_a_path = property_test("rewrite")
