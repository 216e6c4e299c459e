"""Reads HAProxy's configuration: frontends with their rules, and the backends that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.backends import ImportedBackend, compression_of
from lbflask.importers.haproxy.binds import BindReader
from lbflask.importers.haproxy.connections import ConnectionReader
from lbflask.importers.haproxy.lines import sections_of
from lbflask.importers.haproxy.rules import RuleReader, Rules
from lbflask.importers.haproxy.unneeded import LOST, TRANSLATED, UNNEEDED
from lbflask.importers.literals import seconds_of
from lbflask.importers.precedence import ordered
from lbflask.importers.site import ImportedRoute, Site, merged
from lbflask.importers.variants import with_partial

_RULES = frozenset({"http-request", "http-response", "tcp-request", "acl", "redirect"})
_CLIENT_TIMES = {"client": "client_body", "http-request": "client_head"}


def read(files: Sequence[str]) -> Site:
    """The site of the files. Raises UnreadableConfiguration."""
    return _Reader(sections_of(files)).read()


class _Reader:
    def __init__(self, sections: Sequence[Directive]) -> None:
        self._site = Site()
        self._sections = sections
        self._backends: dict[str, ImportedBackend] = {}
        self._pools: dict[str, str] = {}
        self._passing: dict[str, str] = {}  #: pools of connections without HTTP
        self._rules: dict[str, Rules] = {}
        self._frontends: list[tuple[Directive, list[Directive]]] = []
        defaults: list[Directive] = []
        for one in sections:
            if one.name == "defaults":
                defaults = list(one.block or ())
            if one.name in ("frontend", "listen") and not one.named("disabled"):
                self._frontends.append((one, defaults))
            if one.name in ("backend", "listen"):
                backend = ImportedBackend(one, defaults, self._site)
                self._backends[backend.name] = backend

    def read(self) -> Site:
        routes: list[ImportedRoute] = []
        served = [one for one, defaults in self._frontends if not _is_tcp(one, defaults)]
        for one, defaults in self._frontends:
            lines = [*defaults, *(one.block or ())]
            if one in served:
                routes += self._frontend(one, lines, alone=len(served) == 1)
            else:
                ConnectionReader(self._site, one, self._passed_on).read(lines)
        self._site.add_routes(ordered(routes, self._site))
        for name, backend in self._backends.items():
            if name not in self._pools and name not in self._passing:
                self._site.skip(backend.section.place, backend.section.text, "no route goes to it")
        for section in self._sections:
            self._report(section)
        return self._site

    def _passed_on(self, one: Directive, name: str) -> str:
        """The pool of a backend that gets connections without HTTP; empty for none."""
        backend = self._backends.get(name)
        if backend is None:
            self._site.lose(one.place, one.text, "there is no such backend")
            return ""
        if name not in self._passing:
            self._passing[name] = backend.pool({}, is_tcp=True)
            for rule in backend.section.named("tcp-request") if backend.section.name == "backend" else ():
                self._site.lose(rule.place, rule.text, "connections without HTTP have no access lists: a firewall")
        return self._passing[name]

    def _frontend(self, section: Directive, lines: Sequence[Directive], *, alone: bool) -> list[ImportedRoute]:
        binds = BindReader(self._site, section).listeners()
        reader = RuleReader(self._site, section, self._sections)
        rules = reader.rules()
        last: list[ImportedRoute] = []
        for one in section.named("use_backend"):
            if one.args:
                last += self._forwarding(one, one.args[0], reader.matches(one, one.args[1:]), rules)
        default = [one for one in lines if one.name == "default_backend" and one.args]
        if default:
            last += self._forwarding(default[-1], default[-1].args[0], [{}], rules)
        elif section.name == "listen":
            last += self._forwarding(section, section.args[0] if section.args else "backend", [{}], rules)
        else:
            last.append(ImportedRoute(section.place, section.text, {}, {"respond": {"status": 503}}))
        routes = [*rules.routes, *(inner for one in last for inner in with_partial(one, rules.partial, self._site))]
        self._set_times(lines)
        self._set_health_path(section)
        base = {} if alone else {"listener": binds}
        common = {key: value for key, value in rules.settings.items() if key == "response_headers"} | rules.checked
        forwarding = {**compression_of(lines, self._site), **rules.settings, **rules.checked}
        return [_with(route, base, forwarding if route.forwards else common) for route in routes]

    def _forwarding(
        self, one: Directive, name: str, matches: Sequence[Mapping[str, Any]], rules: Rules
    ) -> list[ImportedRoute]:
        """Routes to a backend, after those of the rules that the backend itself has."""
        backend = self._backends.get(name)
        if backend is None:
            self._site.lose(one.place, one.text, "there is no such backend; the route answers 503")
            return [ImportedRoute(one.place, one.text, match, {"respond": {"status": 503}}) for match in matches]
        if name not in self._pools:
            reader = RuleReader(self._site, backend.section, self._sections)
            behind = self._rules[name] = Rules() if backend.section is one else reader.rules()  # of listen, once
            self._pools[name] = backend.pool({**behind.settings, **behind.checked})
        behind, pool = self._rules[name], self._pools[name]
        action: dict[str, Any] = {"pool": pool, **rules.action, **behind.action}
        if not pool:
            action = {"respond": {"status": 503}}
        found: list[ImportedRoute] = []
        for match in matches:
            found += [_with(route, match, behind.checked) for route in behind.routes]
            found += with_partial(ImportedRoute(one.place, one.text, match, action), behind.partial, self._site)
        return found

    def _set_times(self, lines: Sequence[Directive]) -> None:
        for one in lines:
            if one.name == "timeout" and len(one.args) > 1 and (key := _CLIENT_TIMES.get(one.args[0])):
                seconds = seconds_of(one.args[1], 0.001)
                if seconds:
                    self._site.set_default(f"timeouts.{key}", seconds)

    def _set_health_path(self, section: Directive) -> None:
        for one in section.named("monitor-uri"):
            if one.args:
                self._site.set_default("health_path", one.args[0])

    def _report(self, section: Directive) -> None:
        """List the lines that nothing translates."""
        if section.name == "userlist":
            return
        if section.name not in ("defaults", "frontend", "backend", "listen", "global"):
            kind = LOST.get(section.name)
            if kind:
                self._site.lose(section.place, section.text, kind)
            else:
                self._site.skip(section.place, section.text, UNNEEDED.get(section.name, "state of HAProxy"))
            return
        for one in section.block or ():
            key = f"{one.name} {one.args[0]}" if one.args else one.name
            if section.name == "defaults" and one.name in _RULES:
                self._site.lose(one.place, one.text, "rules of defaults: write them into each frontend")
            elif section.name == "global":
                self._site.skip(one.place, one.name, "process settings of HAProxy: gunicorn and [tls] have their own")
            elif key in UNNEEDED or one.name in UNNEEDED:
                self._site.skip(
                    one.place, key if key in UNNEEDED else one.name, UNNEEDED.get(key) or UNNEEDED[one.name]
                )
            elif one.name not in TRANSLATED and key not in TRANSLATED:
                reason = (
                    LOST.get(key) or LOST.get(one.name) or "no equal is known; look for it in docs/configuration.md"
                )
                self._site.lose(one.place, one.text, reason)


def _is_tcp(section: Directive, defaults: Sequence[Directive]) -> bool:
    """Whether a section has no HTTP, which is the default of HAProxy."""
    modes = [one.args[0] for one in (*defaults, *(section.block or ())) if one.name == "mode" and one.args]
    return (modes or ["tcp"])[-1] == "tcp"


def _with(route: ImportedRoute, base: Mapping[str, Any], settings: Mapping[str, Any]) -> ImportedRoute:
    match = dict(route.match)
    for key, value in base.items():
        if key == "not":
            match["not"] = [*value, *match.get("not", ())]
        elif key in ("headers", "query", "cookies"):
            match[key] = {**value, **match.get(key, {})}
        else:
            match.setdefault(key, value)
    return ImportedRoute(route.place, route.title, match, route.action, merged(settings, route.settings))
