"""Chooses the route of a request, by a table that is compiled once; its size does not slow down requests.

Of all routes that match, the one wins with the most exact host (a name, then the longest wildcard, then any), then with
the exact path, then with the longest prefix, then with the most conditions (methods count as one, each header as one,
…), then the first of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbflask.core.http import paths
from lbflask.core.http.direct_response import DirectResponse, Redirect
from lbflask.core.http.field_names import NameCache
from lbflask.core.http.proxy_fields import is_claim
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.rewrites import Rewrite
from lbflask.core.http.static_files import StaticFiles
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields
from lbflask.core.route_match import NO_SOURCE, RequestSource, RoutedRequest, RouteMatch, named_paths

#: Characters of a Host that is cached; longer names do not exist in DNS, but clients may invent them.
MOST_REMEMBERED = 260
#: Readings of a path that are compared; a path with more was made for it, and is rejected.
MOST_READINGS = 32
BY_CLIENT = RequestKey("client")
#: The request, where no route asks for more than its host and path.
_UNASKED = RoutedRequest("", "", "", [], NO_SOURCE)


class AmbiguousPath(Exception):
    """The path has two readings that lead to different routes, so that none may serve it."""


@dataclass(frozen=True, slots=True)
class MirrorTarget:
    """A pool that gets copies of this percentage of the requests."""

    pool: str
    percent: float


@dataclass(frozen=True, slots=True)
class Route:
    """A match, and the action for its requests.

    `split_by` shares them among the pools of `shares` (percentages), `direct` is the response to all, or `files` has
    the responses. `rewrite` gives backends another path; None keeps it. `rate_limit` names the limit of the route.
    """

    name: str
    match: RouteMatch
    shares: Mapping[str, float] = field(default_factory=dict)
    split_by: RequestKey = BY_CLIENT
    direct: DirectResponse | Redirect | None = None
    files: StaticFiles | None = None
    rewrite: Rewrite | None = None
    mirror: MirrorTarget | None = None
    rate_limit: str = ""


#: A route by its number, with its conditions; None for none.
_Entry = tuple[int, RouteMatch | None]


class _Tree:
    """The routes of one host, by path. `depths` are the numbers of segments that prefixes have, the longest first."""

    __slots__ = ("by_path", "by_prefix", "deepest", "depths")

    def __init__(self, routes: Sequence[Route], numbers: Sequence[int]) -> None:
        exact: dict[str, list[_Entry]] = {}
        prefixes: dict[str, list[_Entry]] = {}
        for number in sorted(numbers, key=lambda number: -routes[number].match.conditions):
            match = routes[number].match
            for is_exact, path in match.anchors:
                places = exact if is_exact else prefixes
                places.setdefault(path, []).append((number, match if match.conditions else None))
        self.by_path = {path: tuple(entries) for path, entries in exact.items()}
        self.by_prefix = {prefix: tuple(entries) for prefix, entries in prefixes.items()}
        self.depths = tuple(sorted({paths.segments_of(prefix) for prefix in prefixes}, reverse=True))
        self.deepest = max(self.depths, default=0)

    def find(self, path: str, request: RoutedRequest) -> int | None:
        if self.by_path:
            for route, match in self.by_path.get(path, ()):
                if match is None or match.meets(request, path):
                    return route
        segments = path.split("/", self.deepest + 1)
        for depth in self.depths:
            if depth < len(segments):
                for route, match in self.by_prefix.get("/".join(segments[: depth + 1]) if depth else "", ()):
                    if match is None or match.meets(request, path):
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
        matches = [route.match for route in routes]
        #: Whether a route matches a field that proxies write.
        self.by_claims = any(is_claim(name) for match in matches for name in match.asked_fields)
        #: Whether a route asks for the source of a request.
        self.by_source = any(match.asks_for_source for match in matches)
        self._by_path = any(match.asks_for_path for match in matches)
        self._conditional = any(match.conditions for match in matches)
        self._named = tuple([frozenset(named_paths(match)) for match in matches])
        self._count = len(routes)

    def __repr__(self) -> str:
        return f"RouteTable({self._count} routes, {len(self._by_host)} hosts)"

    def find(
        self, host: str, target: str, method: str, fields: Fields, source: RequestSource = NO_SOURCE
    ) -> int | None:
        """The number of the route that a request for the target (origin-form) of the host takes; None if none matches.

        Raises AmbiguousPath, also for a path with more than MOST_READINGS readings.
        """
        trees = self._trees[host] if len(host) <= MOST_REMEMBERED else self._trees_of(host)
        path = target.partition("?")[0]
        request = RoutedRequest(host, target, method, fields, source) if self._conditional else _UNASKED
        if not self._by_path or not paths.is_odd(path):
            return _first(trees, path, request)
        readings = paths.readings(path)
        found = _first(trees, next(readings), request)
        for count, reading in enumerate(readings, 2):
            if count > MOST_READINGS or _first(trees, reading, request) != found:
                raise AmbiguousPath
        return found

    def names(self, number: int, target: str) -> bool:
        """Whether the route of this number names exactly the path of the target: as a whole, or as its prefix."""
        return paths.plain_path(target.partition("?")[0]) in self._named[number]

    def _trees_of(self, authority: str) -> tuple[_Tree, ...]:
        """The trees to search for a Host, the most exact first."""
        host = host_of(authority)
        labels = host.rsplit(".", max(self._wild, default=0))
        wild = ("*." + ".".join(labels[-depth:]) for depth in self._wild if depth < len(labels))
        return tuple(self._by_host[name] for name in (host, *wild, "") if name in self._by_host)


def _first(trees: Sequence[_Tree], path: str, request: RoutedRequest) -> int | None:
    for tree in trees:
        found = tree.find(path, request)
        if found is not None:
            return found
    return None
