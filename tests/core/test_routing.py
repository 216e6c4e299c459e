"""Which route a request takes: the order of precedence, and paths that can be read in two ways."""

from __future__ import annotations

import posixpath
import re
import tracemalloc
from ipaddress import ip_network
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.http.paths import readings
from lbflask.core.http.types import Fields
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import MOST_READINGS, AmbiguousPath, Route, RouteTable
from tests.support.changes import property_test
from tests.support.naive_routes import MATCHES, QUERIES, Query, find, naive, routes_of
from tests.support.selection import examples


def table(*matches: RouteMatch) -> RouteTable:
    return RouteTable([Route(f"r{number}", match) for number, match in enumerate(matches)])


def found(
    matches: list[RouteMatch],
    target: str = "/",
    host: str = "shop.example",
    method: str = "GET",
    fields: Fields | None = None,
) -> int | None:
    return table(*matches).find(host, target, method, fields or [])


def paths(*prefixes: str) -> list[RouteMatch]:
    return [RouteMatch(paths=(prefix,)) for prefix in prefixes]


# Hosts


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.example", 0),
        ("A.Example", 0),
        ("a.example:8080", 0),
        ("a.example.", 0),
        ("[::1]", 1),
        ("[0:0::1]:80", 1),
        ("192.0.2.1:80", 2),
        ("b.shop.example", 3),
        ("c.b.shop.example", 3),
        ("eu.b.shop.example", 4),
        ("shop.example", 5),
        ("xshop.example", 5),
        ("example", 6),
        ("", 6),
    ],
)
def test_the_most_exact_host_wins(host: str, expected: int) -> None:
    hosts = ["a.example", "[::1]", "192.0.2.1", "*.shop.example", "eu.b.shop.example", "*.example", ""]
    matches = [RouteMatch((name,) if name else ()) for name in hosts]
    assert found(matches, host=host) == expected
    assert found(matches[::-1], host=host) == len(hosts) - 1 - expected


def test_a_host_without_a_fitting_path_leaves_the_request_to_less_exact_ones() -> None:
    matches = [RouteMatch(("a.example",), ("/x",)), RouteMatch(("*.example",), ("/y",)), RouteMatch((), ("/z",))]
    assert [found(matches, path, "a.example") for path in ("/x", "/y", "/z", "/")] == [0, 1, 2, None]


def test_an_exact_host_comes_before_a_longer_path() -> None:
    assert found([RouteMatch((), ("/a/b/c",)), RouteMatch(("a.example",))], "/a/b/c", "a.example") == 1


def test_a_route_may_have_several_hosts() -> None:
    matches = [RouteMatch(("a.example", "*.b.example"))]
    assert [found(matches, host=host) for host in ("a.example", "x.b.example", "b.example")] == [0, 0, None]


def test_hosts_that_clients_make_up_take_no_memory_without_bound() -> None:
    routes = table(RouteMatch(("*.example",)))
    for number in range(5000):
        assert routes.find(f"{number}.example", "/", "GET", []) == 0
    assert routes.find("x" * 300 + ".example", "/", "GET", []) == 0
    assert len(routes._trees) <= 4096


def test_hosts_that_are_longer_than_any_name_take_no_memory() -> None:
    routes = table(RouteMatch(("*.example",)))
    tracemalloc.start()
    try:
        for number in range(20):
            assert routes.find("x" * 100_000 + f"{number}.example", "/", "GET", []) == 0
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


# Paths


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api", 0),
        ("/api/", 0),
        ("/api?x=/api/v1", 0),
        ("/api/x", 0),
        ("/api/v1", 1),
        ("/api/v1/x/y", 1),
        ("/api/v10", 0),
        ("/apix", None),
        ("/API", None),
        ("/x/api", None),
        ("/", None),
        ("*", None),
        ("/%61pi", 0),
    ],
)
def test_a_path_matches_in_whole_segments_and_the_longest_wins(target: str, expected: int | None) -> None:
    assert found(paths("/api", "/api/v1"), target) == expected
    assert found(paths("/api/v1", "/api"), target) == (None if expected is None else 1 - expected)


def test_a_route_without_a_path_takes_all_even_the_asterisk() -> None:
    assert [found([RouteMatch()], target) for target in ("/", "/a//b/../c;d%2F", "*")] == [0, 0, 0]


@pytest.mark.parametrize(
    "target",
    [
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin/y",
        "/x%2F..%2Fadmin",
        "/x/..%2fadmin",
        "/%2Fadmin",
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/..%3B/admin",
        "/admin;x",
        "/admin;x/y",
        "/admin%3bx",
        "/x\\..\\admin",
        "/x/..\\admin",
        "/x/..%5Cadmin",
        "\\admin".replace("\\", "/\\", 1),
        "//x//..//admin",
        "/x/y/../../admin",
        "/admin/../x",
        "/admin//../x",
        "/admin/..",
        "/admin/%2e%2e/x",
        "/../admin",
        "/x/.//..;/%61dmin",
        "/admin%3Fx/y",
        "/admin%23",
        "/admin%00.png",
    ],
)
def test_a_path_that_another_route_may_claim_is_refused(target: str) -> None:
    """A backend may resolve, merge, cut or decode what we do not: nothing must reach it past the route of its path."""
    for matches in (paths("/admin"), paths("", "/admin"), paths("/admin", "")):
        with pytest.raises(AmbiguousPath):
            found(matches, target)


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb",
        "/a//b",
        "/a/./b",
        "/a/x/../b",
        "/a;v=1/b",
        "/a\\b",
        "/a%20b",
        "/a%",
        "/a%zz",
        "/a/%252e%252e/admin",
        "/a..b",
    ],
)
def test_a_path_is_not_refused_for_being_odd(target: str) -> None:
    """All that it can mean is the same route's, and it is forwarded as it came."""
    matches = [RouteMatch(paths=("/admin",)), RouteMatch()]
    assert found(matches, target) == 1
    assert found(matches, "/admin/x" + target[1:]) == 0


#: Paths with as many readings as are compared, and with one more. All of them are of the same route.
JUST_ENOUGH_READINGS, TOO_MANY_READINGS = "/..\\\\%5c%00", "//\\%2F%3F%3b"


def test_a_path_with_more_readings_than_are_compared_is_rejected() -> None:
    counts = [len(list(readings(path))) for path in (JUST_ENOUGH_READINGS, TOO_MANY_READINGS)]
    assert counts == [MOST_READINGS, MOST_READINGS + 1]
    assert found(paths("/admin", ""), JUST_ENOUGH_READINGS) == 1
    with pytest.raises(AmbiguousPath):
        found(paths("/admin", ""), TOO_MANY_READINGS)


def test_hosts_alone_make_no_path_odd() -> None:
    assert found([RouteMatch(("shop.example",)), RouteMatch()], "/x/../..;/%2f") == 0
    assert found([RouteMatch(("shop.example",)), RouteMatch()], TOO_MANY_READINGS) == 0


def test_readings_count_only_on_the_hosts_that_have_paths() -> None:
    matches = [RouteMatch(("a.example",), ("/admin",)), RouteMatch(("b.example",))]
    assert found(matches, "//admin", "b.example") == 1
    with pytest.raises(AmbiguousPath):
        found(matches, "//admin", "a.example")


def test_a_condition_of_the_other_route_that_does_not_hold_makes_no_second_reading() -> None:
    matches = [RouteMatch(paths=("/admin",), methods=frozenset({"POST"})), RouteMatch()]
    assert found(matches, "//admin") == 1
    with pytest.raises(AmbiguousPath):
        found(matches, "//admin", method="POST")


# Against servers as there are: what each of them makes of a path, by itself and in its own way


def resolved(path: str, *, merging: bool) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != "." and not (merging and not segment):
            kept.append(segment)
    return "/" + "/".join(kept)


def without_parameters(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


SERVERS = {
    "decoding": unquote,
    "nginx": lambda path: resolved(unquote(path), merging=True),
    "nginx, merge_slashes off": lambda path: resolved(unquote(path), merging=False),
    "Go's path.Clean": lambda path: posixpath.normpath("/" + unquote(path).lstrip("/")),
    "RFC 3986": lambda path: unquote(resolved(re.sub("%2[eE]", ".", path), merging=False)),
    "a servlet container": lambda path: resolved(unquote(without_parameters(path)), merging=True),
    "one that decodes first": lambda path: resolved(without_parameters(unquote(path)), merging=True),
    "one that takes backslashes": lambda path: resolved(unquote(path).replace("\\", "/"), merging=True),
    "one written in C": lambda path: resolved(unquote(path).partition("\0")[0], merging=True),
    "one that parses twice": lambda path: re.split("[?#]", unquote(path))[0],
}
PIECES = ["/", "/", "/", "admin", "public", "a", ".", "..", "%2e", "%2E%2e", "%2F", "%5c", "\\", ";", ";a=b", "%3b"]
PIECES += ["%61dmin", "%3F", "%23", "%00", "%25", "%20", "%2", "..."]


@settings(max_examples=examples(300))
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces)))
def test_whatever_a_server_makes_of_a_path_the_route_is_that_of_what_it_serves(path: str) -> None:
    matches = [
        RouteMatch(paths=("/admin",)),
        RouteMatch(paths=("/public",)),
        RouteMatch(paths=("/public/a",)),
        RouteMatch(),
    ]
    try:
        route = found(matches, path)
    except AmbiguousPath:
        return
    for server, reads in SERVERS.items():
        assert place_of(reads(path)) == route, f"{server} serves {reads(path)!r}"


def place_of(path: str) -> int:
    """Which of the four it is, said as plainly as can be."""
    if path == "/admin" or path.startswith("/admin/"):
        return 0
    if path == "/public/a" or path.startswith("/public/a/"):
        return 2
    return 1 if path == "/public" or path.startswith("/public/") else 3


# Methods and headers


def test_more_conditions_come_first_and_then_the_order_of_the_file() -> None:
    matches = [
        RouteMatch(paths=("/a",)),
        RouteMatch(paths=("/a",), methods=frozenset({"GET", "HEAD"})),
        RouteMatch(paths=("/a",), headers=(("x-beta", None),)),
        RouteMatch(paths=("/a",), methods=frozenset({"GET"}), headers=(("x-beta", "2"),)),
    ]
    assert found(matches, "/a", method="POST") == 0
    assert found(matches, "/a") == 1
    assert found(matches, "/a", fields=[("X-Beta", "1")]) == 1
    assert found(matches, "/a", method="POST", fields=[("X-BETA", "")]) == 2
    assert found(matches, "/a", fields=[("x-beta", "1"), ("X-Beta", " 2 ")]) == 3


def test_a_longer_path_whose_conditions_fail_leaves_the_request_to_a_shorter_one() -> None:
    matches = [RouteMatch(paths=("/a/b",), methods=frozenset({"PUT"})), RouteMatch(paths=("/a",))]
    assert [found(matches, "/a/b/c", method=method) for method in ("PUT", "GET", "put")] == [0, 1, 1]


def test_a_value_has_to_be_that_of_a_whole_line() -> None:
    matches = [RouteMatch(headers=(("x-a", "1"),))]
    assert [found(matches, fields=[("X-A", value)]) for value in ("1", "1, 2", "11", "")] == [0, None, None, None]


# Exact paths


def test_an_exact_path_comes_before_any_prefix_and_its_last_slash_counts() -> None:
    matches = [*paths("/a/b", "/a"), RouteMatch(exact=("/a/b", "/a/"))]
    assert [found(matches, path) for path in ("/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/%61/b?x")] == [1, 2, 2, 0, 0, 2]


def test_an_exact_path_whose_conditions_fail_leaves_the_request_to_prefixes() -> None:
    get, put = frozenset({"GET"}), frozenset({"PUT"})
    matches = [
        RouteMatch(exact=("/a",), methods=get),
        RouteMatch(exact=("/a",), methods=put),
        RouteMatch(paths=("/a",)),
    ]
    assert [found(matches, "/a", method=method) for method in ("GET", "PUT", "POST")] == [0, 1, 2]


def test_a_route_may_have_several_prefixes() -> None:
    matches = [RouteMatch(paths=("/a", "/b/c", "")), RouteMatch(paths=("/b",))]
    assert [found(matches, path) for path in ("/a/x", "/b/c", "/b", "/c")] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    "match",
    [
        RouteMatch(exact=("/a",)),
        RouteMatch(suffixes=("/a",)),
        RouteMatch(expression=LinearExpression("^/a$")),
        RouteMatch(paths=("/",)[:0], excluded=(RouteMatch(paths=("/b",)),), suffixes=("a",)),
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused_by_each_kind(match: RouteMatch) -> None:
    matches = [match, RouteMatch()]
    assert [found(matches, path) for path in ("/a", "/b", "/b//c", "/%61")] == [0, 1, 1, 0]
    for target in ("/a;b", "/a%00"):
        with pytest.raises(AmbiguousPath):
            found(matches, target)


def test_what_is_left_out_by_its_path_is_so_in_each_reading() -> None:
    matches = [RouteMatch(excluded=(RouteMatch(paths=("/admin",)),)), RouteMatch(("x",))]
    assert [found(matches, path) for path in ("/admin", "/a//b")] == [None, 0]
    with pytest.raises(AmbiguousPath):
        found(matches, "//admin")


def test_a_route_names_its_prefixes_and_its_exact_paths() -> None:
    routes = table(RouteMatch(paths=("/health", "/a")), RouteMatch(exact=("/live",)), RouteMatch())
    named = [[routes.names(number, path) for path in ("/health?x", "/live", "/a/b", "/")] for number in range(3)]
    assert named == [[True, False, False, False], [False, True, False, False], [False] * 4]


@given(MATCHES, QUERIES)
def test_the_table_finds_what_looking_at_every_route_finds(matches: list[RouteMatch], query: Query) -> None:
    assert find(RouteTable(routes_of(matches)), query) == naive(matches, query)


@pytest.mark.parametrize(
    ("match", "by_source"),
    [
        (RouteMatch(paths=("/a",)), False),
        (RouteMatch(scheme="https"), True),
        (RouteMatch(listeners=frozenset({"web"})), True),
        (RouteMatch(excluded=(RouteMatch(networks=(ip_network("10.0.0.0/8"),)),)), True),
    ],
)
def test_a_table_tells_whether_the_source_of_requests_decides(match: RouteMatch, by_source: bool) -> None:
    assert table(RouteMatch(), match).by_source is by_source


@pytest.mark.parametrize(
    ("names", "by_claims"),
    [([], False), (["x-beta"], False), (["x-forwarded-for"], True), (["x-beta", "forwarded"], True)],
)
def test_a_table_tells_whether_fields_that_proxies_write_decide(names: list[str], by_claims: bool) -> None:
    assert table(RouteMatch(), *(RouteMatch(headers=((name, None),)) for name in names)).by_claims is by_claims


def test_a_route_splits_by_client_and_has_no_limit_unless_given() -> None:
    route = Route("r", RouteMatch())
    assert (route.split_by.of("192.0.2.1", "/", []), route.rate_limit) == ("192.0.2.1", "")


def test_a_repr_shows_the_numbers_of_routes_and_hosts() -> None:
    routes = [Route("a", RouteMatch(hosts=("a.x", "b.x"))), Route("b", RouteMatch())]
    assert repr(RouteTable(routes)) == "RouteTable(2 routes, 3 hosts)"


test_any_target_is_split_as_by_another_library_or_rejected = property_test("target")
