"""Reads Caddyfiles: sites with their addresses, and directives in Caddy's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lbflask.importers.caddy import handlers
from lbflask.importers.caddy.addresses import SiteAddresses
from lbflask.importers.caddy.caddyfile import directives_of
from lbflask.importers.caddy.matchers import Matchers, UnknownMatcher, rank_of
from lbflask.importers.directives import Directive
from lbflask.importers.precedence import escaped, intersection, ordered
from lbflask.importers.site import ImportedRoute, Site, merged
from lbflask.importers.variants import PartialSettings, with_partial

#: Directives that answer, in Caddy's order; `handle` and `handle_path` are of one rank, of which one applies.
_TERMINAL = ("redir", "handle", "route", "abort", "error", "respond", "reverse_proxy", "php_fastcgi", "file_server")
_SETTINGS = ("header", "request_header", "request_body", "encode", "basic_auth", "basicauth", "forward_auth", "root")
#: What keeps clients out.
_CHECKS = ("basic_auth", "basicauth", "forward_auth")
#: What Caddy does after redirections.
_AFTER_REDIRECTS = ("auth", "request_headers", "limits", "compression")
_REWRITES = ("uri", "rewrite", "try_files")
_LOST: Mapping[str, str] = {
    "php_fastcgi": "FastCGI is not here: an HTTP server before the application",
    "templates": "in the application",
    "handle_errors": 'error_pages = { 502 = "down.html" }, with error_pages_for = "all"',
    "metrics": "the admin listener has /metrics",
    "map": "write a route for each value",
    "vars": "write its value where it is used",
    "acme_server": "certificates are not issued here, only got: tls.acme",
    "push": "clients use HTTP/1.1",
    "intercept": 'error_pages with error_pages_for = "all"',
    "method": "methods of requests are not changed",
    "invoke": "no equal: write its routes where they are needed",
    "fs": "files.root is a directory of the machine",
    "log_append": "access_log_format and access_log_fields (docs/logging.md)",
    "log_name": "there is one access log",
    "tracing": "[tracing]",
    "rate_limit": "[rate_limits.NAME] and rate_limit of a route",
}


def read(files: Sequence[str]) -> Site:
    """The site of the files. Raises UnreadableConfiguration."""
    site = Site()
    blocks = directives_of(files, site)
    addresses = SiteAddresses(site)
    sites = []
    for one in blocks:
        if one.name == "{":
            addresses.read_options(one.block or ())
        else:
            sites.append(one)
    rules: list[ImportedRoute] = []
    bases = [(one, addresses.bases(one)) for one in sites]
    alone = addresses.is_single()
    for one, found in bases:
        for base in found:
            wanted = {key: value for key, value in base.items() if key != "listener" or not alone}
            more = {"client_certificate": True} if addresses.is_certified(one, base) else {}
            rules += [_based(route, wanted, more) for route in _Block(site, one.block or ()).routes()]
    rules += addresses.redirects()
    addresses.set_servers()
    site.add_routes(ordered(rules, site))
    return site


def _based(route: ImportedRoute, base: Mapping[str, Any], settings: Mapping[str, Any]) -> ImportedRoute:
    match = {**base, **route.match}
    return replace(route, match=match, settings={**route.settings, **settings})


class _Block:
    """The directives of a site or of a `handle`."""

    def __init__(self, site: Site, block: Sequence[Directive], outer: _Block | None = None, prefix: str = "") -> None:
        self._site = site
        self._block = [one for one in block if not one.name.startswith("@")]
        self._matchers: Matchers = Matchers(block, site, outer._matchers if outer else None)
        self._root: str = outer._root if outer else ""
        self._fallback: str = outer._fallback if outer else ""
        self._strips = prefix
        self._settings: dict[str, Any] = {}
        self._partial: list[PartialSettings] = []
        self._rewrites: list[tuple[dict[str, Any], bool, Directive, tuple[str, ...]]] = []
        for one in self._block:
            self._set(one)

    def routes(self, *, in_order: bool = False) -> list[ImportedRoute]:
        """Its routes in the order in which they apply."""
        found: list[tuple[tuple[int, int, int], list[ImportedRoute]]] = []
        for number, one in enumerate(self._block):
            kind = "handle" if one.name == "handle_path" else one.name
            if kind not in _TERMINAL:
                continue
            split = self._split(one)
            if split is None:
                continue
            matches, args, has_matcher = split
            rank = (_TERMINAL.index(kind), *rank_of(matches[0] if matches else {}, has_matcher=has_matcher))
            routes = [route for match in matches for route in self._terminal(one, args, match)]
            found.append(((number, 0, 0) if in_order else rank, routes))
        return [route for _, routes in sorted(found, key=lambda pair: pair[0]) for route in routes]

    def _split(
        self, one: Directive, *, closed: bool = False
    ) -> tuple[list[dict[str, Any]], tuple[str, ...], bool] | None:
        """Its matches; with `closed` it is for all requests where its matcher has no equal."""
        try:
            return self._matchers.split(one)
        except UnknownMatcher as error:
            if closed:
                self._site.differ(one.place, one.text, f"for all requests: match has no equal of: {error}")
                return [{}], one.args[1:], False
            self._site.lose(one.place, one.text, f"match has no equal of: {error}")
            return None

    def _set(self, one: Directive) -> None:
        """A directive that answers nothing."""
        kind = "handle" if one.name == "handle_path" else one.name
        if kind in _TERMINAL or one.name in ("tls", "bind"):
            return
        if one.name == "log":
            self._log(one)
            return
        if one.name in ("log_skip", "skip_log"):
            self._skip_log(one)
            return
        if one.name not in _SETTINGS and one.name not in _REWRITES:
            self._site.lose(
                one.place, one.text, _LOST.get(one.name, "no equal is known; look for it in docs/configuration.md")
            )
            return
        split = self._split(one, closed=one.name in _CHECKS)
        if split is None:
            return
        matches, args, has_matcher = split
        if one.name in _REWRITES:
            self._add_rewrite(one, args, matches, has_matcher)
        elif one.name == "root" and args and not has_matcher:
            self._root = args[-1]
        else:
            self._add_settings(one, args, matches, has_matcher)

    def _add_rewrite(
        self, one: Directive, args: tuple[str, ...], matches: Sequence[dict[str, Any]], has_matcher: bool
    ) -> None:
        if one.name == "try_files":
            last = args[-1] if args else ""
            if last.startswith("/") and "{" not in last and not has_matcher:
                self._fallback = last.lstrip("/")
            elif last not in ("{path}", "{path}/", "{path}/index.html", "=404"):
                self._site.lose(one.place, one.text, "files.fallback is one file below files.root")
            return
        self._rewrites += [(match, has_matcher, one, args) for match in matches]

    def _add_settings(
        self, one: Directive, args: tuple[str, ...], matches: Sequence[dict[str, Any]], has_matcher: bool
    ) -> None:
        found = self._settings_of(one, args)
        if not has_matcher:
            self._settings = merged(self._settings, found)
        elif found:
            self._partial += [PartialSettings(one.place, one.text, match, found) for match in matches]

    def _settings_of(self, one: Directive, args: tuple[str, ...]) -> dict[str, Any]:
        if one.name == "header":
            return handlers.headers_of(one, args, self._site, "response_headers")
        if one.name == "request_header":
            return handlers.headers_of(one, args, self._site, "request_headers")
        if one.name == "request_body":
            return handlers.limits_of(one, self._site)
        if one.name == "encode":
            return handlers.compression_of(one, args, self._site)
        if one.name == "forward_auth":
            return handlers.forward_of(one, args, self._site)
        if one.name in ("basic_auth", "basicauth"):
            return handlers.basic_of(one, args, self._site)
        self._site.lose(one.place, one.text, "write it into `handle` with the same matcher")
        return {}

    def _terminal(self, one: Directive, args: tuple[str, ...], match: dict[str, Any]) -> Iterator[ImportedRoute]:
        if one.name in ("handle", "handle_path", "route"):
            for route in self._inner(one, match):
                yield from self._with_settings(route, ())
            return
        action = self._action(one, args, match)
        if action is not None:
            route = ImportedRoute(one.place, one.text, match, *action)
            yield from self._with_settings(route, _AFTER_REDIRECTS if one.name == "redir" else ())

    def _inner(self, one: Directive, match: dict[str, Any]) -> Iterator[ImportedRoute]:
        """The routes of a block within, for requests that the block has."""
        strips = match.get("path", [""])[0] if one.name == "handle_path" else ""
        inner = _Block(self._site, one.block or (), self, strips or self._strips)
        routes = inner.routes(in_order=one.name == "route")
        if one.name != "route" and all(route.match for route in routes):
            routes.append(ImportedRoute(one.place, one.text, {}, {"respond": {"status": 404}}))
        for route in routes:
            found = _below(route, strips) if strips else route
            both = intersection(match, found.match)
            if both is None:
                self._site.lose(route.place, route.title, f"no match states its requests of {one.text}")
            yield from (replace(found, match=of) for of in both or ())

    def _with_settings(self, route: ImportedRoute, later: Sequence[str]) -> Iterator[ImportedRoute]:
        """The route with the settings of the block, but those that Caddy uses later."""
        partial = [replace(of, settings=kept) for of in self._partial if (kept := _without(of.settings, later))]
        for found in with_partial(route, partial, self._site):
            yield replace(found, settings=merged(_without(self._settings, later), found.settings))

    def _action(self, one: Directive, args: tuple[str, ...], match: dict[str, Any]) -> handlers.Found | None:
        if one.name == "redir":
            return handlers.redirect_of(one, args, self._site)
        if one.name in ("respond", "error", "abort"):
            return handlers.response_of(one, args, self._site)
        if one.name == "php_fastcgi":
            self._site.lose(one.place, one.text, _LOST[one.name])
            return {"respond": {"status": 501, "body": "not translated\n"}}, {}
        if one.name == "file_server":
            action, settings = handlers.files_of(one, args, self._site, self._root, self._fallback)
            keeps = not self._strips
            return ({"files": {**action["files"], "keep_prefix": True}} if keeps else action), settings
        action, settings = handlers.forwarding_of(one, args, self._site)
        if self._strips and "pool" in action:
            action = {**action, "strip_prefix": True}
        for of, has_matcher, rewrite, rest in self._rewrites:
            if not has_matcher or of == match:
                action |= handlers.rewrite_of(rewrite, rest, match, self._site)
            else:
                self._site.lose(rewrite.place, rewrite.text, "write it into `handle` with the same matcher")
        return action, settings

    def _skip_log(self, one: Directive) -> None:
        split = self._split(one)
        matches = split[0] if split else []
        paths = [path for match in matches for path in match.get("path", match.get("exact", ()))]
        if not matches or any(match.keys() not in ({"path"}, {"exact"}) for match in matches):
            self._site.lose(one.place, one.text, "access_log_filter.except_path has prefixes of paths")
            return
        filtered = self._site.settings.setdefault("access_log_filter", {})
        filtered["except_path"] = [*filtered.get("except_path", ()), *paths]

    def _log(self, one: Directive) -> None:
        for inner in one.block or ():
            if inner.name == "output" and inner.args[:1] == ("file",) and len(inner.args) > 1:
                self._site.set_default("access_log", inner.args[1])
            elif inner.name == "output" and inner.args[:1] in (("stdout",), ("stderr",)):
                self._site.set_default("access_log", "-")
            elif inner.name == "output" and inner.args[:1] == ("discard",):
                self._site.set_default("access_log", "")
            elif inner.name == "format" and inner.args[:1] in (("json",), ("console",)):
                self._site.set_default("access_log_format", "json" if inner.args[0] == "json" else "text")
            elif inner.name == "level":
                self._site.skip(inner.place, inner.text, "the access log has no levels")
            else:
                self._site.lose(inner.place, f"log {inner.text}", "access_log and access_log_format (docs/logging.md)")


def _below(route: ImportedRoute, prefix: str) -> ImportedRoute:
    """The route of a block whose requests have lost the prefix."""
    paths = {
        key: [prefix + path.rstrip("/") for path in _listed(route.match[key])]
        for key in ("path", "exact")
        if key in route.match
    }
    if not paths or "strip_prefix" not in route.action:
        return replace(route, match={**route.match, **paths})
    kept = {key: value for key, value in route.action.items() if key != "strip_prefix"}
    rewrite = {"regex": f"^{escaped(prefix)}/?(.*)$", "to": "/{1}"}
    return replace(route, match={**route.match, **paths}, action={"rewrite": rewrite, **kept})


def _listed(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _without(settings: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}
