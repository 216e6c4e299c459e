"""The action of a server or a location of nginx: a pool, files, a redirect, or a fixed response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lbflask.core.http.direct_response import escape_of
from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import literal, number_of, seconds_of
from lbflask.importers.nginx.authentication import without_restrictions
from lbflask.importers.nginx.settings import common_settings, forwarding_settings
from lbflask.importers.nginx.upstreams import Upstream, address_name, backend_url, request_key
from lbflask.importers.nginx.variables import field_value, redirect_target, with_constants
from lbflask.importers.site import Site, merged

_REDIRECTS = frozenset({"301", "302", "303", "307", "308"})
_PASSES = ("proxy_pass", "uwsgi_pass")
_FLAGS = {"permanent": 301, "redirect": 302}
#: What a location gets whose action has no equal, so that its requests reach no other one.
NOT_TRANSLATED: Mapping[str, Any] = {"respond": {"status": 501, "body": "not translated\n"}}


@dataclass(frozen=True, slots=True)
class RouteAction:
    """What is done with requests, and its settings. `proxied`: nginx adds the slash at the end of its prefix."""

    action: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    proxied: bool = False


class Actions:
    """Makes actions, and the pools for them."""

    def __init__(self, site: Site, upstreams: Mapping[str, Upstream]) -> None:
        self._site = site
        self._upstreams = upstreams

    def action_of(self, scope: Scope, constants: Mapping[str, str], prefix: str, regex: str = "") -> RouteAction:
        """The action of a block. `prefix` is the path of its location, or `regex` its expression."""
        common = common_settings(scope, self._site, constants)
        if returned := scope.here("return"):
            return RouteAction(*self._returned(returned[0], constants, without_restrictions(common), scope))
        rewrite = self._rewrite(scope, constants)
        if rewrite.get("redirect"):
            return RouteAction(rewrite, without_restrictions(common))
        for name in ("proxy_pass", "uwsgi_pass", "fastcgi_pass", "grpc_pass", "scgi_pass", "memcached_pass"):
            if passes := scope.here(name):
                return self._passed(passes[0], scope, constants, (prefix, regex), rewrite)
        tries = scope.here("try_files")
        if tries and tries[0].args[-1].startswith("@"):
            return self._named(tries[0], scope, constants)
        return RouteAction(self._files(scope, prefix, regex), common)

    def _returned(
        self, one: Directive, constants: Mapping[str, str], common: Mapping[str, Any], scope: Scope
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        code, text = (one.args[0], " ".join(one.args[1:])) if one.args else ("404", "")
        if not number_of(code):
            code, text = "302", code
        if code in _REDIRECTS:
            target = redirect_target(text, constants)
            if target is not None:
                return {"redirect": {"to": target, "status": int(code)}}, common
        elif (respond := self._response(one, code, text, constants, scope)) is not None:
            return {"respond": respond}, common
        self._site.lose(one.place, one.text, "a variable without an equal (docs/variables.md)")
        return NOT_TRANSLATED, common

    def _response(
        self, one: Directive, code: str, text: str, constants: Mapping[str, str], scope: Scope
    ) -> dict[str, Any] | None:
        respond: dict[str, Any] = {"status": int(code)}
        if code == "444":
            self._site.differ(one.place, one.text, "a response with this status, not a closed connection")
        if text and code not in ("204", "304"):
            kind, body = scope.value("default_type", "text/plain"), field_value(text, constants)
            if body is None or ("$" in with_constants(text, constants) and escape_of(kind) is None):
                return None
            respond |= {"body": body, "content_type": kind}
        return respond

    def _rewrite(self, scope: Scope, constants: Mapping[str, str]) -> dict[str, Any]:
        for one in scope.here("rewrite"):
            if len(one.args) < 2:
                continue
            regex, to, flag = one.args[0], one.args[1], "".join(one.args[2:3])
            target = redirect_target(to, constants)
            whole = regex in ("^", ".*", "^.*$", "^.*", "^(.*)$", "^/(.*)$")
            if flag in _FLAGS or re.match("https?://", to):
                groups = {"^(.*)$": ("$1", "{path}"), "^/(.*)$": ("/$1", "{path}")}.get(regex, ("\0", ""))
                target = redirect_target(to.replace(*groups), constants)
                if whole and target is not None:
                    query = "" if "{query}" in target or target.endswith("?") else "{query}"
                    return {"redirect": {"to": target.rstrip("?") + query, "status": _FLAGS.get(flag, 302)}}
            elif flag == "break" and to.startswith("/") and not re.search(r"\$(?!\d)", to):
                return {"rewrite": {"regex": literal(regex), "to": re.sub(r"\$(\d)", r"{\1}", literal(to))}}
            self._site.lose(
                one.place, one.text, "a route with match.regex and rewrite, or redirect, which has no groups"
            )
        return {}

    def _passed(
        self,
        one: Directive,
        scope: Scope,
        constants: Mapping[str, str],
        place: tuple[str, str],
        rewrite: Mapping[str, Any],
    ) -> RouteAction:
        address = with_constants(one.args[0] if one.args else "", constants).removesuffix("$is_args$args")
        if one.name == "uwsgi_pass":
            address = f"uwsgi://{address.removeprefix('uwsgi://')}"
        found = re.fullmatch(r"(https?|uwsgi)://(unix:[^:]+:?|[^/$]+)(/(?:[^$]|\$\d)*)?", address)
        proxied = forwarding_settings(scope, self._site, constants, found[2] if found else "")
        common = common_settings(scope, self._site, constants)
        if one.name not in _PASSES or found is None:
            instead = "a backend has an URL without variables" if one.name in _PASSES else "only HTTP and uwsgi"
            self._site.lose(one.place, one.text, instead)
            return RouteAction(NOT_TRANSLATED, common, proxied=True)
        scheme, host, uri = found.groups()
        if scheme == "uwsgi":
            proxied.pop("host", None)
            proxied.pop("preserve_host", None)
        tls = self._backend_tls(scope) if scheme == "https" else {}
        if upstream := self._upstreams.get(host):
            pool = upstream.pool(scheme, tls)
        else:
            url = backend_url(scheme, host)
            pool = self._site.add_pool(address_name(host), one.place, {"backends": [url], **tls})
            if proxied.get("host") == host:
                del proxied["host"]
                proxied["preserve_host"] = False
        path = self._replaced(one, place, uri) if uri and not rewrite else rewrite
        limit = self._rate_limit(scope)
        return RouteAction({"pool": pool, **path}, {**merged(common, proxied), **limit}, proxied=True)

    def _replaced(self, one: Directive, place: tuple[str, str], uri: str) -> dict[str, Any]:
        """What the path after the address of `proxy_pass` does: it replaces the prefix of the location."""
        prefix, regex = place
        if regex or "$" in uri:
            return {"rewrite": {"regex": literal(regex or "^.*$"), "to": re.sub(r"\$(\d)", r"{\1}", uri)}}
        if prefix.startswith("="):
            return {} if uri == prefix[1:] else {"rewrite": {"regex": "^.*$", "to": literal(uri)}}
        if prefix.endswith("/") != uri.endswith("/"):
            self._site.differ(one.place, one.text, "whole segments are replaced, with one slash between them")
        if prefix.rstrip("/") == uri.rstrip("/"):
            return {}
        return {"strip_prefix": True} if uri == "/" else {"replace_prefix": literal(uri.rstrip("/"))}

    def _backend_tls(self, scope: Scope) -> dict[str, Any]:
        """Nginx verifies nothing unless `proxy_ssl_verify` is on."""
        found: dict[str, Any] = {"verify": scope.value("proxy_ssl_verify") == "on"}
        for name, key in (
            ("proxy_ssl_trusted_certificate", "ca_file"),
            ("proxy_ssl_certificate", "certificate"),
            ("proxy_ssl_certificate_key", "key"),
            ("proxy_ssl_name", "server_name"),
        ):
            if value := scope.value(name):
                found[key] = literal(value)
        return {"backend_tls": found}

    def _rate_limit(self, scope: Scope) -> dict[str, Any]:
        limits = scope.all("limit_req")
        zones = {one.args[1].partition(":")[0].removeprefix("zone="): one for one in self._zones(scope)}
        for one in limits:
            options = dict(arg.partition("=")[::2] for arg in one.args)
            zone = zones.get(options.get("zone", ""))
            rate = next((arg[5:] for arg in zone.args if arg.startswith("rate=")), "") if zone else ""
            key = _KEYS.get(zone.args[0]) or request_key(zone.args[0]) if zone else ""
            if zone is None or not rate or key in ("", "uri"):
                self._site.lose(one.place, one.text, "no such zone, or a key that rate_limits.NAME.key lacks")
                continue
            number, _, per = rate.partition("r/")
            settings = {
                "rate": f"{number}/{'s' if per == 's' else 'min'}",
                "burst": number_of(options.get("burst", "")) + 1,
            }
            settings |= {} if key == "client" else {"key": key}
            if "nodelay" not in one.args and options.get("burst"):
                self._site.differ(one.place, one.text, "requests of the burst are not delayed")
            self._site.differ(one.place, "limit_req", "refused requests get 429, of the whole fleet; nginx sends 503")
            if one is not limits[0]:
                self._site.lose(one.place, one.text, "a route has one rate limit")
                continue
            return {"rate_limit": self._site.add_rate_limit(options["zone"], settings)}
        return {}

    def _zones(self, scope: Scope) -> list[Directive]:
        zones = [one for one in scope.blocks[0] if one.name == "limit_req_zone" and len(one.args) > 2]
        scope.ledger.use(zones)
        return zones

    def _named(self, one: Directive, scope: Scope, constants: Mapping[str, str]) -> RouteAction:
        """`try_files … @name`: what the named location does."""
        name = one.args[-1]
        for block in reversed(scope.blocks):
            for location in block:
                if location.name == "location" and location.args == (name,):
                    scope.ledger.use([location])
                    if len(one.args) > 1:
                        reason = "files are not tried before a backend; add a route with files for their directories"
                        self._site.lose(one.place, one.text, reason)
                    inner = Scope(scope.blocks[:2], scope.ledger).inner(location.block or ())
                    return self.action_of(inner, constants, "/")
        self._site.lose(one.place, one.text, "there is no such location")
        return RouteAction(NOT_TRANSLATED)

    def _files(self, scope: Scope, prefix: str, regex: str) -> dict[str, Any]:
        alias, root = scope.here("alias"), scope.value("root")
        path = prefix.lstrip("=")
        if not (alias or root) or "$" in root or (alias and (regex or "$" in alias[0].args[0])):
            if alias:
                self._site.lose(alias[0].place, alias[0].text, "files.root is one directory without variables")
                return dict(NOT_TRANSLATED)
            return {"respond": {"status": 404}}
        files: dict[str, Any] = {"root": literal(alias[0].args[0] if alias else root)}
        if not alias and (path != "/" or regex or prefix.startswith("=")):
            files["keep_prefix"] = True
        if dots := [segment for segment in path.split("/") if segment.startswith(".")]:
            files["dot_files"] = dots
        if index := scope.last("index"):
            files["index"] = list(index.args)
        files |= self._fallback(scope)
        if (expires := scope.last("expires")) is not None:
            seconds = seconds_of(expires.args[-1]) if expires.args else None
            if expires.args[:1] == ("max",):
                seconds = 315_360_000
            if seconds is not None:
                files["cache_control"] = f"max-age={seconds}"
            elif expires.args != ("off",):
                self._site.lose(expires.place, expires.text, 'files.cache_control = "no-cache"')
        return {"files": files}

    def _fallback(self, scope: Scope) -> dict[str, Any]:
        for one in scope.all("try_files"):
            last = one.args[-1] if one.args else ""
            if last.startswith("/") and "$" not in last.replace("$is_args$args", ""):
                return {"fallback": last.partition("?")[0].replace("$is_args$args", "").lstrip("/")}
            if last not in ("=404", "$uri", "$uri/"):
                self._site.lose(one.place, one.text, "files.fallback is one file below files.root")
        return {}


_KEYS = {"$server_name": "none", "$host": "header:Host"}
