"""Traefik's middlewares as actions and settings of routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lbflask.importers.literals import literal, number_of, seconds_of, template_of
from lbflask.importers.networks import EVERY, access_of
from lbflask.importers.passwords import basic_auth
from lbflask.importers.precedence import escaped
from lbflask.importers.site import Place, Site, merged
from lbflask.importers.traefik.documents import is_true, table_of, texts_of

Found = tuple[dict[str, Any], dict[str, Any]]
_UNNEEDED: Mapping[str, str] = {
    "circuitbreaker": "ejection is on: [ejection]",
    "contenttype": "backends state their types",
}
_ENCODINGS = ("zstd", "br", "gzip")
_NOTHING = re.compile(r"\0")


class Middlewares:
    """The middlewares by name."""

    def __init__(self, tables: Mapping[str, Any], site: Site) -> None:
        self._tables, self._site = tables, site

    def apply(self, name: str, match: Mapping[str, Any], place: Place, depth: int = 0) -> Found:
        """What belongs to the action, and the settings; `redirect` in the action replaces it."""
        table = self._tables.get(name.partition("@")[0].lower())
        if not isinstance(table, Mapping) or depth > 10:
            self._site.lose(place, f"middleware {name}", "is not in these files")
            return {}, {}
        action: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        for kind, options in table.items():
            values = options if isinstance(options, Mapping) else {}
            if kind == "chain":
                for inner in texts_of(values.get("middlewares")):
                    more = self.apply(inner, match, place, depth + 1)
                    action, settings = {**action, **more[0]}, merged(settings, more[1])
            elif kind in _UNNEEDED:
                self._site.skip(place, f"middleware {name}: {kind}", _UNNEEDED[kind])
            elif reader := _READERS.get(kind):
                more = reader(_Middleware(name, place, self._site), values, match)
                action, settings = {**action, **more[0]}, merged(settings, more[1])
            else:
                self._site.lose(place, f"middleware {name}: {kind}", _LOST.get(kind, "no equal is known"))
        return action, settings


class _Middleware:
    def __init__(self, name: str, place: Place, site: Site) -> None:
        self._name, self._place, self._site = name, place, site

    def _lose(self, what: str, reason: str) -> None:
        self._site.lose(self._place, f"middleware {self._name}: {what}", reason)

    def strip_prefix(self, values: Mapping[str, Any], match: Mapping[str, Any]) -> Found:
        """`stripPrefix`."""
        prefixes = ["/" + prefix.strip("/") for prefix in texts_of(values.get("prefixes"))]
        if sorted(match.get("path", ())) == sorted(prefixes):
            return {"strip_prefix": True}, {}
        if len(prefixes) == 1:
            return {"rewrite": {"regex": f"^{escaped(prefixes[0])}/?(.*)$", "to": "/{1}"}}, {}
        self._lose("stripPrefix", "a route for each prefix, with strip_prefix = true")
        return {}, {}

    def strip_expression(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`stripPrefixRegex`."""
        found = texts_of(values.get("regex"))
        if len(found) == 1 and "(" not in found[0]:
            return {"rewrite": {"regex": f"^{found[0].lstrip('^')}/?(.*)$", "to": "/{1}"}}, {}
        self._lose("stripPrefixRegex", "rewrite = { regex, to } of a route")
        return {}, {}

    def add_prefix(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`addPrefix`."""
        prefix = "/" + str(values.get("prefix", "")).strip("/")
        return {"rewrite": {"regex": "^(/.*)$", "to": f"{literal(prefix)}{{1}}"}}, {}

    def replace_path(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`replacePath`, `replacePathRegex`."""
        if path := values.get("path"):
            return {"rewrite": {"regex": "^.*$", "to": literal(str(path))}}, {}
        to = re.sub(r"\$\{?(\d)\}?", r"{\1}", str(values.get("replacement", "")))
        if not to.startswith("/") or "?" in to:
            self._lose("replacePathRegex", "rewrite = { regex, to } of a route, to a path")
            return {}, {}
        return {"rewrite": {"regex": str(values.get("regex", "")), "to": to}}, {}

    def redirect_scheme(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`redirectScheme`."""
        port = str(values.get("port", ""))
        if values.get("scheme") != "https":
            self._lose("redirectScheme", "redirect.to is a URL with its scheme")
            return {}, {}
        to = f"https://{{host}}{f':{port}' if port not in ('', '443') else ''}{{path}}{{query}}"
        return {"redirect": {"to": to, "status": 301 if is_true(values.get("permanent")) else 302}}, {}

    def redirect_regex(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`redirectRegex` from one host to another."""
        found = re.fullmatch(
            r"\^?https?\??://(?:\(\?:)?([\w.\\-]+)\)?/(?:\(\.\*\)|\(\.\+\))?\$?", str(values.get("regex", ""))
        )
        to = re.fullmatch(r"(https?://[\w.-]+)/(?:\$\{?1\}?)?", str(values.get("replacement", "")))
        if found is None or to is None:
            self._lose("redirectRegex", "a route with match, and redirect, which has no groups (docs/variables.md)")
            return {}, {}
        status = 301 if is_true(values.get("permanent")) else 302
        return {"redirect": {"to": f"{to[1]}{{path}}{{query}}", "status": status}}, {}

    def headers(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`headers`."""
        settings: dict[str, Any] = {}
        cors: dict[str, Any] = {}
        for key, value in values.items():
            if key in ("customrequestheaders", "customresponseheaders") and isinstance(value, Mapping):
                table = "request_headers" if "request" in key else "response_headers"
                settings = merged(settings, self._custom(table, value))
            elif key in _SECURITY and is_true(value):
                settings = merged(settings, {"response_headers": {"set": dict([_SECURITY[key]])}})
            elif key in _VALUES:
                settings = merged(settings, {"response_headers": {"set": {_VALUES[key]: _escaped(value)}}})
            elif key == "stsseconds" and number_of(str(value)):
                parts = [f"max-age={value}"]
                parts += ["includeSubDomains"] if is_true(values.get("stsincludesubdomains")) else []
                parts += ["preload"] if is_true(values.get("stspreload")) else []
                hsts = {"Strict-Transport-Security": "; ".join(parts)}
                settings = merged(settings, {"response_headers": {"set": hsts}})
            elif key in _CORS:
                cors[_CORS[key]] = is_true(value) if key.endswith("credentials") else value
            elif key not in ("stsincludesubdomains", "stspreload", "forcestsheader", "addvaryheader", "sslredirect"):
                self._lose(f"headers.{key}", "response_headers of a route")
        return {}, {**settings, **({"cors": _cors(cors)} if cors else {})}

    def _custom(self, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            shown = "-".join(part.capitalize() for part in str(name).split("-"))
            if value in ("", None):
                found.setdefault("remove", []).append(shown)
            elif shown == "Host" and table == "request_headers":
                return {"host": str(value)}
            else:
                found.setdefault("set", {})[shown] = _escaped(value)
        return {table: found} if found else {}

    def rate_limit(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`rateLimit`."""
        average = number_of(str(values.get("average", "")))
        period = seconds_of(str(values.get("period", "1s"))) or 1
        if not average:
            self._lose("rateLimit", "rate_limits.NAME.rate")
            return {}, {}
        settings: dict[str, Any] = {
            "rate": f"{average}/{period:g}s",
            "burst": number_of(str(values.get("burst", ""))) or 1,
        }
        criterion = table_of(values, "sourcecriterion")
        if header := criterion.get("requestheadername"):
            settings["key"] = f"header:{header}"
        elif is_true(criterion.get("requesthost")):
            settings["key"] = "header:Host"
        elif criterion.get("ipstrategy"):
            self._lose("rateLimit.sourceCriterion.ipStrategy", "trusted_proxies decides who the client is")
        return {}, {"rate_limit": self._site.add_rate_limit(self._name, settings)}

    def basic_auth(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`basicAuth`."""
        others: dict[str, Any] = {"keep_credentials": not is_true(values.get("removeheader"))}
        if field := values.get("headerfield"):
            others["user_field"] = str(field)
        realm = str(values.get("realm") or "traefik")
        if file := values.get("usersfile"):
            return {}, {"auth": {"basic": {"file": str(file), "realm": realm, **others}}}
        lines = [line.partition(":") for line in texts_of(values.get("users"))]
        users = {name: (self._place, text) for name, _, text in lines}
        return {}, {"auth": basic_auth(self._name, users, self._site, realm, **others)}

    def forward_auth(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`forwardAuth`."""
        forward: dict[str, Any] = {"url": str(values.get("address", ""))}
        if fields := texts_of(values.get("authresponseheaders")):
            forward["fields"] = fields
        if ca := table_of(values, "tls").get("ca"):
            forward["ca_file"] = str(ca)
        for key in values:
            if key == "addauthcookiestoresponse":
                self._site.skip(self._place, f"middleware {self._name}: {key}", "cookies of the service reach clients")
            elif key not in ("address", "authresponseheaders", "trustforwardheader", "tls"):
                self._lose(f"forwardAuth.{key}", "docs/how-to/authentication.md has the settings")
        return {}, {"auth": {"forward": forward}}

    def allow_list(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`ipAllowList`, `ipWhiteList`."""
        if values.get("ipstrategy"):
            self._lose("ipAllowList.ipStrategy", "trusted_proxies decides who the client is")
        if str(values.get("rejectstatuscode", "403")) != "403":
            self._site.differ(self._place, f"middleware {self._name}: rejectStatusCode", "others get 403")
        networks = texts_of(values.get("sourcerange"))
        return {}, {"access": access_of([*((True, network) for network in networks), (False, EVERY)])}

    def retry(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`retry`."""
        attempts = number_of(str(values.get("attempts", ""))) or 1
        return {}, {"retries": {"attempts": min(attempts - 1, 10)}}

    def pass_certificate(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> Found:
        """`passTLSClientCert`."""
        self._lose("passTLSClientCert", "backends get Client-Cert (RFC 9440), not X-Forwarded-Tls-Client-Cert")
        return {}, {}

    def compress(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`compress`."""
        found: dict[str, Any] = {"encodings": [one for one in texts_of(values.get("encodings")) if one in _ENCODINGS]}
        if not found["encodings"]:
            found["encodings"] = ["gzip"]
            reason = 'gzip; with lbflask[compression] also encodings = ["zstd", "br", "gzip"]'
            self._site.differ(self._place, f"middleware {self._name}: compress", reason)
        if types := texts_of(values.get("includedcontenttypes")):
            found["types"] = types
        if least := number_of(str(values.get("minresponsebodybytes", ""))):
            found["min_length"] = least
        for key in values:
            if key not in ("encodings", "includedcontenttypes", "minresponsebodybytes", "defaultencoding"):
                self._lose(f"compress.{key}", "compression.types names what is compressed")
        return {}, {"compression": found}

    def buffering(self, values: Mapping[str, Any], _: Mapping[str, Any]) -> Found:
        """`buffering`."""
        found: dict[str, Any] = {"buffering": {"requests": "1MiB", "responses": "1MiB"}}
        if size := number_of(str(values.get("maxrequestbodybytes", ""))):
            found["limits"] = {"body": size}
        return {}, found


def _escaped(value: Any) -> str:
    return template_of(str(value), _NOTHING, lambda _: None) or ""


def _cors(found: Mapping[str, Any]) -> dict[str, Any]:
    lists = ("origins", "methods", "headers", "expose")
    return {
        key: texts_of(value) if key in lists else number_of(str(value)) if key == "max_age" else value
        for key, value in found.items()
    }


_SECURITY: Mapping[str, tuple[str, str]] = {
    "framedeny": ("X-Frame-Options", "DENY"),
    "contenttypenosniff": ("X-Content-Type-Options", "nosniff"),
    "browserxssfilter": ("X-XSS-Protection", "1; mode=block"),
}
_VALUES: Mapping[str, str] = {
    "customframeoptionsvalue": "X-Frame-Options",
    "contentsecuritypolicy": "Content-Security-Policy",
    "referrerpolicy": "Referrer-Policy",
    "permissionspolicy": "Permissions-Policy",
}
_CORS: Mapping[str, str] = {
    "accesscontrolalloworiginlist": "origins",
    "accesscontrolallowmethods": "methods",
    "accesscontrolallowheaders": "headers",
    "accesscontrolexposeheaders": "expose",
    "accesscontrolmaxage": "max_age",
    "accesscontrolallowcredentials": "credentials",
}
_LOST: Mapping[str, str] = {
    "inflightreq": "max_connections of a backend, limits.per_client for all requests",
    "errors": 'error_pages has files, error_pages_for = "all" uses them for backends\' responses',
    "digestauth": "auth.basic, with TLS",
    "grpcweb": "gRPC is not here: clients use HTTP/1.1",
    "plugin": "a hook in Python: docs/hooks.md",
}
_READERS: Mapping[str, Callable[[_Middleware, Mapping[str, Any], Mapping[str, Any]], Found]] = {
    "stripprefix": _Middleware.strip_prefix,
    "stripprefixregex": _Middleware.strip_expression,
    "addprefix": _Middleware.add_prefix,
    "replacepath": _Middleware.replace_path,
    "replacepathregex": _Middleware.replace_path,
    "redirectscheme": _Middleware.redirect_scheme,
    "redirectregex": _Middleware.redirect_regex,
    "headers": _Middleware.headers,
    "ratelimit": _Middleware.rate_limit,
    "basicauth": _Middleware.basic_auth,
    "forwardauth": _Middleware.forward_auth,
    "buffering": _Middleware.buffering,
    "ipallowlist": _Middleware.allow_list,
    "ipwhitelist": _Middleware.allow_list,
    "retry": _Middleware.retry,
    "passtlsclientcert": _Middleware.pass_certificate,
    "compress": _Middleware.compress,
}
