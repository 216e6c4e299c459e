"""Routes that serve nothing are found, and no others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect
from lbflask.core.http.rewrites import PrefixRewrite
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.reachability import Hidden, contains, contradiction, covers, redirects_to_itself, unreachable
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import Route, RouteTable
from tests.support.naive_routes import MATCHES, ONE, QUERIES, SIMPLE, Query, find, holds, naive, routes_of

GET, PUT, BOTH = frozenset({"GET"}), frozenset({"PUT"}), frozenset({"GET", "PUT"})
TEN = ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([RouteMatch(), RouteMatch()], (1, 0, "", "")),
        ([RouteMatch(), RouteMatch(), RouteMatch()], (1, 0, "", "")),
        ([RouteMatch(methods=GET), RouteMatch(methods=GET)], (1, 0, "", "")),
        ([RouteMatch(("a",), ("/x",)), RouteMatch(("b", "a"), ("/x",))], (1, 0, "a", "/x")),
        ([RouteMatch(paths=("/x",)), RouteMatch(paths=("/y", "/x"))], (1, 0, "", "/x")),
        ([RouteMatch(exact=("/x",)), RouteMatch(exact=("/x", "/y"))], (1, 0, "", "/x")),
        ([RouteMatch(paths=("/x", "/x"))], None),
        ([RouteMatch(), RouteMatch(("a",)), RouteMatch(paths=("/x",)), RouteMatch(exact=("/x",))], None),
        ([RouteMatch(methods=GET), RouteMatch(methods=BOTH)], None),
        ([RouteMatch(methods=BOTH), RouteMatch(methods=GET)], (1, 0, "", "")),
        ([RouteMatch(headers=(("a", None),)), RouteMatch(headers=(("a", "1"),))], (1, 0, "", "")),
        ([RouteMatch(headers=(("a", "1"),)), RouteMatch(headers=(("a", None),))], None),
        ([RouteMatch(headers=(("a", "1"),)), RouteMatch(headers=(("a", "2"),))], None),
        ([RouteMatch(headers=(("a", ONE),)), RouteMatch(headers=(("a", "12"),))], (1, 0, "", "")),
        ([RouteMatch(headers=(("a", ONE),)), RouteMatch(headers=(("a", "2"),))], None),
        ([RouteMatch(headers=(("a", ONE),)), RouteMatch(headers=(("a", LinearExpression("2")),))], None),
        ([RouteMatch(query=(("a", None),)), RouteMatch(query=(("a", "1"),))], (1, 0, "", "")),
        ([RouteMatch(query=(("a", None),)), RouteMatch(cookies=(("a", None),))], None),
        ([RouteMatch(), RouteMatch(methods=GET)], None),
        ([RouteMatch(methods=GET), RouteMatch(headers=(("a", None),))], None),
        ([RouteMatch(suffixes=("p", "x")), RouteMatch(suffixes=(".php", "x"))], (1, 0, "", "")),
        ([RouteMatch(suffixes=(".php",)), RouteMatch(suffixes=(".php", "x"))], None),
        ([RouteMatch(expression=ONE), RouteMatch(expression=ONE)], (1, 0, "", "")),
        ([RouteMatch(expression=ONE), RouteMatch(suffixes=("1",))], None),
        ([RouteMatch(scheme="http"), RouteMatch(scheme="http")], (1, 0, "", "")),
        ([RouteMatch(scheme="http"), RouteMatch(scheme="https")], None),
        ([RouteMatch(networks=(TEN,)), RouteMatch(networks=(ip_network("10.1.0.0/16"),))], (1, 0, "", "")),
        ([RouteMatch(networks=(TEN,)), RouteMatch(networks=(TEN, ip_network("::/0")))], None),
        ([RouteMatch(networks=(TEN,)), RouteMatch(scheme="http")], None),
        ([RouteMatch(listeners=frozenset("ab")), RouteMatch(listeners=frozenset("a"))], (1, 0, "", "")),
        ([RouteMatch(listeners=frozenset("a")), RouteMatch(listeners=frozenset("ab"))], None),
        ([RouteMatch(listeners=frozenset("a")), RouteMatch(scheme="http")], None),
    ],
)
def test_a_route_that_no_request_reaches_is_found(
    matches: list[RouteMatch], expected: tuple[int, int, str, str] | None
) -> None:
    assert unreachable(routes_of(matches)) == (None if expected is None else Hidden(*expected))


def test_a_route_that_leaves_out_no_more_than_another_takes_all_of_it() -> None:
    narrow, wide = RouteMatch(paths=("/a/b",), methods=GET), RouteMatch(paths=("/a",))
    assert covers(RouteMatch(excluded=(narrow,)), RouteMatch(excluded=(wide,)))
    assert not covers(RouteMatch(excluded=(wide,)), RouteMatch(excluded=(narrow,)))
    assert not covers(RouteMatch(excluded=(narrow,)), RouteMatch())


def test_what_is_known_of_an_exact_path_counts() -> None:
    assert covers(RouteMatch(suffixes=(".php",)), RouteMatch(), "/a.php")
    assert not covers(RouteMatch(suffixes=(".php",)), RouteMatch(), "/a")
    assert covers(RouteMatch(expression=ONE), RouteMatch(expression=ONE), "1")


@given(MATCHES, st.lists(QUERIES, max_size=60))
def test_a_route_that_is_said_to_be_unreachable_is_never_found_there(
    matches: list[RouteMatch], queries: list[Query]
) -> None:
    hidden = unreachable(routes_of(matches))
    if hidden is None:
        return
    exact = bool(matches[hidden.later].exact)
    alone = matches[hidden.later].at((hidden.path,))
    for query in queries:
        fits = query.path == hidden.path if exact else (query.path + "/").startswith(hidden.path + "/")
        if fits and (not hidden.host or query.host == hidden.host) and holds(alone, query):
            assert naive(matches, query) != hidden.later or len(matches[hidden.later].anchors) > 1


@given(SIMPLE, SIMPLE, st.lists(QUERIES, max_size=60))
def test_a_match_contains_another_only_if_it_matches_all_that_the_other_does(
    wide: RouteMatch, other: RouteMatch, queries: list[Query]
) -> None:
    if contains(wide, other):
        assert all(holds(wide, query) for query in queries if holds(other, query))


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (RouteMatch(paths=("/a",), excluded=(RouteMatch(paths=("/",)[:0]),)), "`not` has all"),
        (RouteMatch(("b.x",), ("/a/b",), excluded=(RouteMatch(("*.x",), ("/a",)),)), "`not` has all"),
        (RouteMatch(exact=("/a/b",), excluded=(RouteMatch(paths=("/a",)),)), "`not` has all"),
        (RouteMatch(exact=("/a",), excluded=(RouteMatch(exact=("/a", "/b")),)), "`not` has all"),
        (RouteMatch(methods=GET, excluded=(RouteMatch(methods=BOTH),)), "`not` has all"),
        (RouteMatch(exact=("/a.x",), excluded=(RouteMatch(suffixes=(".x",)),)), "`not` has all"),
        (RouteMatch(expression=LinearExpression(r"^/a\?b")), "a path has none"),
        (RouteMatch(expression=LinearExpression("^api/")), "does not begin with /"),
        (RouteMatch(expression=LinearExpression(r"\Aapi/*")), "does not begin with /"),
        (RouteMatch(paths=("/b", "/c"), expression=LinearExpression("^/a/")), "no path that begins with /b"),
        (RouteMatch(paths=("/a-b",), expression=LinearExpression(r"^/a\.b")), "no path that begins"),
    ],
)
def test_a_match_that_nothing_meets_is_found(match: RouteMatch, reason: str) -> None:
    assert reason in contradiction(match)


@pytest.mark.parametrize(
    "match",
    [
        RouteMatch(),
        RouteMatch(paths=("/a",), excluded=(RouteMatch(paths=("/a/b",)),)),
        RouteMatch(("b.x", "y"), excluded=(RouteMatch(("*.x",)),)),
        RouteMatch(excluded=(RouteMatch(("x",)),)),
        RouteMatch(paths=("/a",), excluded=(RouteMatch(exact=("/a",)),)),
        RouteMatch(methods=BOTH, excluded=(RouteMatch(methods=GET),)),
        RouteMatch(expression=LinearExpression("api")),
        RouteMatch(expression=LinearExpression("^a?/")),
        RouteMatch(expression=LinearExpression("^a*/")),
        RouteMatch(expression=LinearExpression("^a{0,2}/")),
        RouteMatch(expression=LinearExpression("^x|/y")),
        RouteMatch(expression=LinearExpression("^(x|/y)")),
        RouteMatch(expression=LinearExpression(r"^/a\??b")),
        RouteMatch(expression=LinearExpression(r"^/a(\?x)?")),
        RouteMatch(expression=LinearExpression(r"^/a[^\?]+$")),
        RouteMatch(expression=LinearExpression(r"^/a\\?b")),
        RouteMatch(paths=("/abc",), expression=LinearExpression("^/a")),
        RouteMatch(paths=("/a",), expression=LinearExpression("^/abc")),
        RouteMatch(paths=("/b", "/a"), expression=LinearExpression("^/a")),
        RouteMatch(paths=("/b",), expression=LinearExpression("^/a*b")),
        RouteMatch(paths=("/b",), expression=LinearExpression("(?i)^/B")),
    ],
)
def test_a_match_that_something_may_meet_is_not(match: RouteMatch) -> None:
    assert contradiction(match) == ""


@given(MATCHES, st.lists(QUERIES, max_size=60))
def test_a_match_that_is_said_to_contradict_itself_matches_nothing(
    matches: list[RouteMatch], queries: list[Query]
) -> None:
    for match in matches:
        if contradiction(match):
            assert not any(holds(match, query) for query in queries)


# Redirects


def redirect(to: str, status: int = 308, rewrite: PrefixRewrite | None = None, **match: object) -> Route:
    return Route("r", RouteMatch(**match), direct=Redirect(status, to), rewrite=rewrite)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (redirect("/spaces/", paths=("/spaces",)), "/spaces/"),
        (redirect("/a{query}", paths=("/a",)), "/a"),
        (redirect("/a", exact=("/a",)), "/a"),
        (redirect("/app/"), "/app/"),
        (redirect("/x{path}"), "/x/"),
        (redirect("/a{path}", rewrite=PrefixRewrite(1, ""), paths=("/a",)), "/a/"),
        (redirect("/a.php", suffixes=(".php",)), "/a.php"),
        (redirect("/a1", expression=LinearExpression("[0-9]$")), "/a1"),
        (redirect("/a?k=1", query=(("k", "1"),)), "/a?k=1"),
        (redirect("/a", 302, methods=BOTH), "/a"),
        (redirect("/a", excluded=(RouteMatch(paths=("/b",)),)), "/a"),
    ],
)
def test_a_redirect_that_its_route_takes_again_is_found(route: Route, path: str) -> None:
    assert redirects_to_itself([route], 0, ["/health"]) == path


@pytest.mark.parametrize(
    "routes",
    [
        [Route("r", RouteMatch(), direct=DirectResponse(403, ErrorPage("", b"")))],
        [Route("r", RouteMatch(), {"default": 100.0})],
        [redirect("https://a/")],
        [redirect("/spaces/", exact=("/spaces",))],
        [redirect("/b", paths=("/a",))],
        [redirect("/a.html", suffixes=(".php",))],
        [redirect("/health")],
        [redirect("/a", 303, methods=PUT)],
        [redirect("/a", query=(("k", None),))],
        [redirect("/a//b")],
        [redirect("/a", excluded=(RouteMatch(exact=("/a",)),))],
        [redirect("/app/"), Route("app", RouteMatch(paths=("/app",)))],
        [redirect("/app/"), Route("app", RouteMatch(exact=("/app/",)))],
        [redirect("/app/"), Route("app", RouteMatch(("a.x",)))],
        [redirect("/app/"), Route("app", RouteMatch(scheme="https"))],
        [redirect("/x", exact=("/x", "/%41", "/%20")[1:])],
    ],
)
def test_a_redirect_that_may_end_is_not(routes: list[Route]) -> None:
    assert redirects_to_itself(routes, 0, ["/health"]) == ""


def test_a_less_exact_route_does_not_end_a_redirect() -> None:
    routes = [
        redirect("/a/b", hosts=("a.x",), paths=("/a",)),
        Route("all", RouteMatch(paths=("/a/b",))),
        Route("suffix", RouteMatch(("a.x",), ("/a/b",), suffixes=(".x",))),
        Route("short", RouteMatch(("a.x",))),
    ]
    assert redirects_to_itself(routes, 0, []) == "/a/b"


@given(MATCHES, st.sampled_from(["/p", "/p/", "/q", "/x.php", "/p/q{query}"]), st.lists(QUERIES, max_size=40))
def test_a_request_of_a_redirect_that_is_said_to_loop_comes_back(
    matches: list[RouteMatch], to: str, queries: list[Query]
) -> None:
    routes = routes_of(matches)
    for number, match in enumerate(matches):
        looping = [*routes]
        looping[number] = Route("loop", match, direct=Redirect(308, to))
        if redirects_to_itself(looping, number, []) and "{" not in to and not match.query:
            table = RouteTable(looping)
            for query in queries:
                if find(table, query) == number:
                    assert find(table, query._replace(path=to, query="")) == number
