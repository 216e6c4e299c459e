"""Which route a request takes: the order of precedence, and paths that can be read in two ways."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.http.types import Fields
from lbflask.core.routing import AmbiguousPath, Route, RouteMatch, RouteTable, unreachable


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
    return [RouteMatch(path=prefix) for prefix in prefixes]


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
    matches = [RouteMatch(("a.example",), "/x"), RouteMatch(("*.example",), "/y"), RouteMatch((), "/z")]
    assert [found(matches, path, "a.example") for path in ("/x", "/y", "/z", "/")] == [0, 1, 2, None]


def test_an_exact_host_comes_before_a_longer_path() -> None:
    assert found([RouteMatch((), "/a/b/c"), RouteMatch(("a.example",))], "/a/b/c", "a.example") == 1


def test_a_route_may_have_several_hosts() -> None:
    matches = [RouteMatch(("a.example", "*.b.example"))]
    assert [found(matches, host=host) for host in ("a.example", "x.b.example", "b.example")] == [0, 0, None]


def test_hosts_that_clients_make_up_take_no_memory_without_bound() -> None:
    routes = table(RouteMatch(("*.example",)))
    for number in range(5000):
        assert routes.find(f"{number}.example", "/", "GET", []) == 0
    assert routes.find("x" * 300 + ".example", "/", "GET", []) == 0
    assert len(routes._trees) <= 4096


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
    matches = [RouteMatch(path="/admin"), RouteMatch()]
    assert found(matches, target) == 1
    assert found(matches, "/admin/x" + target[1:]) == 0


def test_hosts_alone_make_no_path_odd() -> None:
    assert found([RouteMatch(("shop.example",)), RouteMatch()], "/x/../..;/%2f") == 0


def test_readings_count_only_on_the_hosts_that_have_paths() -> None:
    matches = [RouteMatch(("a.example",), "/admin"), RouteMatch(("b.example",))]
    assert found(matches, "//admin", "b.example") == 1
    with pytest.raises(AmbiguousPath):
        found(matches, "//admin", "a.example")


def test_a_condition_of_the_other_route_that_does_not_hold_makes_no_second_reading() -> None:
    matches = [RouteMatch(path="/admin", methods=frozenset({"POST"})), RouteMatch()]
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


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces)))
def test_whatever_a_server_makes_of_a_path_the_route_is_that_of_what_it_serves(path: str) -> None:
    matches = [RouteMatch(path="/admin"), RouteMatch(path="/public"), RouteMatch(path="/public/a"), RouteMatch()]
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
        RouteMatch(path="/a"),
        RouteMatch(path="/a", methods=frozenset({"GET", "HEAD"})),
        RouteMatch(path="/a", headers=(("x-beta", None),)),
        RouteMatch(path="/a", methods=frozenset({"GET"}), headers=(("x-beta", "2"),)),
    ]
    assert found(matches, "/a", method="POST") == 0
    assert found(matches, "/a") == 1
    assert found(matches, "/a", fields=[("X-Beta", "1")]) == 1
    assert found(matches, "/a", method="POST", fields=[("X-BETA", "")]) == 2
    assert found(matches, "/a", fields=[("x-beta", "1"), ("X-Beta", " 2 ")]) == 3


def test_a_longer_path_whose_conditions_fail_leaves_the_request_to_a_shorter_one() -> None:
    matches = [RouteMatch(path="/a/b", methods=frozenset({"PUT"})), RouteMatch(path="/a")]
    assert [found(matches, "/a/b/c", method=method) for method in ("PUT", "GET", "put")] == [0, 1, 1]


def test_a_value_has_to_be_that_of_a_whole_line() -> None:
    matches = [RouteMatch(headers=(("x-a", "1"),))]
    assert [found(matches, fields=[("X-A", value)]) for value in ("1", "1, 2", "11", "")] == [0, None, None, None]


# Against an oracle

HOSTS = ["", "a.x", "b.a.x", "*.x", "*.a.x"]
PATHS = ["", "/p", "/p/q", "/q"]
MATCHES = st.lists(
    st.builds(
        lambda host, path, methods, header: RouteMatch((host,) if host else (), path, methods, header),
        st.sampled_from(HOSTS),
        st.sampled_from(PATHS),
        st.sampled_from([frozenset(), frozenset({"GET"}), frozenset({"GET", "PUT"})]),
        st.sampled_from([(), (("h", None),), (("h", "1"),)]),
    ),
    max_size=8,
)


def oracle(matches: list[RouteMatch], host: str, path: str, method: str, value: str | None) -> int | None:
    """The best of all that match, by the words of the documentation."""

    def rank(number: int) -> tuple[int, int, int, int] | None:
        match = matches[number]
        (wanted,) = match.hosts or ("",)
        if wanted.startswith("*."):
            exactness = len(wanted)
            fits = host.endswith(wanted[1:])
        else:
            exactness = 1000 if wanted else 0
            fits = wanted in ("", host)
        fits = fits and (match.path + "/" in path + "/" and (path + "/").startswith(match.path + "/"))
        fits = fits and (not match.methods or method in match.methods)
        fits = fits and all(value is not None and expected in (None, value) for _, expected in match.headers)
        return (-exactness, -len(match.path), -match.conditions, number) if fits else None

    ranks = [found for number in range(len(matches)) if (found := rank(number)) is not None]
    return min(ranks)[-1] if ranks else None


@given(
    MATCHES,
    st.sampled_from(["a.x", "b.a.x", "c.a.x", "c.x", "x", "y"]),
    st.sampled_from(["/", "/p", "/p/q", "/p/q/r", "/pq", "/q/p"]),
    st.sampled_from(["GET", "PUT", "POST"]),
    st.sampled_from([None, "1", "2"]),
)
def test_the_table_finds_what_looking_at_every_route_finds(
    matches: list[RouteMatch], host: str, path: str, method: str, value: str | None
) -> None:
    fields = [] if value is None else [("H", value)]
    assert table(*matches).find(host, path, method, fields) == oracle(matches, host, path, method, value)


# What no request can reach


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([RouteMatch(), RouteMatch()], (1, 0)),
        ([RouteMatch(("a",), "/x"), RouteMatch(("b", "a"), "/x")], (1, 0)),
        ([RouteMatch(), RouteMatch(("a",)), RouteMatch(path="/x")], None),
        ([RouteMatch(methods=frozenset({"GET"})), RouteMatch(methods=frozenset({"GET", "PUT"}))], None),
        ([RouteMatch(methods=frozenset({"GET", "PUT"})), RouteMatch(methods=frozenset({"GET"}))], (1, 0)),
        ([RouteMatch(headers=(("a", None),)), RouteMatch(headers=(("a", "1"),))], (1, 0)),
        ([RouteMatch(headers=(("a", "1"),)), RouteMatch(headers=(("a", None),))], None),
        ([RouteMatch(headers=(("a", "1"),)), RouteMatch(headers=(("a", "2"),))], None),
        ([RouteMatch(), RouteMatch(methods=frozenset({"GET"}))], None),
        ([RouteMatch(methods=frozenset({"GET"})), RouteMatch(headers=(("a", None),))], None),
    ],
)
def test_a_route_that_no_request_reaches_is_found(matches: list[RouteMatch], expected: tuple[int, int] | None) -> None:
    assert unreachable([Route(f"r{number}", match) for number, match in enumerate(matches)]) == expected


@given(MATCHES)
def test_a_route_that_is_said_to_be_unreachable_is_never_found(matches: list[RouteMatch]) -> None:
    hidden = unreachable([Route(f"r{number}", match) for number, match in enumerate(matches)])
    if hidden is not None:
        for host in ("a.x", "b.a.x", "c.a.x", "x"):
            for path in ("/", "/p", "/p/q", "/q"):
                for method in ("GET", "PUT", "POST"):
                    for value in (None, "1", "2"):
                        assert oracle(matches, host, path, method, value) != hidden[0]


def test_a_repr_shows_the_numbers_of_routes_and_hosts() -> None:
    routes = [Route("a", RouteMatch(hosts=("a.x", "b.x"))), Route("b", RouteMatch())]
    assert repr(RouteTable(routes)) == "RouteTable(2 routes, 3 hosts)"
