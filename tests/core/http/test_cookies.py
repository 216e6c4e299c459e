"""Our cookie among those of others."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.cookies import attributes, kept_from_shared_caches, take, take_session, with_privacy
from lbflask.core.http.types import Fields
from lbflask.core.model import StickyCookie
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("line", "values", "rest"),
    [
        ("LB=x", ["x"], None),
        ("LB=x; a=1", ["x"], "a=1"),
        ("a=1; LB=x", ["x"], "a=1"),
        ("a=1; LB=x; b=2", ["x"], "a=1; b=2"),
        ("a=1;LB=x;b=2", ["x"], "a=1;b=2"),
        ("a=1;  b=2 ;LB=x", ["x"], "a=1;  b=2 "),
        ("LB=x; LB=y; a=1", ["x", "y"], "a=1"),
        (" LB = x ; a=1", ["x"], "a=1"),
        ("LB=a=b==", ["a=b=="], None),
        ("LB=", [""], None),
        ("a=1; LB; b=2", [], "a=1; LB; b=2"),
        ("lb=x; LB2=y; XLB=z; a=LB; b=LB=x", [], "lb=x; LB2=y; XLB=z; a=LB; b=LB=x"),
        ('a="1; 2', [], 'a="1; 2'),
        ("", [], ""),
    ],
)
def test_ours_are_taken_out_and_the_rest_stays_as_it_was(line: str, values: list[str], rest: str | None) -> None:
    fields = [("Accept", "LB=no"), ("cOOkie", line), ("X", "y")]
    middle = [] if rest is None else [("cOOkie", rest)]
    assert take(fields, "LB") == values
    assert fields == [("Accept", "LB=no"), *middle, ("X", "y")]


def test_several_lines_are_read_in_their_order() -> None:
    fields = [("Cookie", "LB=1; a=b"), ("Cookie", "LB=2"), ("cookie", "c=d; LB=3")]
    assert take(fields, "LB") == ["1", "2", "3"]
    assert fields == [("Cookie", "a=b"), ("cookie", "c=d")]


@given(st.lists(st.tuples(st.sampled_from(["a", "LB", "LBx"]), st.sampled_from(["", "1", "x=y"])), max_size=6))
def test_what_remains_is_every_pair_of_another_name(pairs: list[tuple[str, str]]) -> None:
    fields: Fields = [("Cookie", "; ".join(f"{name}={value}" for name, value in pairs))]
    values = take(fields, "LB")
    assert values == [value for name, value in pairs if name == "LB"]
    others = "; ".join(f"{name}={value}" for name, value in pairs if name != "LB")
    assert fields == ([("Cookie", others)] if others or not values else [])


@pytest.mark.parametrize(
    ("cookie", "secure", "told"),
    [
        (StickyCookie("LB"), False, "; Path=/; HttpOnly; SameSite=Lax"),
        (StickyCookie("LB"), True, "; Path=/; Secure; HttpOnly; SameSite=Lax"),
        (
            StickyCookie("LB", "/a", "shop.example", 90.5, True, False, "none"),
            True,
            "; Path=/a; Domain=shop.example; Max-Age=90; Secure; SameSite=None",
        ),
        (StickyCookie("LB", http_only=False, same_site="", max_age=0.2), False, "; Path=/; Max-Age=1"),
    ],
)
def test_the_attributes_are_those_that_are_set(cookie: StickyCookie, secure: bool, told: str) -> None:
    assert attributes(cookie, secure=secure) == told
    read = SimpleCookie(f"LB=x{told}")["LB"]
    assert (read.value, read["path"]) == ("x", cookie.path)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ([], False),
        ([("Cache-Control", "public, max-age=60")], False),
        ([("Cache-Control", "max-age=60"), ("cache-control", " Private ")], True),
        ([("Cache-Control", "no-store")], True),
        ([("Cache-Control", "no-cache")], False),
        ([("Cache-Control", 'private="X-Name"')], False),
        ([("X-Cache-Control", "private")], False),
    ],
)
def test_whether_shared_caches_are_kept_away(fields: Fields, kept: bool) -> None:
    assert kept_from_shared_caches(fields) is kept


def test_the_cookies_of_one_client_are_kept_from_shared_caches() -> None:
    cookies = [("Set-Cookie", "a=1")]
    assert with_privacy(cookies, "GET", [("Cache-Control", "public")]) == [*cookies, ("Cache-Control", "private")]
    assert with_privacy(cookies, "HEAD", [("Cache-Control", "no-store")]) == cookies
    assert with_privacy(cookies, "POST", []) == cookies


test_any_cookies_are_read_as_by_another_library = property_test("cookie")


def test_a_session_in_a_header_field_is_taken_out_of_all_its_lines() -> None:
    sticky = StickyCookie("X-Session", in_header=True)
    fields: Fields = [("a", "1"), ("x-session", "one"), ("Cookie", "X-Session=no"), ("X-Session", "two")]
    assert take_session(fields, sticky) == ["one", "two"]
    assert fields == [("a", "1"), ("Cookie", "X-Session=no")]
    assert take_session(fields, sticky) == []


def test_a_session_in_a_cookie_is_taken_out_of_the_cookies() -> None:
    fields = [("X-Session", "one"), ("Cookie", "X-Session=two; a=1")]
    assert take_session(fields, StickyCookie("X-Session")) == ["two"]
    assert fields == [("X-Session", "one"), ("Cookie", "a=1")]
