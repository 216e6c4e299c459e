"""Which requests meet the conditions of a route."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given

from lbflask.core.http.types import Fields
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.route_match import NO_SOURCE, RequestSource, RoutedRequest, RouteMatch, named_paths
from tests.support.changes import property_test
from tests.support.naive_routes import QUERIES, SIMPLE, Query, holds


def meets(
    match: RouteMatch,
    target: str = "/",
    fields: Fields | None = None,
    source: RequestSource = NO_SOURCE,
    method: str = "GET",
    host: str = "shop.example",
) -> bool:
    return match.meets(RoutedRequest(host, target, method, fields or [], source), target.partition("?")[0])


@given(SIMPLE, QUERIES)
def test_a_match_is_what_its_words_say(match: RouteMatch, query: Query) -> None:
    request = RoutedRequest(query.host, query.target, query.method, list(query.fields), query.source)
    assert match.matches(request, query.path) is holds(match, query)


@pytest.mark.parametrize(
    ("query", "wanted", "expected"),
    [
        ("?a=1", "1", True),
        ("?a=2&a=1", "1", True),
        ("?%61=%31", "1", True),
        ("?a=x+y", "x y", True),
        ("?a=%C3%A9", "é", True),
        ("?a", "", True),
        ("?a", None, True),
        ("?b=1", None, False),
        ("?A=1", "1", False),
        ("", None, False),
        ("?a=1;b", "1", False),
        ("?a=22", LinearExpression("^2+$"), True),
        ("?a=23", LinearExpression("^2+$"), False),
    ],
)
def test_a_parameter_is_compared_as_forms_send_it(
    query: str, wanted: str | LinearExpression | None, expected: bool
) -> None:
    assert meets(RouteMatch(query=(("a", wanted),)), "/" + query) is expected


@pytest.mark.parametrize(
    ("lines", "wanted", "expected"),
    [
        (["a=1"], "1", True),
        (["b=1; a=1"], "1", True),
        (["b=1", "a=1"], "1", True),
        (['a="1"'], "1", True),
        (["a=2; a=1"], "1", True),
        (["a=1=2"], "1=2", True),
        (["a"], None, False),
        (["A=1"], None, False),
        ([], None, False),
    ],
)
def test_a_cookie_is_one_of_any_line(lines: list[str], wanted: str | None, expected: bool) -> None:
    fields = [("Accept", "a=1"), *(("cookie", line) for line in lines)]
    assert meets(RouteMatch(cookies=(("a", wanted),)), "/", fields) is expected


@pytest.mark.parametrize(
    ("client", "expected"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("2001:db8::1%eth0", True), ("192.0.2.1", False), ("unix:", False)],
)
def test_a_client_is_in_one_of_the_networks(client: str, expected: bool) -> None:
    match = RouteMatch(networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    assert meets(match, source=RequestSource(client, "http", "")) is expected


def test_a_listener_is_known_by_its_label() -> None:
    match = RouteMatch(listeners=frozenset({"web", "0.0.0.0:80"}))
    assert [meets(match, source=RequestSource("", "", label)) for label in ("web", "0.0.0.0:80", "tls", "")] == [
        True,
        True,
        False,
        False,
    ]


def test_what_is_left_out_matches_as_a_whole() -> None:
    match = RouteMatch(excluded=(RouteMatch(("a.example",), ("/a",), frozenset({"PUT"})), RouteMatch(scheme="https")))
    assert not meets(match, "/a/b", method="PUT", host="A.example:80")
    assert meets(match, "/a/b", method="GET", host="a.example")
    assert meets(match, "/b", method="PUT", host="a.example")
    assert meets(match, "/a/b", method="PUT", host="b.example")
    assert not meets(match, source=RequestSource("", "https", ""))


def test_each_key_is_a_condition_but_host_and_path() -> None:
    assert RouteMatch(("a", "b"), ("/a", "/b")).conditions == RouteMatch(exact=("/a",)).conditions == 0
    match = RouteMatch(
        methods=frozenset({"GET"}),
        headers=(("a", None), ("b", None)),
        suffixes=(".a", ".b"),
        expression=LinearExpression("a"),
        query=(("a", None),),
        cookies=(("a", None),),
        networks=(ip_network("10.0.0.0/8"),),
        scheme="http",
        listeners=frozenset({"web"}),
        excluded=(RouteMatch(scheme="https"), RouteMatch(paths=("/a",))),
    )
    assert match.conditions == 12


def test_a_match_tells_what_it_asks_for() -> None:
    inner = RouteMatch(paths=("/a",), headers=(("b", None),), scheme="http")
    for match in (inner, RouteMatch(excluded=(inner,))):
        assert (match.asks_for_path, match.asks_for_source, match.asked_fields) == (True, True, ("b",))
    plain = RouteMatch(("a",), ("",), excluded=(RouteMatch(("b",)),))
    assert (plain.asks_for_path, plain.asks_for_source, plain.asked_fields) == (False, False, ())


def test_a_match_at_some_of_its_places() -> None:
    assert RouteMatch(paths=("/a", "/b")).at(("/b",)) == RouteMatch(paths=("/b",))
    assert RouteMatch(exact=("/a", "/b")).at(("/b",)) == RouteMatch(exact=("/b",))


def test_the_segments_of_prefixes() -> None:
    matches = [RouteMatch(), RouteMatch(paths=("",)), RouteMatch(paths=("/a/b", "/c/d")), RouteMatch(exact=("/a/b",))]
    assert [match.segments for match in matches] == [0, 0, 2, 0]


def test_the_paths_that_are_named() -> None:
    assert named_paths(RouteMatch(paths=("/a", ""))) == ("/a",)
    assert named_paths(RouteMatch(exact=("/a", "/"))) == ("/a", "/")


def test_what_was_parsed_once_serves_all_conditions() -> None:
    request = RoutedRequest("a", "/?a=1", "GET", [("Cookie", "b=2")], RequestSource("10.0.0.1", "http", ""))
    assert request.query is request.query
    assert request.cookies is request.cookies
    assert request.address is request.address


@pytest.mark.parametrize(
    ("path", "expected"), [("/a/x1.php", True), ("/a/x1.cgi", True), ("/a/x.php", False), ("/a/x1.php/", False)]
)
def test_a_path_has_one_of_the_ends_and_fits_the_expression(path: str, expected: bool) -> None:
    match = RouteMatch(suffixes=(".php", ".cgi"), expression=LinearExpression("[0-9]"))
    assert match.meets_path(path) is meets(match, path) is expected


def test_a_method_is_one_of_several() -> None:
    match = RouteMatch(methods=frozenset({"GET", "HEAD"}))
    assert [meets(match, method=method) for method in ("GET", "HEAD", "PUT", "get")] == [True, True, False, False]


test_any_query_and_cookies_are_parsed = property_test("routed_request")
