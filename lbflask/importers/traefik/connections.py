"""Traefik's routers and services of TCP: connections that listeners pass on (docs/how-to/tcp.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lbflask.importers.literals import number_of
from lbflask.importers.site import Place, Site
from lbflask.importers.traefik.documents import TraefikDocuments, table_of, tables_of, texts_of
from lbflask.importers.traefik.entry_points import EntryPoints, wanted_points

_RULE = re.compile(r"HostSNI\(\s*((?:`[^`]*`\s*,?\s*)+)\)")


class ConnectionRouters:
    """The routers of TCP."""

    def __init__(self, documents: TraefikDocuments, site: Site, points: EntryPoints) -> None:
        self._documents, self._site, self._points = documents, site, points
        self._tables = table_of(documents.settings, "tcp")

    def add(self) -> None:
        """Add the listeners of entry points that have no router of HTTP."""
        found: dict[str, dict[str, Any]] = {}
        for name, router in table_of(self._tables, "routers").items():
            if isinstance(router, Mapping):
                self._router(name, router, found)
        for point, settings in found.items():
            bind = self._site.add_listener(self._points.passing[point], **settings)
            self._points.set_proxy_protocol(point, bind)

    def _router(self, name: str, router: Mapping[str, Any], found: dict[str, dict[str, Any]]) -> None:
        place, rule = self._documents.place(name), str(router.get("rule", ""))
        names = self._names(rule)
        tls = table_of(router, "tls")
        if names is None:
            self._site.lose(place, f"tcp router {name}: {rule}", "a listener chooses a pool by SNI only: sni, tcp")
            return
        if "tls" in router and str(tls.get("passthrough", "")).lower() != "true":
            self._site.lose(place, f"tcp router {name}: tls", "TLS ends here for HTTP only; with passthrough it is sni")
            return
        for middleware in texts_of(router.get("middlewares")):
            reason = "connections without HTTP have no access lists: a firewall"
            self._site.lose(place, f"tcp router {name}: middleware {middleware}", reason)
        pool = self._service(str(router.get("service", "")).lower(), place)
        for point in wanted_points(router) or list(self._points.passing):
            if point not in self._points.passing:
                taken = point in self._points.listeners
                reason = "a listener has HTTP, or passes connections on" if taken else "it is not in these files"
                self._site.lose(place, f"tcp router {name}: entry point {point}", reason)
            elif pool and names:
                found.setdefault(point, {}).setdefault("sni", {}).update(dict.fromkeys(names, pool))
            elif pool:
                found.setdefault(point, {})["tcp"] = pool

    def _names(self, rule: str) -> list[str] | None:
        """The names of `HostSNI`, none for all; None for another rule."""
        parts = [part.strip() for part in rule.split("||")]
        names: list[str] = []
        for part in parts:
            if _RULE.fullmatch(part) is None:
                return None
            names += re.findall("`([^`]*)`", part)
        return [] if "*" in names else [name.lower() for name in names]

    def _service(self, name: str, place: Place) -> str:
        """The pool of a service; empty for none."""
        balancer = table_of(self._tables, "services", name.partition("@")[0], "loadbalancer")
        backends: list[Any] = []
        for server in tables_of(balancer.get("servers")):
            address = str(server.get("address", ""))
            if re.fullmatch(r"[^/\s]+:\d+", address):
                backends.append(f"tcp://{address}")
            else:
                self._site.lose(place, f"tcp service {name}: {address}", "a backend is tcp://host:port")
        if not backends:
            self._site.lose(place, f"tcp service {name}", "it has no server, or is of another kind")
            return ""
        pool: dict[str, Any] = {"backends": backends}
        if "proxyprotocol" in balancer:
            version = number_of(str(table_of(balancer, "proxyprotocol").get("version", "2")))
            pool["proxy_protocol"] = "v1" if version == 1 else "v2"
        for key in balancer:
            if key == "terminationdelay":
                self._site.skip(place, f"tcp service {name}: {key}", "one direction may end before the other")
            elif key not in ("servers", "proxyprotocol"):
                self._site.lose(place, f"tcp service {name}: {key}", "no equal is known")
        return self._site.add_pool(name, place, pool)
