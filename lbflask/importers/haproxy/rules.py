"""HAProxy's rules of requests and responses as actions and settings of routes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbflask.core.http.direct_response import escape_of
from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.checks import CheckReader
from lbflask.importers.haproxy.conditions import Conditions, Matches, UnknownCondition
from lbflask.importers.literals import destination, number_of, plain_text, seconds_of, template_of
from lbflask.importers.networks import access_of
from lbflask.importers.site import ImportedRoute, Site, merged
from lbflask.importers.variants import PartialSettings, with_partial

_SAMPLE = re.compile(r"%\[([^\]%]*)\]|%\{\+?[^}%]*\}\w+|%[a-zA-Z]+")
_SAMPLES: Mapping[str, str] = {
    "%[src]": "{client}",
    "%ci": "{client}",
    "%[ssl_fc,iif(https,http)]": "{scheme}",
    "%[path]": "{path}",
    "%[method]": "{method}",
    "%[url]": "{path}{query}",
    "%[capture.req.uri]": "{path}{query}",
    "%[unique-id]": "{request_id}",
    "%[req.hdr(host)]": "{authority}",
    "%[hdr(host)]": "{authority}",
    "%[query]": "{query}",
    "%[ssl_fc_protocol]": "{tls.version}",
    "%[ssl_c_s_dn]": "{tls.client_subject}",
}
_AUTOMATIC = frozenset({"x-forwarded-for", "x-real-ip"})
_SAME = frozenset({"x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-scheme"})
_ELSEWHERE = "no equal: a hook, or the application"


_OTHERS: Mapping[str, str] = {
    "set-src": "trusted_proxies: their X-Forwarded-For states the client",
    "capture": "access_log_fields has header fields",
    "set-query": "queries of requests are not changed",
    "set-uri": "rewrite of a route changes the path",
    "set-method": "methods of requests are not changed",
    "cache-use": "a response cache is not here: a CDN or Varnish in front",
    "replace-header": "request_headers sets whole fields: a hook, or the application",
    "replace-value": "request_headers sets whole fields: a hook, or the application",
    "allow": "access of a route, or a route before the others",
    "set-log-level": "access_log_filter has statuses and paths",
}


@dataclass(slots=True)
class Rules:
    """What the lines of a section state: routes that answer, in their order, and settings of all its requests."""

    routes: list[ImportedRoute] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    action: dict[str, Any] = field(default_factory=dict)  #: what belongs to the action of forwarding: a rewrite
    partial: list[PartialSettings] = field(default_factory=list)  #: settings of some of its requests
    networks: list[tuple[bool, str]] = field(default_factory=list)  #: of clients, for `access`

    @property
    def checked(self) -> dict[str, Any]:
        """The settings that keep clients out, also from routes that answer."""
        access = access_of(self.networks)
        return {"access": access} if access else {}


class RuleReader:
    """Reads the lines of one section. `sections` are those of the whole configuration."""

    def __init__(self, site: Site, section: Directive, sections: Sequence[Directive]) -> None:
        self._site, self._section = site, section
        self._conditions = Conditions(section)
        self._checks = CheckReader(site, self._conditions, sections)
        self._rate = _rate(section)

    def matches(self, one: Directive, words: Sequence[str]) -> Matches:
        """The matches of a condition; none, with a finding, where it has no equal."""
        try:
            for prefix in self._conditions.prefixes(words):
                self._site.differ(one.place, one.text, f"whole segments: {prefix}x does not match")
            return self._conditions.matches(words)
        except UnknownCondition as error:
            self._site.lose(one.place, one.text, f"match has no equal of: {error}")
            return []

    def rules(self) -> Rules:
        """The rules of the section."""
        found = Rules()
        for one in self._section.named("tcp-request"):
            self._connection(one, found)
        for one in self._section.block or ():
            if one.name == "http-request":
                self._request(one, found)
            elif one.name == "http-response":
                self._response(one, found)
        for one in self._section.named("redirect"):
            self._redirect(one, one.args, found)
        return found

    def _request(self, one: Directive, found: Rules) -> None:
        kind, (words, condition) = one.args[0] if one.args else "", _parted(one.args[1:])
        if kind in ("auth", "deny", "reject") and self._checks_clients(one, words, condition, found):
            return
        if kind in ("deny", "return", "tarpit", "reject"):
            if self._is_rate_limit(one, condition):
                return
            self._answer(one, kind, words, condition, found)
        elif kind == "redirect":
            self._redirect(one, one.args[1:], found)
        elif kind in ("set-header", "add-header", "del-header"):
            self._header(one, kind, words, condition, found)
        elif kind in ("replace-path", "set-path") and not condition:
            self._path(one, kind, words, found)
        elif kind.startswith("track-sc") and self._rate:
            return
        else:
            self._site.lose(one.place, one.text, _OTHERS.get(kind, _ELSEWHERE))

    def _connection(self, one: Directive, found: Rules) -> None:
        """`tcp-request connection`: it comes before all rules of requests."""
        words, condition = _parted(one.args)
        if words[:2] == ["connection", "expect-proxy"] or words[:1] == ["inspect-delay"]:
            return
        networks = self._networks(condition) if words == ["connection", "reject"] else []
        if networks:
            found.networks += networks
            self._site.differ(one.place, one.text, "a response 403, not a closed connection")
        elif not (words[:1] == ["connection"] and words[1:2] == ["track-sc0"] and self._rate):
            self._site.lose(one.place, one.text, "access of a route, [rate_limits], limits.per_client, or a firewall")

    def _networks(self, condition: Sequence[str]) -> list[tuple[bool, str]]:
        try:
            return self._checks.networks(condition)
        except UnknownCondition:
            return []

    def _checks_clients(self, one: Directive, words: Sequence[str], condition: Sequence[str], found: Rules) -> bool:
        """`auth`, and `deny` by addresses and certificates. False for others."""
        kind = one.args[0]
        networks = self._networks(condition) if kind != "auth" and not words and not found.routes else []
        if networks and not found.partial:
            found.networks += networks
            return True
        realm = " ".join(words[1:]) if kind == "auth" and words[:1] == ["realm"] else ""
        try:
            for prefix in self._conditions.prefixes(condition):
                self._site.differ(one.place, one.text, f"whole segments: {prefix}x does not match")
            partial = self._checks.check(one, condition, realm)
        except UnknownCondition as error:
            self._site.lose(one.place, one.text, f"auth, or client_certificate, of a route; no equal of: {error}")
            return True
        if partial is None and kind == "auth":
            self._site.lose(one.place, one.text, 'auth = { basic = "users.htpasswd" } of a route')
        found.partial += partial or []
        return partial is not None or kind == "auth"

    def _is_rate_limit(self, one: Directive, condition: Sequence[str]) -> bool:
        """`deny if { sc_http_req_rate(0) gt 20 }` with a table of rates."""
        text = " ".join(condition)
        limit = re.fullmatch(r"(?:if )?\{ sc\d?_http_req_rate(?:\(\d\))? (?:gt|ge) (\d+) \}", text)
        if limit is None or not self._rate:
            return False
        number = max(number_of(limit[1]), 1)
        settings = {"rate": f"{number}/{self._rate:g}s", "burst": number, "everywhere": True}
        self._site.add_rate_limit("requests", settings)
        self._site.differ(one.place, one.text, "a bucket of the whole fleet, and 429")
        return True

    def _answer(self, one: Directive, kind: str, words: Sequence[str], condition: Sequence[str], found: Rules) -> None:
        options = dict(zip(words[::2], words[1::2], strict=False))
        status = number_of(options.get("deny_status") or options.get("status") or "") or (
            200 if kind == "return" else 403
        )
        respond: dict[str, Any] = {"status": status}
        text = options.get("string") or options.get("lf-string", "")
        kind_of_body = options.get("content-type", "text/plain")
        body = template_of(text, _SAMPLE, _value) if "lf-string" in options else plain_text(text)
        varies = "lf-string" in options and _SAMPLE.search(text) is not None
        if body is None or (varies and escape_of(kind_of_body) is None):
            self._site.lose(one.place, one.text, "a sample without an equal (docs/variables.md)")
        elif {"errorfile", "errorfiles"} & options.keys():
            self._site.lose(one.place, one.text, "respond.file has a body without a head")
        elif text:
            respond |= {"body": body, "content_type": kind_of_body}
        elif options.get("file"):
            respond["file"] = options["file"]
        self._add(one, condition, {"respond": respond}, found)

    def _redirect(self, one: Directive, words: Sequence[str], found: Rules) -> None:
        words, condition = _parted(words)
        options = dict(zip(words[::2], words[1::2], strict=False))
        status = number_of(options.get("code", "302"))
        if options.get("scheme") == "https":
            to: str | None = "https://{host}{path}{query}"
        elif "prefix" in options:
            prefix = template_of(options["prefix"].rstrip("/"), _SAMPLE, _target)
            to = None if prefix is None else f"{prefix}{{path}}{'' if 'drop-query' in words else '{query}'}"
        else:
            to = template_of(options.get("location", ""), _SAMPLE, _target)
        to = destination(to)
        if not to or status not in (301, 302, 303, 307, 308):
            self._site.lose(one.place, one.text, "redirect.to is a URL or a path with variables (docs/variables.md)")
            return
        self._add(one, condition, {"redirect": {"to": to, "status": status}}, found)

    def _add(self, one: Directive, condition: Sequence[str], action: Mapping[str, Any], found: Rules) -> None:
        for match in self.matches(one, condition):
            route = ImportedRoute(one.place, one.text, match, action)
            found.routes += with_partial(route, found.partial, self._site)

    def _header(self, one: Directive, kind: str, words: Sequence[str], condition: Sequence[str], found: Rules) -> None:
        name, value = (words[0], " ".join(words[1:])) if words else ("", "")
        low = name.lower()
        if low in _SAME or (low in _AUTOMATIC and kind != "del-header"):
            self._site.skip(one.place, f"{one.name} {kind} {name}", "is always set (docs/forwarding.md)")
            return
        statuses = _statuses(condition) if one.name == "http-response" else []
        if condition and not statuses:
            reason = "a route for the condition has fields; response_headers.when is for statuses"
            self._site.lose(one.place, one.text, reason)
            return
        text = template_of(value, _SAMPLE, _value)
        if text is None:
            self._site.lose(one.place, one.text, "a sample without an equal (docs/variables.md)")
        elif low == "host" and kind == "set-header":
            found.settings["host"] = text
        else:
            table = "request_headers" if one.name == "http-request" else "response_headers"
            edits = found.settings.get(table, {})
            if statuses:
                edit = {"when": [*edits.get("when", ()), {"on": statuses, **_edit(kind, name, text, {})}]}
            else:
                edit = _edit(kind, name, text, edits)
            found.settings = merged(found.settings, {table: edit})

    def _response(self, one: Directive, found: Rules) -> None:
        kind, (words, condition) = one.args[0] if one.args else "", _parted(one.args[1:])
        if kind in ("set-header", "add-header", "del-header"):
            self._header(one, kind, words, condition, found)
        else:
            self._site.lose(one.place, one.text, _ELSEWHERE)

    def _path(self, one: Directive, kind: str, words: Sequence[str], found: Rules) -> None:
        if kind == "set-path":
            cut = re.fullmatch(r"%\[path,regsub\(\^?(/[\w/-]+?)/?,(/?)\)\]", words[0] if words else "")
            words = ["^" + cut[1] + "/?(.*)$", r"/\1"] if cut else words
        if len(words) != 2 or "%[" in words[1] or not words[1].startswith("/"):
            self._site.lose(one.place, one.text, "rewrite = { regex, to }, or strip_prefix")
            return
        found.action["rewrite"] = {"regex": words[0], "to": re.sub(r"\\(\d)", r"{\1}", words[1])}


def _edit(kind: str, name: str, text: str, table: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "del-header":
        return {"remove": [*table.get("remove", ()), name]}
    return {"set" if kind == "set-header" else "add": {name: text}}


def _statuses(condition: Sequence[str]) -> list[int | str]:
    """The statuses of `if { status 404 }`; none for another condition."""
    found = re.fullmatch(r"if \{ (?:res\.)?status ((?:\d{3} )+)\}", " ".join(condition))
    classes = re.fullmatch(r"if \{ (?:res\.)?status (?:ge ([45])00|([2-5])00:[2-5]99) \}", " ".join(condition))
    if classes:
        first = int(classes[1] or classes[2])
        return [f"{first}xx", *(["5xx"] if classes[1] == "4" else [])]
    return [int(part) for part in found[1].split()] if found else []


def _value(found: re.Match[str]) -> str | None:
    return _SAMPLES.get(found[0]) or _header_of(found[1] or "")


def _header_of(sample: str) -> str | None:
    found = re.fullmatch(r"(?:req\.)?f?hdr\(([A-Za-z0-9-]+)\)", sample)
    return f"{{header.{found[1]}}}" if found else None


def _target(found: re.Match[str]) -> str | None:
    """In a URL `{authority}` is the host without its port."""
    value = _value(found)
    return "{host}" if value == "{authority}" else value


def _rate(section: Directive) -> float:
    """Seconds of the period of a table of request rates; 0 without one."""
    for one in section.named("stick-table"):
        if found := re.search(r"http_req_rate\((\w+)\)", " ".join(one.args)):
            return seconds_of(found[1], 0.001) or 0
    return 0


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before `if` or `unless`, and those from there on."""
    at = next((place for place, part in enumerate(words) if part in ("if", "unless")), len(words))
    return list(words[:at]), list(words[at:])
