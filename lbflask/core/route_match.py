"""The requests that a route matches: by host and path, which the table of routes looks up, and by conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import unquote_plus

from lbflask.core.http.addresses import IPAddress, IPNetwork, parsed_address
from lbflask.core.http.paths import segments_of
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields
from lbflask.core.linear_expression import LinearExpression

#: A value that is asked for: this text, one in which the expression is found, or any (None).
Wanted = str | LinearExpression | None


class RequestSource(NamedTuple):
    """Where a request came from: the client's address and scheme, behind trusted proxies those that they name, and the
    label of the listener.
    """

    client: str
    scheme: str
    listener: str


#: Of a request for which no route asks.
NO_SOURCE = RequestSource("", "", "")


class RoutedRequest:
    """What the conditions of routes ask of a request. Its parts are parsed when the first route asks for them."""

    __slots__ = ("_address", "_cookies", "_host", "_query", "_target", "fields", "method", "source")

    def __init__(self, host: str, target: str, method: str, fields: Fields, source: RequestSource) -> None:
        self._host = host
        self._target = target
        self.method = method
        self.fields = fields
        self.source = source
        self._query: dict[str, list[str]] | None = None
        self._cookies: dict[str, list[str]] | None = None
        self._address: IPAddress | None = None

    @property
    def host(self) -> str:
        """The host, as of `host_of`."""
        return host_of(self._host)

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each parameter of the query, as forms send it: percent-encoded, `+` for a blank."""
        if self._query is None:
            self._query = {}
            for pair in self._target.partition("?")[2].split("&"):
                name, _, value = pair.partition("=")
                self._query.setdefault(unquote_plus(name), []).append(unquote_plus(value))
        return self._query

    @property
    def cookies(self) -> dict[str, list[str]]:
        """The values of each cookie (RFC 6265 §4.2.1), without quotes around them."""
        if self._cookies is None:
            self._cookies = {}
            pairs = ";".join([value for name, value in self.fields if name.lower() == "cookie"]).split(";")
            for pair in pairs:
                name, equals, value = pair.partition("=")
                if equals:
                    self._cookies.setdefault(name.strip(" \t"), []).append(_unquoted(value.strip(" \t")))
        return self._cookies

    @property
    def address(self) -> IPAddress | None:
        """The client's address; None where it has none, as on a unix socket."""
        if self._address is None:
            self._address = parsed_address(self.source.client)
        return self._address


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The requests that a route matches; empty attributes match all.

    `hosts` are in the form of `host_of`, or `*.` and a domain, which stands for all names under it. `paths` are
    prefixes in whole segments, as `plain_path` has them, without a slash at their ends; `exact` are whole paths. Names
    of `headers` are in small letters. `excluded` are matches none of which may match.
    """

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    headers: tuple[tuple[str, Wanted], ...] = ()
    exact: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    expression: LinearExpression | None = None
    query: tuple[tuple[str, Wanted], ...] = ()
    cookies: tuple[tuple[str, Wanted], ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    scheme: str = ""
    listeners: frozenset[str] = frozenset()
    excluded: tuple[RouteMatch, ...] = ()

    @property
    def anchors(self) -> tuple[tuple[bool, str], ...]:
        """Where it stands in the table of routes: whether a path is exact, and the path; the empty prefix for none."""
        if self.exact:
            return tuple([(True, path) for path in self.exact])
        return tuple([(False, path) for path in self.paths or ("",)])

    def at(self, places: tuple[str, ...]) -> RouteMatch:
        """The same match at these paths only, which are some of those at its anchors."""
        return replace(self, exact=places) if self.exact else replace(self, paths=places)

    @property
    def segments(self) -> int:
        """The number of segments of its prefixes, which have all the same; 0 for a whole path, which is no prefix."""
        return 0 if self.exact or not self.paths else segments_of(self.paths[0])

    @property
    def conditions(self) -> int:
        """The number of conditions besides host and path."""
        given = (self.methods, self.suffixes, self.expression, self.networks, self.scheme, self.listeners)
        named = len(self.headers) + len(self.query) + len(self.cookies) + len(self.excluded)
        return named + sum([1 for one in given if one])

    @property
    def asks_for_path(self) -> bool:
        """Whether the path decides."""
        asked = bool(self.exact or self.suffixes or self.expression or any(self.paths))
        return asked or any(inner.asks_for_path for inner in self.excluded)

    @property
    def asks_for_source(self) -> bool:
        """Whether the source of the request decides."""
        asked = bool(self.networks or self.scheme or self.listeners)
        return asked or any(inner.asks_for_source for inner in self.excluded)

    @property
    def asked_fields(self) -> tuple[str, ...]:
        """The names of the fields that decide, in small letters."""
        names = [name for name, _ in self.headers]
        return (*names, *(name for inner in self.excluded for name in inner.asked_fields))

    def meets(self, request: RoutedRequest, path: str) -> bool:
        """Whether a request whose path is read like this meets the conditions."""
        if self.methods and request.method not in self.methods:
            return False
        if not self.meets_path(path):
            return False
        for name, wanted in self.headers:
            if not _any_line(request.fields, name, wanted):
                return False
        for name, wanted in self.query:
            if not is_met(wanted, request.query.get(name)):
                return False
        for name, wanted in self.cookies:
            if not is_met(wanted, request.cookies.get(name)):
                return False
        source = request.source
        if self.scheme and source.scheme != self.scheme:
            return False
        if self.listeners and source.listener not in self.listeners:
            return False
        if self.networks and not _contains(self.networks, request.address):
            return False
        return not any(inner.matches(request, path) for inner in self.excluded)

    def meets_path(self, path: str) -> bool:
        """Whether a path has the suffix, and fits the expression."""
        if self.suffixes and not path.endswith(self.suffixes):
            return False
        return self.expression is None or self.expression.search(path)

    def matches(self, request: RoutedRequest, path: str) -> bool:
        """Whether it matches a request as a whole, whose path is read like this."""
        return self.takes_host(request.host) and self.takes_path(path) and self.meets(request, path)

    def takes_host(self, host: str) -> bool:
        """Whether the host is one of its hosts."""
        return not self.hosts or any(includes_host(each, host) for each in self.hosts)

    def takes_path(self, path: str) -> bool:
        """Whether the path is at one of its anchors."""
        return any(path == place if exact else is_below(path, place) for exact, place in self.anchors)


def named_paths(match: RouteMatch) -> tuple[str, ...]:
    """The paths that the match names: whole ones, and prefixes of it."""
    return match.exact or tuple([path for path in match.paths if path])


def is_below(path: str, prefix: str) -> bool:
    """Whether a path has the prefix, in whole segments."""
    return not prefix or path == prefix or path.startswith(prefix + "/")


def includes_host(wide: str, host: str) -> bool:
    """Whether the host, or all hosts of a wildcard, are those of the other one."""
    return wide == host or (wide.startswith("*.") and host.endswith(wide[1:]))


def is_met(wanted: Wanted, values: list[str] | None) -> bool:
    """Whether one of the values, of which there may be none at all, is the wanted one."""
    if not values:
        return False
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted in values
    return any(wanted.search(value) for value in values)


def _any_line(fields: Fields, name: str, wanted: Wanted) -> bool:
    return is_met(wanted, [text.strip(" \t") for each, text in fields if each.lower() == name])


def _contains(networks: tuple[IPNetwork, ...], address: IPAddress | None) -> bool:
    return address is not None and any(address in network for network in networks)


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
