"""Which route a request takes, by the words of docs/routing.md: every route is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import parse_qsl

from hypothesis import strategies as st

from lbflask.core.http.types import Fields
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.route_match import RequestSource, RouteMatch, Wanted
from lbflask.core.routing import Route, RouteTable


class Query(NamedTuple):
    """A request, as far as routes ask for it."""

    host: str = "x"
    path: str = "/"
    query: str = ""
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    source: RequestSource = RequestSource("192.0.2.1", "http", "web")

    @property
    def target(self) -> str:
        return self.path + self.query


def find(table: RouteTable, query: Query) -> int | None:
    return table.find(query.host, query.target, query.method, list(query.fields), query.source)


def routes_of(matches: Sequence[RouteMatch]) -> list[Route]:
    return [Route(f"r{number}", match) for number, match in enumerate(matches)]


def naive(matches: Sequence[RouteMatch], query: Query) -> int | None:
    """The number of the best of all that match."""
    ranks = [rank for number, match in enumerate(matches) for rank in _ranks(match, number, query)]
    return min(ranks)[-1] if ranks else None


def _ranks(match: RouteMatch, number: int, query: Query) -> list[tuple[int, int, int, int]]:
    if not holds(match, query):
        return []
    exactness = max(
        (1000 if name == query.host else len(name) for name in match.hosts if _fits_host(name, query.host)), default=0
    )
    length = 1000 if match.exact else max(len(path) for path in match.paths or ("",) if _is_under(query.path, path))
    return [(-exactness, -length, -match.conditions, number)]


def holds(match: RouteMatch, query: Query) -> bool:
    """Whether each key matches."""
    source = query.source
    parameters = parse_qsl(query.query[1:], keep_blank_values=True)
    cookies = [part.split("=", 1) for value in _lines(query.fields, "cookie") for part in value.split("; ")]
    return (
        (not match.hosts or any(_fits_host(name, query.host) for name in match.hosts))
        and (not match.paths or any(_is_under(query.path, path) for path in match.paths))
        and (not match.exact or query.path in match.exact)
        and (not match.methods or query.method in match.methods)
        and (not match.suffixes or any(query.path.endswith(end) for end in match.suffixes))
        and (match.expression is None or re.search(match.expression.pattern, query.path) is not None)
        and all(_has(_lines(query.fields, name), wanted) for name, wanted in match.headers)
        and all(_has([text for key, text in parameters if key == name], wanted) for name, wanted in match.query)
        and all(_has([text for key, text in cookies if key == name], wanted) for name, wanted in match.cookies)
        and (not match.networks or any(ip_address(source.client) in network for network in match.networks))
        and match.scheme in ("", source.scheme)
        and (not match.listeners or source.listener in match.listeners)
        and not any(holds(inner, query) for inner in match.excluded)
    )


def _lines(fields: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name]


def _has(values: list[str], wanted: Wanted) -> bool:
    if wanted is None:
        return bool(values)
    if isinstance(wanted, str):
        return wanted in values
    return any(re.search(wanted.pattern, value) for value in values)


def _fits_host(name: str, host: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else name == host


def _is_under(path: str, prefix: str) -> bool:
    return (path + "/").startswith(prefix + "/") if prefix else True


def _some(*values: tuple[object, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    """Most often none of the values."""
    return st.sampled_from([(), (), (), *values])


ONE = LinearExpression("^1")
_NAMED = st.sampled_from([(), (), (), (("k", None),), (("k", "1"),), (("k", ONE),), (("k", "1"), ("l", None))])
_PLACES = st.sampled_from(
    [
        {},
        {},
        {"paths": ("/p",)},
        {"paths": ("/p", "/q")},
        {"paths": ("/p/q",)},
        {"exact": ("/p",)},
        {"exact": ("/p/", "/q")},
        {"paths": ("/p",), "suffixes": (".php",)},
        {"suffixes": (".php", "q")},
        {"expression": LinearExpression("q$")},
        {"paths": ("/p",), "expression": LinearExpression("^/p/")},
    ]
)


def _match(host: str, places: dict[str, object], **conditions: object) -> RouteMatch:
    return RouteMatch((host,) if host else (), **places, **conditions)  # type: ignore[arg-type]


SIMPLE = st.builds(
    _match,
    st.sampled_from(["", "", "a.x", "b.a.x", "*.x", "*.a.x"]),
    _PLACES,
    methods=st.sampled_from([frozenset(), frozenset(), frozenset({"GET"}), frozenset({"GET", "PUT"})]),
    headers=_NAMED,
    query=_NAMED,
    cookies=_NAMED,
    networks=_some((ip_network("10.0.0.0/8"),), (ip_network("10.1.0.0/16"), ip_network("2001:db8::/32"))),
    scheme=st.sampled_from(["", "", "", "http", "https"]),
    listeners=st.sampled_from([frozenset(), frozenset(), frozenset({"web"}), frozenset({"web", "tls"})]),
)
MATCHES = st.lists(
    st.builds(lambda match, left_out: replace(match, excluded=tuple(left_out)), SIMPLE, st.lists(SIMPLE, max_size=2)),
    max_size=6,
)


def _fields(header: str | None, cookie: str | None) -> tuple[tuple[str, str], ...]:
    fields: Fields = [] if header is None else [("K", header)]
    return (*fields, *([] if cookie is None else [("Cookie", f"l=; k={cookie}")]))


_VALUES = st.sampled_from([None, None, "1", "12", "2"])
QUERIES = st.builds(
    Query,
    st.sampled_from(["a.x", "b.a.x", "c.a.x", "c.x", "x"]),
    st.sampled_from(["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/q", "/p/x.php", "/x.php"]),
    st.sampled_from(["", "", "?k", "?k=1", "?k=12&l", "?k=2&k=1"]),
    st.sampled_from(["GET", "PUT", "POST"]),
    st.builds(_fields, _VALUES, _VALUES),
    st.builds(
        RequestSource,
        st.sampled_from(["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"]),
        st.sampled_from(["http", "https"]),
        st.sampled_from(["web", "tls", ""]),
    ),
)
