"""Chooses the route of a request, by a table that is compiled once; its size does not slow down requests.

Of all routes that match, the one wins with the most exact host (a name, then the longest wildcard, then any), then with
the longest path, then with the most conditions (methods count as one, each header as one), then the first of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lbflask.core.http import paths
from lbflask.core.http.direct_response import DirectResponse, Redirect
from lbflask.core.http.field_names import NameCache
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.proxy_fields import is_claim
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields

#: Characters of a Host that is cached; longer names do not exist in DNS, but clients may invent them.
MOST_REMEMBERED = 260
#: Readings of a path that are compared; a path with more was made for it, and is rejected.
MOST_READINGS = 32
BY_CLIENT = RequestKey("client")


class AmbiguousPath(Exception):
    """The path has two readings that lead to different routes, so that none may serve it."""


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The requests that a route matches; empty attributes match all.

    `hosts` are in the form of `host_of`, or `*.` and a domain, which stands for all names under it. `path` is a prefix
    in whole segments, as `plain_path` has it, without a slash at its end. `headers` are pairs of a name in small
    letters and the value that one of its lines must have, None for any.
    """

    hosts: tuple[str, ...] = ()
    path: str = ""
    methods: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str | None], ...] = ()

    @property
    def conditions(self) -> int:
        """The number of conditions besides host and path."""
        return bool(self.methods) + len(self.headers)

    def takes(self, method: str, fields: Fields) -> bool:
        """Whether the method and the headers of a request meet the conditions."""
        if self.methods and method not in self.methods:
            return False
        return all(
            any(name.lower() == wanted and value in (None, text.strip(" \t")) for name, text in fields)
            for wanted, value in self.headers
        )

    def covers(self, other: RouteMatch) -> bool:
        """Whether the methods and headers match all requests that those of the other match."""
        methods = not self.methods or (bool(other.methods) and other.methods <= self.methods)
        asked = dict(other.headers)
        return methods and all(name in asked and value in (None, asked[name]) for name, value in self.headers)


@dataclass(frozen=True, slots=True)
class MirrorTarget:
    """A pool that gets copies of this percentage of the requests."""

    pool: str
    percent: float


@dataclass(frozen=True, slots=True)
class Route:
    """A match, and the action for its requests.

    `split_by` shares them among the pools of `shares` (percentages), or `direct` is the response to all. `prefix`
    replaces the matched path; None keeps it. `rate_limit` names the limit of the route.
    """

    name: str
    match: RouteMatch
    shares: Mapping[str, float] = field(default_factory=dict)
    split_by: RequestKey = BY_CLIENT
    direct: DirectResponse | Redirect | None = None
    prefix: str | None = None
    request_edits: Edits | None = None
    response_edits: Edits | None = None
    mirror: MirrorTarget | None = None
    rate_limit: str = ""


class _Tree:
    """The routes of one host, by prefix. `depths` are the numbers of segments that prefixes have, the longest first."""

    __slots__ = ("by_prefix", "deepest", "depths")

    def __init__(self, routes: Sequence[Route], numbers: Sequence[int]) -> None:
        found: dict[str, list[tuple[int, RouteMatch]]] = {}
        for number in sorted(numbers, key=lambda number: -routes[number].match.conditions):
            match = routes[number].match
            found.setdefault(match.path, []).append((number, match))
        self.by_prefix = {prefix: tuple(entries) for prefix, entries in found.items()}
        self.depths = tuple(sorted({paths.segments_of(prefix) for prefix in found}, reverse=True))
        self.deepest = self.depths[0]

    def find(self, path: str, method: str, fields: Fields) -> int | None:
        segments = path.split("/", self.deepest + 1)
        for depth in self.depths:
            if depth < len(segments):
                for route, match in self.by_prefix.get("/".join(segments[: depth + 1]) if depth else "", ()):
                    if match.takes(method, fields):
                        return route
        return None


class RouteTable:
    """The compiled routes. Threads and greenlets may share it."""

    def __init__(self, routes: Sequence[Route]) -> None:
        by_host: dict[str, list[int]] = {}
        for number, route in enumerate(routes):
            for host in route.match.hosts or ("",):
                by_host.setdefault(host, []).append(number)
        self._by_host = {host: _Tree(routes, numbers) for host, numbers in by_host.items()}
        wild = {host.count(".") for host in by_host if host.startswith("*.")}
        self._wild = tuple(sorted(wild, reverse=True))
        self._trees = NameCache(self._trees_of)
        #: Whether a route matches a field that proxies write.
        self.by_claims = any(is_claim(name) for route in routes for name, _ in route.match.headers)
        self._by_path = any(tree.deepest for tree in self._by_host.values())
        self._count = len(routes)

    def __repr__(self) -> str:
        return f"RouteTable({self._count} routes, {len(self._by_host)} hosts)"

    def find(self, host: str, target: str, method: str, fields: Fields) -> int | None:
        """The number of the route that a request for the target (origin-form) of the host takes; None if none matches.

        Raises AmbiguousPath, also for a path with more than MOST_READINGS readings.
        """
        trees = self._trees[host] if len(host) <= MOST_REMEMBERED else self._trees_of(host)
        path = target.partition("?")[0]
        if not self._by_path or not paths.is_odd(path):
            return _first(trees, path, method, fields)
        readings = paths.readings(path)
        found = _first(trees, next(readings), method, fields)
        for count, reading in enumerate(readings, 2):
            if count > MOST_READINGS or _first(trees, reading, method, fields) != found:
                raise AmbiguousPath
        return found

    def _trees_of(self, authority: str) -> tuple[_Tree, ...]:
        """The trees to search for a Host, the most exact first."""
        host = host_of(authority)
        labels = host.rsplit(".", max(self._wild, default=0))
        wild = ("*." + ".".join(labels[-depth:]) for depth in self._wild if depth < len(labels))
        return tuple(self._by_host[name] for name in (host, *wild, "") if name in self._by_host)


def _first(trees: Sequence[_Tree], path: str, method: str, fields: Fields) -> int | None:
    for tree in trees:
        found = tree.find(path, method, fields)
        if found is not None:
            return found
    return None


def unreachable(routes: Sequence[Route]) -> tuple[int, int] | None:
    """The first route that no request reaches on one of its hosts, with the route that takes all of them."""
    seen: dict[tuple[str, str], list[int]] = {}
    for number, route in enumerate(routes):
        for host in route.match.hosts or ("",):
            seen.setdefault((host, route.match.path), []).append(number)
    found = (pair for numbers in seen.values() for pair in _covered(routes, numbers))
    return min(found, default=None)


def _covered(routes: Sequence[Route], numbers: Collection[int]) -> Iterator[tuple[int, int]]:
    ranked = sorted(numbers, key=lambda number: -routes[number].match.conditions)
    for place, later in enumerate(ranked):
        for earlier in ranked[:place]:
            if routes[earlier].match.covers(routes[later].match):
                yield later, earlier
