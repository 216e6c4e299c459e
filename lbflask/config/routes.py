"""Configuration of routes: which requests go to which pool, with which changes (docs/routing.md)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from lbflask.config.error_pages import read_page
from lbflask.config.field_types import HashKeyName, Listed, Section, checked_by, is_host, is_method, required
from lbflask.config.paths import FilePath
from lbflask.config.redaction import URL, FieldTable, Secret
from lbflask.core import routing
from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect, unknown_placeholders
from lbflask.core.http.field_names import is_token
from lbflask.core.http.header_edits import UNTOUCHABLE, Edits
from lbflask.core.http.paths import is_odd, plain_path
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.target import host_of

_PATH = re.compile(r"/[!-\"$->@-~]*")


def _host(value: str) -> str:
    name = value.removeprefix("*.")
    host = host_of(name) if is_host(name) else ""
    if not host or "*" in host or (":" in name and not name.endswith("]")):
        raise ValueError("must be a name or an address without a port, or *. and a name")
    return "*." + host if value.startswith("*.") else host


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("must be a path that begins with /, without blanks, ? and #")
    plain = plain_path(value)
    if is_odd(plain.replace("%", "")) or any(sign >= "\ue000" for sign in plain):
        raise ValueError(
            "can be read in two ways: it has //, a segment . or .., ; or \\, or an encoded one of / ; \\ ? #"
        )
    return value.rstrip("/")


def _check_edited(value: str) -> None:
    if value.lower() in UNTOUCHABLE:
        reason = (
            "see preserve_host" if value.lower() == "host" else "it belongs to one connection or frames the message"
        )
        raise ValueError(f"may not be changed: {reason}")


def _wanted(value: Any) -> Any:
    if value is not True and not isinstance(value, str):
        raise ValueError("must be the value as a string, or true for any value")
    return value


def _check_destination(value: URL) -> None:
    if unknown := unknown_placeholders(value.reveal()):
        raise ValueError(f"{unknown[0]!r} is not one of {{host}}, {{path}}, {{query}}")
    if not re.fullmatch(r"(https?://[^/?#{}][!-~]*|https?://\{host\}[!-~]*|/[^/\\{}][!-~]*|/)", value):
        raise ValueError("must begin with https:// or http:// and a host, or with / and a path")


_FieldName = Annotated[str, required(is_token, "must be the name of a header field")]
_PRINTABLE = required(
    re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?").fullmatch, "must be of printable ASCII, without blanks at its ends"
)
MatchedName = Annotated[_FieldName, required(lambda name: name.lower() != "host", "is what match.host is for")]
Wanted = Annotated[Secret | Literal[True], BeforeValidator(_wanted)]
EditedName = Annotated[_FieldName, checked_by(_check_edited)]
Method = Annotated[str, required(is_method, "must be a method such as GET or POST")]
Value = Annotated[str, _PRINTABLE]
FieldValue = Annotated[Secret, _PRINTABLE]
Prefix = Annotated[str, AfterValidator(_path)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class MatchConfig(Section):
    """The requests that a route matches: those that match each key that is set."""

    host: Listed[Annotated[str, AfterValidator(_host)]] = ()
    """Names or addresses, without port; `*.example.com` matches every name under example.com, at any depth."""
    path: Prefix = ""
    """A prefix in whole segments: `/api` matches /api and /api/x, not /apix."""
    methods: Listed[Method] = ()
    """Methods, in capitals."""
    headers: Annotated[dict[MatchedName, Wanted], FieldTable()] = Field(default_factory=dict)
    """Header fields by name: the value of one of their lines, or true for any value."""

    def to_model(self) -> routing.RouteMatch:
        """The match as a value of the core."""
        headers = (
            (name.lower(), value.reveal() if isinstance(value, Secret) else None)
            for name, value in self.headers.items()
        )
        return routing.RouteMatch(self.host, plain_path(self.path), frozenset(self.methods), tuple(sorted(headers)))


class RespondConfig(Section):
    """A direct response, without a backend."""

    status: int = Field(default=503, ge=200, le=599)
    """The status of the response."""
    body: str = ""
    """Its body."""
    file: FilePath = ""
    """A file with its body, instead of `body`."""
    content_type: Value = ""
    """The type of the body; unless set, by the name of the file, else plain text."""
    _page: ErrorPage = PrivateAttr(ErrorPage("", b""))

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting."""
        if self.file and self.body:
            raise ValueError(f"{where}.file: there is a body too, and only one of them can be the body")
        if self.file:
            self._page = read_page(f"{where}.file", self.file, self.content_type)
        else:
            self._page = ErrorPage(self.content_type or "text/plain; charset=utf-8", self.body.encode())
        if self.status in (204, 304) and self._page.body:
            raise ValueError(f"{where}.status: {self.status} has no body (RFC 9110 section 6.4.1)")

    def to_model(self) -> DirectResponse:
        """The response as a value of the core."""
        return DirectResponse(self.status, self._page)


class RedirectConfig(Section):
    """A redirection."""

    to: Annotated[URL, checked_by(_check_destination)]
    """The target: a URL, or a path; `{host}`, `{path}` and `{query}` (with its `?`) are those of the request."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """307 and 308 keep method and body; clients may cache 301 and 308."""

    def to_model(self) -> Redirect:
        """The response as a value of the core."""
        return Redirect(self.status, self.to.reveal())


class HeaderEditsConfig(Section):
    """Changes of header fields. Hop-by-hop fields, fields of framing, and Host cannot be changed."""

    set: Annotated[dict[EditedName, FieldValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are set to this value, instead of any other."""
    add: Annotated[dict[EditedName, FieldValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are added to those of the message."""
    remove: Listed[EditedName] = ()
    """Fields that are removed."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for a field with two changes."""
        seen: dict[str, str] = {}
        for key, names in (("remove", self.remove), ("set", self.set), ("add", self.add)):
            for name in names:
                if name.lower() in seen:
                    raise ValueError(f"{where}.{key}: {name!r} is in {seen[name.lower()]} already")
                seen[name.lower()] = key

    def to_model(self) -> Edits | None:
        """The changes as a value of the core; None for no changes."""
        if not (self.set or self.add or self.remove):
            return None
        return Edits(set_=_fields(self.set), add=_fields(self.add), remove=self.remove)


def _fields(table: Mapping[str, Secret]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value.reveal()) for name, value in table.items())


class MirrorConfig(Section):
    """Copies of a share of the requests for another pool. Its responses are discarded."""

    pool: str
    """The pool that gets the copies."""
    percent: Annotated[float, Field(gt=0, le=100)] = 100.0
    """Percentage of the requests that are copied."""


class RouteConfig(Section):
    """A match of requests, and the action for them: one of `pool`, `split`, `respond` and `redirect`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Its name, for the log and for messages."""
    match: MatchConfig = MatchConfig()
    """The requests that it matches; all unless set."""
    pool: str | None = None
    """The pool that serves them."""
    split: dict[str, Percent] = Field(default_factory=dict)
    """Several pools, each with its percentage of the requests."""
    split_by: HashKeyName = "client"
    """The key that chooses the pool under `split`, as in `hash.key`. Requests without it are split at random."""
    respond: RespondConfig | None = None
    """A direct response: a table of `status`, `body`, `file`, `content_type`."""
    redirect: RedirectConfig | None = None
    """A redirection: a table of `to`, `status`."""
    strip_prefix: bool = False
    """Whether backends (and `{path}`) get the path without `match.path`."""
    replace_prefix: Prefix | None = None
    """The path that replaces `match.path`."""
    request_headers: HeaderEditsConfig = HeaderEditsConfig()
    """Changes to the fields that backends get: a table of `set`, `add`, `remove`."""
    response_headers: HeaderEditsConfig = HeaderEditsConfig()
    """Changes to the fields of all final responses of the route: the same."""
    mirror: MirrorConfig | None = None
    """Copies of a share of the requests: a table of `pool`, `percent`."""
    rate_limit: str = ""
    """The name of a rate limit of its requests, besides those with `everywhere` (docs/limits.md)."""

    def check(self, where: str, pools: Collection[str], limits: Collection[str]) -> None:
        """Raises ValueError, which names the setting after `where`, for settings that are impossible together."""
        self._check_action(where)
        if self.rate_limit and self.rate_limit not in limits:
            raise ValueError(f"{where}.rate_limit: there is no rate limit {self.rate_limit!r}")
        for key, pool in self._pools():
            if pool not in pools:
                raise ValueError(f"{where}.{key}: there is no pool {pool!r}")
        total = sum(self.split.values())
        if self.split and abs(total - 100) > 1e-9:
            raise ValueError(f"{where}.split: adds up to {total:g}, and should be 100 (percent)")
        if self.strip_prefix and self.replace_prefix is not None:
            raise ValueError(f"{where}.strip_prefix: there is replace_prefix too, and only one of them can be set")
        if self.strip_prefix and not self.match.path:
            raise ValueError(f"{where}.strip_prefix: there is no match.path to remove")
        if self.respond is not None:
            self.respond.check(f"{where}.respond")
        self.request_headers.check(f"{where}.request_headers")
        self.response_headers.check(f"{where}.response_headers")

    def _check_action(self, where: str) -> None:
        actions = [key for key in ("pool", "split", "respond", "redirect") if getattr(self, key)]
        if len(actions) != 1:
            reason = f"has {' and '.join(actions)}, of which" if actions else "has no action for its requests:"
            raise ValueError(f"{where}: {self.name!r} {reason} one of pool, split, respond, redirect must be set")
        (action,) = actions
        useless = {"request_headers", "mirror", "rate_limit"} if action in ("respond", "redirect") else set()
        useless |= {"strip_prefix", "replace_prefix"} if action == "respond" else set()
        useless |= {"split_by"} if action != "split" else set()
        unused = [key for key in type(self).model_fields if key in useless]
        self.check_unused(where, unused, f"a route with {action!r} does not use it")

    def _pools(self) -> list[tuple[str, str]]:
        found = [("pool", self.pool)] if self.pool else []
        found += [("split", pool) for pool in self.split]
        return found + ([("mirror.pool", self.mirror.pool)] if self.mirror else [])

    def to_model(self) -> routing.Route:
        """The route as a value of the core."""
        direct, mirror = self.respond or self.redirect, self.mirror
        return routing.Route(
            self.name,
            self.match.to_model(),
            {self.pool: 100.0} if self.pool else self.split,
            RequestKey.parse(self.split_by),
            direct=direct.to_model() if direct else None,
            prefix="" if self.strip_prefix else self.replace_prefix,
            request_edits=self.request_headers.to_model(),
            response_edits=self.response_headers.to_model(),
            mirror=routing.MirrorTarget(mirror.pool, mirror.percent) if mirror else None,
            rate_limit=self.rate_limit,
        )


def check_routes(routes: Sequence[RouteConfig], pools: Mapping[str, object], limits: Collection[str]) -> None:
    """Raises ValueError, which names the setting, for routes that exclude each other."""
    names: dict[str, int] = {}
    for number, route in enumerate(routes):
        route.check(f"routes[{number}]", pools, limits)
        first = names.setdefault(route.name, number)
        if first != number:
            raise ValueError(f"routes[{number}].name: {route.name!r} is the name of routes[{first}] already")
    hidden = routing.unreachable([route.to_model() for route in routes])
    if hidden is not None:
        later, earlier = hidden
        raise ValueError(
            f"routes[{later}].match: no request reaches {routes[later].name!r}, since {routes[earlier].name!r}"
            f" (routes[{earlier}]) takes all of them"
        )
