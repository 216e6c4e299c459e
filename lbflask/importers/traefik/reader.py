"""Reads Traefik's configuration: entry points, routers, middlewares and services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbflask.importers.literals import number_of
from lbflask.importers.precedence import ordered
from lbflask.importers.site import ImportedRoute, Site, merged
from lbflask.importers.traefik.certificates import TLSOptions
from lbflask.importers.traefik.connections import ConnectionRouters
from lbflask.importers.traefik.documents import TraefikDocuments, table_of, texts_of
from lbflask.importers.traefik.entry_points import EntryPoints
from lbflask.importers.traefik.middlewares import Middlewares
from lbflask.importers.traefik.rules import UnknownRule, matches_of
from lbflask.importers.traefik.services import TraefikServices, transport_of

_SKIPPED: Mapping[str, str] = {
    "api": "the dashboard of the admin listener",
    "ping": "health_path",
    "metrics": "/metrics of the admin listener",
    "log": "gunicorn's --error-logfile",
    "global": "an option of Traefik's process",
    "providers": "routes are in the file; [discovery] finds backends",
    "experimental": "an option of Traefik's process",
    "core": "an option of Traefik's process",
}
#: Settings that redirections keep.
_OF_REDIRECTS = frozenset({"response_headers", "auth", "access", "client_certificate"})


def read(files: Sequence[str]) -> Site:
    """The site of the files. Raises UnreadableConfiguration."""
    site = Site()
    return _TraefikReader(TraefikDocuments(files), site).read()


class _TraefikReader:
    def __init__(self, documents: TraefikDocuments, site: Site) -> None:
        self._documents, self._site = documents, site
        self._settings = documents.settings
        self._middlewares = Middlewares(table_of(self._settings, "http", "middlewares"), site)
        self._services = TraefikServices(documents, site)
        self._points = EntryPoints(documents, site)

    def read(self) -> Site:
        """The site."""
        routers = table_of(self._settings, "http", "routers")
        options = TLSOptions(self._documents, self._site)
        options.add(routers)
        certified = options.certified(routers, self._points)
        ConnectionRouters(self._documents, self._site, self._points).add()
        self._others()
        rules = [(self._priority(router), name, router) for name, router in routers.items() if isinstance(router, dict)]
        found: list[ImportedRoute] = []
        for _, name, router in sorted(rules, key=lambda rule: -rule[0]):
            found += self._router(name, router, is_certified=name in certified)
        self._site.add_routes([*self._points.redirects(), *ordered(found, self._site)])
        return self._site

    def _priority(self, router: Mapping[str, Any]) -> int:
        return number_of(str(router.get("priority", ""))) or len(str(router.get("rule", "")))

    def _router(self, name: str, router: Mapping[str, Any], *, is_certified: bool) -> Iterator[ImportedRoute]:
        place = self._documents.place(name)
        rule = str(router.get("rule", ""))
        try:
            matches = matches_of(rule)
        except UnknownRule as error:
            self._site.lose(place, f"router {name}: {rule}", f"match has no equal of: {error}")
            return
        base = self._points.match(name, router)
        if base is None:
            return
        for path in {path for match in matches for path in match.get("path", ()) if path != "/"}:
            self._site.differ(place, f"router {name}: {rule}", f"whole segments: {path}x does not match")
        for match in matches:
            action, settings = self._action(name, router, match)
            settings = {**settings, **({"client_certificate": True} if is_certified else {})}
            yield ImportedRoute(place, f"router {name}: {rule}", {**match, **base}, action, settings)

    def _action(
        self, name: str, router: Mapping[str, Any], match: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        place = self._documents.place(name)
        more: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        for middleware in texts_of(router.get("middlewares")):
            found = self._middlewares.apply(middleware, match, place)
            more, settings = {**more, **found[0]}, merged(settings, found[1])
        if "redirect" in more:
            kept = {key: value for key, value in settings.items() if key in _OF_REDIRECTS}
            return {"redirect": more["redirect"]}, kept
        service = str(router.get("service", "")).lower()
        if service.partition("@")[2] == "internal":
            self._site.skip(place, f"service {service}", "the dashboard of the admin listener")
            return {"respond": {"status": 404}}, {}
        target, given = self._services.target(service, place)
        return {**target, **(more if "respond" not in target else {})}, merged(given, settings)

    def _others(self) -> None:
        """The rest of the static configuration."""
        place = self._documents.place
        for key, values in self._settings.items():
            if key in _SKIPPED:
                self._site.skip(place(key), key, _SKIPPED[key])
            elif key == "accesslog":
                path = str(table_of(values).get("filepath", "") or "-")
                self._site.set_default("access_log", path)
                if str(table_of(values).get("format", "")).lower() == "json":
                    self._site.set_default("access_log_format", "json")
            elif key == "serverstransport":
                for name, table in transport_of(table_of(values)).items():
                    self._site.settings[name] = merged(table, self._site.settings.get(name, {}))
            elif key == "udp":
                self._site.lose(place(key), key, "UDP is not here")
            elif key not in ("http", "tcp", "entrypoints", "certificatesresolvers", "tls"):
                self._site.lose(place(key), key, "no equal is known; look for it in docs/configuration.md")
