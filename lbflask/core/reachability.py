"""Finds routes that serve nothing: no request reaches them, their match contradicts itself, or they redirect to
themselves. Whatever is found is so for all requests; what depends on a request is never found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from lbflask.core.http.addresses import IPNetwork
from lbflask.core.http.direct_response import Redirect
from lbflask.core.http.paths import is_odd, plain_path
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.route_match import (
    NO_SOURCE,
    RoutedRequest,
    RouteMatch,
    Wanted,
    includes_host,
    is_below,
    is_met,
)
from lbflask.core.routing import Route

#: Redirects that are followed until they count as a loop.
MOST_REDIRECTS = 5
#: The variables of a redirect that the target alone determines.
_OF_TARGETS = frozenset({"path", "query"})
_GETTING = frozenset({301, 302, 303})
#: What an expression for paths begins with that is anchored, up to its first special character.
_BEGIN = re.compile(r"(?:\\A|\^)((?:[A-Za-z0-9_/~%@!&=:,-]|\\[./-])*)(.?)", re.DOTALL)


#: What may leave parts of an expression out of a path: alternatives, groups, classes, and an escaped backslash.
_PARTS = re.compile(r"[|(\[]|\\\\")


class Hidden(NamedTuple):
    """A route that no request reaches at one of its places, and the route that takes all of them, by their numbers."""

    later: int
    earlier: int
    host: str
    path: str


def unreachable(routes: Sequence[Route]) -> Hidden | None:
    """The first route that no request reaches on one of its hosts and paths, with the route that takes all of them."""
    seen: dict[tuple[str, bool, str], list[int]] = {}
    for number, route in enumerate(routes):
        for host in route.match.hosts or ("",):
            for exact, path in route.match.anchors:
                numbers = seen.setdefault((host, exact, path), [])
                if number not in numbers:
                    numbers.append(number)
    found = (
        Hidden(later, earlier, host, path)
        for (host, exact, path), numbers in seen.items()
        for later, earlier in _covered(routes, numbers, path if exact else None)
    )
    return min(found, default=None)


def _covered(routes: Sequence[Route], numbers: Collection[int], path: str | None) -> Iterator[tuple[int, int]]:
    ranked = sorted(numbers, key=lambda number: -routes[number].match.conditions)
    for place, later in enumerate(ranked):
        for earlier in ranked[:place]:
            if covers(routes[earlier].match, routes[later].match, path):
                yield later, earlier


def covers(wide: RouteMatch, other: RouteMatch, path: str | None = None) -> bool:
    """Whether each request that meets the conditions of `other` meets those of `wide`. `path` is the only one that
    comes into question, if it is known.
    """
    return (
        (not wide.methods or (bool(other.methods) and other.methods <= wide.methods))
        and _covers_path(wide, other, path)
        and _covers_names(wide.headers, other.headers)
        and _covers_names(wide.query, other.query)
        and _covers_names(wide.cookies, other.cookies)
        and wide.scheme in ("", other.scheme)
        and (not wide.networks or _contain(wide.networks, other.networks))
        and (not wide.listeners or (bool(other.listeners) and other.listeners <= wide.listeners))
        and all(any(contains(mine, theirs) for mine in other.excluded) for theirs in wide.excluded)
    )


def contains(wide: RouteMatch, other: RouteMatch) -> bool:
    """Whether each request that `other` matches, host and path included, `wide` matches too."""
    hosts = not wide.hosts or (
        bool(other.hosts) and all(any(includes_host(mine, host) for mine in wide.hosts) for host in other.hosts)
    )
    return hosts and all(
        any(_includes_place(mine, place) for mine in wide.anchors)
        and covers(wide, other, place[1] if place[0] else None)
        for place in other.anchors
    )


def contradiction(match: RouteMatch) -> str:
    """Why no request can match; empty if one may."""
    for inner in match.excluded:
        if contains(inner, match):
            return "`not` has all requests that the rest of the match has"
    if match.expression is not None:
        pattern = match.expression.pattern
        if not _PARTS.search(pattern) and re.search(r"\\\?(?![?*{])", pattern):
            return f"regex {pattern!r} has a ?, and a path has none; `query` is for what follows it"
        return _unfit(pattern, match)
    return ""


def _unfit(pattern: str, match: RouteMatch) -> str:
    """Why no path that begins as the expression says can be at a place of the match; empty if one may."""
    found = _BEGIN.match(pattern)
    if found is None or "|" in pattern:
        return ""
    literal, after = found[1].replace("\\", ""), found[2]
    if after in ("*", "?", "{"):
        literal = literal[:-1]
    if literal and not literal.startswith("/"):
        return f"regex {pattern!r} does not begin with /, and every path does"
    if all(not _may_begin(place, literal) for _, place in match.anchors):
        return f"regex {pattern!r} has no path that begins with {match.anchors[0][1]}"
    return ""


def _may_begin(place: str, literal: str) -> bool:
    return place.startswith(literal) or literal.startswith(place)


def _includes_place(wide: tuple[bool, str], place: tuple[bool, str]) -> bool:
    if wide[0]:
        return wide == place
    return is_below(place[1], wide[1])


def _covers_path(wide: RouteMatch, other: RouteMatch, path: str | None) -> bool:
    if path is not None:
        return wide.meets_path(path)
    if wide.suffixes and not (other.suffixes and all(each.endswith(wide.suffixes) for each in other.suffixes)):
        return False
    return wide.expression is None or wide.expression == other.expression


def _covers_names(wide: Sequence[tuple[str, Wanted]], other: Sequence[tuple[str, Wanted]]) -> bool:
    asked = dict(other)
    return all(name in asked and _covers_value(wanted, asked[name]) for name, wanted in wide)


def _covers_value(wide: Wanted, other: Wanted) -> bool:
    if wide is None or wide == other:
        return True
    return isinstance(other, str) and is_met(wide, [other])


def _contain(wide: Sequence[IPNetwork], other: Sequence[IPNetwork]) -> bool:
    return bool(other) and all(
        any(mine.version == network.version and network.subnet_of(mine) for mine in wide)  # type: ignore[arg-type]
        for network in other
    )


def redirects_to_itself(routes: Sequence[Route], number: int, reserved: Collection[str]) -> str:
    """The path to which a route redirects requests that it takes again, without end; empty for none.

    Found are redirects to a path of the same host, if no other route could take it and only the target decides.
    `reserved` are paths that no route takes.
    """
    direct = routes[number].direct
    if not isinstance(direct, Redirect) or not direct.to.startswith("/") or direct.template.names - _OF_TARGETS:
        return ""
    methods = routes[number].match.methods
    if direct.status in _GETTING and methods and "GET" not in methods:
        return ""
    for _, place in routes[number].match.anchors:
        first = target = _location(routes[number], direct, place or "/")
        for _ in range(MOST_REDIRECTS):
            if target.partition("?")[0] in reserved or not _takes_again(routes, number, target):
                break
            target = _location(routes[number], direct, target)
        else:
            return first
    return ""


def _location(route: Route, direct: Redirect, target: str) -> str:
    target = target if route.rewrite is None else route.rewrite.of(target)
    return direct.location(RequestFacts("", "", "", "", target, "", []))


def _takes_again(routes: Sequence[Route], number: int, target: str) -> bool:
    """Whether a request of the route for another target is surely the route's again."""
    raw = target.partition("?")[0]
    path, mine = plain_path(raw), routes[number].match
    if is_odd(raw.replace("%", "")) or not (mine.takes_path(path) and mine.meets_path(path)):
        return False
    if any(inner.takes_path(path) and inner.meets_path(path) for inner in mine.excluded):
        return False
    query = RoutedRequest("", target, "GET", [], NO_SOURCE).query
    if not all(is_met(wanted, query.get(name)) for name, wanted in mine.query):
        return False
    rank = _rank(mine, path, number)
    return not any(
        other.match.takes_path(path)
        and not (mine.hosts and not other.match.hosts)
        and _rank(other.match, path, place) < rank
        for place, other in enumerate(routes)
        if place != number and other.match.meets_path(path)
    )


def _rank(match: RouteMatch, path: str, number: int) -> tuple[bool, bool, int, int, int]:
    """The place of a route in the order of precedence for the path. One with a host may come before others."""
    exact = path in match.exact
    longest = max(
        [len(place) for is_exact, place in match.anchors if not is_exact and is_below(path, place)], default=0
    )
    return not match.hosts, not exact, -longest, -match.conditions, number
