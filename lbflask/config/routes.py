"""Configuration of routes: which requests go to which pool, with which changes (docs/routing.md)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from lbflask.config.auth import Auth
from lbflask.config.error_pages import read_page
from lbflask.config.field_types import PRINTABLE, HashKeyName, Section, checked_by
from lbflask.config.header_edits import ResponseEditsConfig
from lbflask.config.paths import FilePath
from lbflask.config.redaction import URL
from lbflask.config.route_match import ExpressionText, MatchConfig, PathPrefix
from lbflask.config.static_files import StaticFilesConfig
from lbflask.config.traffic import TrafficConfig
from lbflask.core import routing
from lbflask.core.http.direct_response import OF_BACKENDS, DirectResponse, ErrorPage, Redirect, escape_of
from lbflask.core.http.paths import segments_of
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.rewrites import ExpressionRewrite, PrefixRewrite, unknown_groups
from lbflask.core.http.value_templates import ValueTemplate, parsed_value
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.reachability import contradiction, redirects_to_itself, unreachable
from lbflask.core.route_match import named_paths

#: Statuses of redirects, which need a Location.
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
#: Names of pools that a message lists.
MOST_LISTED = 20
#: What `redirect = "https"` stands for.
_SAME_ON_HTTPS = "https://{host}{path}{query}"


def _check_destination(value: URL) -> None:
    if value == "https":
        return
    template = Redirect(308, value.reveal(), os.environ).template
    if brace := re.search(r"[{}]", "".join([text for text, _ in template.parts])):
        raise ValueError(f"{brace[0]!r} belongs to no variable, and is no character of a URL")
    url = "".join([f"{text}{{{name}}}" if name else text for text, name in template.parts])
    if not re.fullmatch(r"(https?://[^/?#{}][!-~]*|https?://\{host\}[!-~]*|/[^/\\{}][!-~]*|/)", url):
        raise ValueError("must begin with https:// or http:// and a host, or with / and a path")


def _check_rewritten(value: str) -> None:
    if not re.fullmatch(r"/[!-\"$->@-~]*", value):
        raise ValueError("must be a path that begins with /, without blanks, ? and #")
    if re.search(r"\$[0-9]|\\[0-9]", value):
        raise ValueError("has groups in braces: write {1}, not $1 or \\1")


Value = Annotated[str, PRINTABLE]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _is_stripped(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("/"):
        raise ValueError("must be true or false: what is removed is match.path")
    return value


class RespondConfig(Section):
    """A direct response, without a backend."""

    status: int = Field(default=503, ge=200, le=599)
    """The status of the response."""
    body: str = ""
    """Its body, in which variables such as `{client}` are filled in, escaped by its type (docs/variables.md)."""
    file: FilePath = ""
    """A file with its body, instead of `body`."""
    content_type: Value = ""
    """The type of the body; unless set, by the name of the file, else plain text."""
    _page: ErrorPage = PrivateAttr(default_factory=lambda: ErrorPage("", b""))
    _text: ValueTemplate | None = PrivateAttr(default=None)

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting."""
        if self.file and self.body:
            raise ValueError(f"{where}.file: there is a body too, and only one of them can be the body")
        if self.file:
            self._page = read_page(f"{where}.file", self.file, self.content_type)
        else:
            self._read_body(where)
        if self.status in _REDIRECTING:
            raise ValueError(
                f"{where}.status: {self.status} needs a Location: redirect = {{ to = …, status = {self.status} }}"
            )
        if self.status in (204, 304) and self._page.body:
            raise ValueError(f"{where}.status: {self.status} has no body (RFC 9110 section 6.4.1)")

    def _read_body(self, where: str) -> None:
        kind = self.content_type or "text/plain; charset=utf-8"
        try:
            body = parsed_value(self.body, os.environ, without=OF_BACKENDS)
        except ValueError as error:
            raise ValueError(f"{where}.body: {error}") from None
        self._page = ErrorPage(kind, self.body.encode() if isinstance(body, ValueTemplate) else body.encode())
        if isinstance(body, ValueTemplate):
            self._text = body
            if escape_of(kind) is None:
                raise ValueError(
                    f"{where}.content_type: {kind!r} is no type whose body can have variables: "
                    "text/plain, HTML, XML and JSON are"
                )

    @property
    def varies(self) -> bool:
        """Whether the body has variables."""
        return self._text is not None

    def to_model(self) -> DirectResponse:
        """The response as a value of the core."""
        return DirectResponse(self.status, self._page, self._text)


class RedirectConfig(Section):
    """A redirection. A text in its place is its `to`."""

    short_form: ClassVar[str] = "to"

    to: Annotated[URL, checked_by(_check_destination)]
    """A URL or a path with `{host}`, `{path}`, `{query}` and other variables; `https` changes the scheme."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """307 and 308 keep method and body; clients may cache 301 and 308."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value

    def to_model(self) -> Redirect:
        """The response as a value of the core."""
        to = self.to.reveal()
        return Redirect(self.status, _SAME_ON_HTTPS if to == "https" else to, os.environ)


class RewriteConfig(Section):
    """A rewrite of the path by an expression. A path without a match is unchanged."""

    regex: ExpressionText
    """A regular expression for the path as it was sent, in RE2's syntax. It needs `lbflask[re2]`."""
    to: Annotated[str, checked_by(_check_rewritten)]
    """The whole new path; `{1}` is the first group of the expression, `{name}` the one of this name."""

    @model_validator(mode="after")
    def _check_groups(self) -> RewriteConfig:
        if unknown := unknown_groups(self.to, LinearExpression(self.regex)):
            raise ValueError(f"to: {unknown[0]!r} is no group of the expression")
        return self

    def to_model(self) -> ExpressionRewrite:
        """The rewrite as a value of the core."""
        return ExpressionRewrite(LinearExpression(self.regex), self.to)


class MirrorConfig(Section):
    """Copies of a share of the requests for another pool. Its responses are discarded."""

    pool: str
    """The pool that gets the copies."""
    percent: Annotated[float, Field(gt=0, le=100)] = 100.0
    """Percentage of the requests that are copied."""


#: The inherited settings that routes without a pool use.
_OF_DIRECT_RESPONSES = frozenset({"access", "error_pages", "response_headers"})


class RouteConfig(TrafficConfig):
    """A match of requests, and the action for them: one of `pool`, `split`, `respond`, `redirect` and `files`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    """Its name, for the log and for messages; unset, it is what `match` has, such as `/api`."""
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
    """A redirection: a URL or a path, or a table of `to`, `status`."""
    files: StaticFilesConfig | None = None
    """Files below a directory: its path, or a table of `root`, `fallback` and others."""
    strip_prefix: Annotated[bool, BeforeValidator(_is_stripped)] = False
    """Whether backends (and `{path}`) get the path without `match.path`."""
    replace_prefix: PathPrefix | None = None
    """The path that replaces `match.path`."""
    rewrite: RewriteConfig | None = None
    """Another path for backends (and `{path}`) by an expression: a table of `regex`, `to`."""
    mirror: MirrorConfig | None = None
    """Copies of a share of the requests: a table of `pool`, `percent`."""
    client_certificate: bool = False
    """Whether clients need a certificate that their listener has verified; others get 403."""
    rate_limit: str = ""
    """The name of a rate limit of its requests, besides those with `everywhere` (docs/limits.md)."""
    auth: Auth = None
    """Who may make its requests, instead of the top level's `auth`: a table, or `"none"` for all."""

    def check(self, where: str, pools: Collection[str], limits: Collection[str]) -> None:
        """Raises ValueError, which names the setting after `where`, for settings that are impossible together."""
        self._check_action(where)
        self.check_traffic(f"{where}.")
        if self.auth is not None:
            self.auth.check(f"{where}.auth")
        if self.rate_limit and self.rate_limit not in limits:
            raise ValueError(f"{where}.rate_limit: there is no rate limit {self.rate_limit!r}")
        for key, pool in self._pools():
            if pool not in pools:
                names = ", ".join(sorted(pools)[:MOST_LISTED])
                raise ValueError(f"{where}.{key}: there is no pool {pool!r}; there are {names}")
        total = sum(self.split.values())
        if self.split and abs(total - 100) > 1e-9:
            raise ValueError(f"{where}.split: adds up to {total:g}, and should be 100 (percent)")
        if self.strip_prefix and self.replace_prefix is not None:
            raise ValueError(f"{where}.strip_prefix: there is replace_prefix too, and only one of them can be set")
        if self.strip_prefix and not (self.match.exact or any(path != "/" for path in self.match.path)):
            raise ValueError(f"{where}.strip_prefix: there is no match.path to remove")
        if self.rewrite is not None and (self.strip_prefix or self.replace_prefix is not None):
            other = "strip_prefix" if self.strip_prefix else "replace_prefix"
            raise ValueError(f"{where}.rewrite: there is {other} too, and only one of them can be set")
        if reason := contradiction(self.match.to_model()):
            raise ValueError(f"{where}.match: no request can match: {reason}")
        if self.respond is not None:
            self.respond.check(f"{where}.respond")
        if self.files is not None:
            self.files.check(f"{where}.files")

    def _check_action(self, where: str) -> None:
        actions = [key for key in ("pool", "split", "respond", "redirect", "files") if getattr(self, key)]
        if len(actions) != 1:
            reason = f"has {' and '.join(actions)}, of which" if actions else "has no action for its requests:"
            raise ValueError(
                f"{where}: {self.label!r} {reason} one of pool, split, respond, redirect, files must be set"
            )
        (action,) = actions
        forwards = action in ("pool", "split")
        useless = set() if forwards else {"mirror", "rate_limit"}
        useless |= {"strip_prefix", "replace_prefix", "rewrite"} if action in ("respond", "files") else set()
        used = _OF_DIRECT_RESPONSES | ({"compression"} if action == "files" else set())
        useless |= set() if forwards else set(TrafficConfig.model_fields) - used
        useless |= {"split_by"} if action != "split" else set()
        unused = [key for key in type(self).model_fields if key in useless]
        self.check_unused(where, unused, f"a route with {action!r} does not use it")

    def check_body(self, where: str, edits: Iterable[ResponseEditsConfig]) -> None:
        """Raises ValueError, which names the setting, if these edits change the type by which variables are escaped."""
        if self.respond is not None and self.respond.varies and any(table.edits("content-type") for table in edits):
            raise ValueError(
                f"{where}.respond.body: has variables, and response_headers changes Content-Type: "
                "set respond.content_type instead"
            )

    def pools(self) -> list[str]:
        """The pools that it names."""
        return [pool for _, pool in self._pools()]

    def served_by(self) -> tuple[str, ...]:
        """The pools that serve its requests; none for a direct response."""
        return (self.pool,) if self.pool else tuple(self.split)

    def _pools(self) -> list[tuple[str, str]]:
        found = [("pool", self.pool)] if self.pool else []
        found += [("split", pool) for pool in self.split]
        return found + ([("mirror.pool", self.mirror.pool)] if self.mirror else [])

    @property
    def label(self) -> str:
        """Its name, or the one that follows from its match."""
        return self.name or self.match.derived_name()

    def to_model(self) -> routing.Route:
        """The route as a value of the core, without its rewrite where that depends on the matched prefix."""
        direct, mirror = self.respond or self.redirect, self.mirror
        return routing.Route(
            self.label,
            self.match.to_model(),
            {self.pool: 100.0} if self.pool else self.split,
            RequestKey.parse(self.split_by),
            direct=direct.to_model() if direct else None,
            files=self.files.to_model() if self.files else None,
            rewrite=self.rewrite.to_model() if self.rewrite else None,
            mirror=routing.MirrorTarget(mirror.pool, mirror.percent) if mirror else None,
            rate_limit=self.rate_limit,
        )

    def to_models(self) -> list[routing.Route]:
        """The route as values of the core: several where the number of segments that a prefix replaces differs."""
        whole = self.to_model()
        rewrites = self.strip_prefix or self.replace_prefix is not None
        if not rewrites and self.files is None:
            return [whole]
        prefix = "" if self.strip_prefix or self.replace_prefix == "/" else self.replace_prefix or ""
        match = whole.match
        depths: dict[int, list[str]] = {}
        for _, place in match.anchors:
            depths.setdefault(segments_of(place), []).append(place)
        return [
            replace(whole, match=match.at(tuple(alike)), rewrite=PrefixRewrite(depth, prefix) if rewrites else None)
            for depth, alike in depths.items()
        ]


def check_list(value: Any) -> Any:
    """The value of `routes`. Raises ValueError for a table of routes by name."""
    if isinstance(value, Mapping):
        name = next(iter(value), "")
        raise ValueError(f"routes are a list: write [[routes]], and name = {str(name)!r} in it")
    return value


def models_of(routes: Iterable[RouteConfig]) -> list[routing.Route]:
    """The routes as values of the core, in their order."""
    return [model for route in routes for model in route.to_models()]


def check_routes(
    routes: Sequence[RouteConfig],
    pools: Collection[str],
    limits: Collection[str],
    listeners: Mapping[str, str],
    reserved: Collection[str],
) -> None:
    """Raises ValueError, which names the setting, for routes that exclude each other. `listeners` are labels by
    address, `reserved` are paths to which the balancer responds itself.
    """
    names: dict[str, int] = {}
    for number, route in enumerate(routes):
        route.check(f"routes[{number}]", pools, limits)
        route.match.check_listeners(f"routes[{number}].match", listeners)
        first = names.setdefault(route.label, number)
        if first != number:
            reason = f"is the name of routes[{first}] already"
            if route.name is None:
                raise ValueError(f"routes[{number}]: needs a name, since {route.label!r}, by its match, {reason}")
            raise ValueError(f"routes[{number}].name: {route.name!r} {reason}")
    _check_reachable(routes, reserved)


def _check_reachable(routes: Sequence[RouteConfig], reserved: Collection[str]) -> None:
    models = [route.to_model() for route in routes]
    hidden = unreachable(models)
    if hidden is not None:
        later, earlier = models[hidden.later], models[hidden.earlier]
        place = f"{hidden.host}{hidden.path or ('/' if hidden.host else '')}"
        several = len(later.match.anchors) > 1 or len(later.match.hosts) > 1
        raise ValueError(
            f"routes[{hidden.later}].match: no request reaches {later.name!r}{f' by {place}' if several else ''}, since"
            f" {earlier.name!r} (routes[{hidden.earlier}]) takes all of them"
        )
    whole = models_of(routes)
    left = set(reserved) - {path for model in whole for path in named_paths(model.match)}
    for number, model in enumerate(whole):
        if again := redirects_to_itself(whole, number, left):
            index = next(place for place, route in enumerate(routes) if route.label == model.name)
            raise ValueError(
                f"routes[{index}].redirect.to: {model.name!r} takes {again!r} too, and would redirect it again without"
                " end; match.exact matches one path only"
            )
