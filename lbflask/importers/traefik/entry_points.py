"""Traefik's entry points as listeners, with the redirections that they have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lbflask.importers.literals import seconds_of
from lbflask.importers.networks import EVERY_NETWORK
from lbflask.importers.site import ImportedRoute, Site
from lbflask.importers.traefik.documents import TraefikDocuments, is_true, table_of, texts_of


class EntryPoints:
    """The entry points by name, which are listeners unless they are for routers of TCP alone."""

    def __init__(self, documents: TraefikDocuments, site: Site) -> None:
        self._documents, self._site = documents, site
        self._points = table_of(documents.settings, "entrypoints")
        self.listeners: dict[str, str] = {}  #: addresses by name
        self._routers = table_of(documents.settings, "http", "routers")
        passing = _named_points(table_of(documents.settings, "tcp", "routers"))
        self.passing = {
            name: self._bind(name) for name in passing - _named_points(self._routers) if name in self._points
        }
        self._add()

    def _add(self) -> None:
        for name, point in self._points.items():
            bind = self._bind(name)
            if not bind:
                address = str(table_of(point).get("address", ""))
                reason = "UDP is not here" if address.endswith("/udp") else "host:port, of TCP"
                self._site.lose(self._documents.place(name), f"entryPoints.{name}.address {address}", reason)
                continue
            if name in self.passing:
                continue
            tls = bool(table_of(point, "http", "tls")) or any(_uses(one, name) for one in self._routers.values())
            self.listeners[name] = self._site.add_listener(bind, tls=tls)
            self.set_proxy_protocol(name, bind)
            if trusted := texts_of(table_of(point, "forwardedheaders").get("trustedips")):
                self._site.set_default("trusted_proxies", trusted)
            if is_true(table_of(point, "forwardedheaders").get("insecure")):
                place = self._documents.place("forwardedheaders")
                self._site.lose(place, f"entryPoints.{name}.forwardedHeaders.insecure", "trusted_proxies has networks")
            if seconds := seconds_of(str(table_of(point, "transport", "respondingtimeouts").get("readtimeout", ""))):
                self._site.set_default("timeouts.client_body", seconds)
        if not self._points:
            self._add_usual()

    def _add_usual(self) -> None:
        """Those of dynamic files alone: web, and websecure where a router has TLS."""
        routers = [router for router in self._routers.values() if isinstance(router, Mapping)]
        has_tls = any("tls" in router for router in routers)
        plain = not has_tls or any("tls" not in router for router in routers)
        if plain or "web" in _named_points(self._routers):
            self.listeners["web"] = self._site.add_listener("0.0.0.0:80")
        if has_tls:
            self.listeners["websecure"] = self._site.add_listener("0.0.0.0:443", tls=True)

    def _bind(self, name: str) -> str:
        """The address of an entry point; empty for none of TCP."""
        address = str(table_of(self._points.get(name)).get("address", "")).removesuffix("/tcp")
        bind = f"0.0.0.0{address}" if address.startswith(":") else address
        return bind if re.fullmatch(r".+:\d+", bind) else ""

    def set_proxy_protocol(self, name: str, bind: str) -> None:
        """`entryPoints.NAME.proxyProtocol`."""
        values = table_of(self._points.get(name), "proxyprotocol")
        networks: list[str] = texts_of(values.get("trustedips"))
        if is_true(values.get("insecure")):
            networks = list(EVERY_NETWORK)
            reason = "every peer can state any client: name the networks of the proxy in front"
            self._site.differ(
                self._documents.place("proxyprotocol"), f"entryPoints.{name}.proxyProtocol.insecure", reason
            )
        if networks:
            self._site.set_listener(bind, {"proxy_protocol": networks})

    def is_redirecting(self, name: str) -> bool:
        """Whether all of its requests are redirected."""
        return bool(table_of(self._points.get(name), "http", "redirections"))

    def redirects(self) -> Iterator[ImportedRoute]:
        """`entryPoints.NAME.http.redirections`."""
        for name, bind in self.listeners.items():
            values = table_of(self._points.get(name), "http", "redirections", "entrypoint")
            if values:
                status = 302 if str(values.get("permanent", "true")).lower() == "false" else 301
                port = self.listeners.get(str(values.get("to", "")), "").rpartition(":")[2]
                to = f"https://{{host}}{'' if port in ('', '443') else f':{port}'}{{path}}{{query}}"
                action = {"redirect": {"to": to, "status": status}}
                match = {"listener": [bind]} if len(self.listeners) > 1 else {}
                yield ImportedRoute(self._documents.place(name), f"entryPoints.{name} redirection", match, action)

    def match(self, name: str, router: Mapping[str, Any]) -> dict[str, Any] | None:
        """What requests for a router have; None if they come by no listener."""
        wanted = wanted_points(router) or list(self.listeners)
        binds = [self.listeners[one] for one in wanted if one in self.listeners and not self.is_redirecting(one)]
        if not router.get("entrypoints") and "tls" in router:
            binds = [bind for bind in binds if self._is_tls(bind)] or binds
        if not binds:
            self._site.lose(
                self._documents.place(name), f"router {name}: entryPoints", "none of them is in these files"
            )
            return None
        return {} if len(binds) == len(self.listeners) else {"listener": binds}

    def tls_binds(self, router: Mapping[str, Any]) -> list[str]:
        """The listeners with TLS by which requests for a router come."""
        wanted = wanted_points(router) or list(self.listeners)
        return [self.listeners[one] for one in wanted if one in self.listeners and self._is_tls(self.listeners[one])]

    def _is_tls(self, bind: str) -> bool:
        return any(one["bind"] == bind and one.get("tls") for one in self._site.listeners)


def wanted_points(router: Mapping[str, Any]) -> list[str]:
    """The entry points that a router names, in small letters as all keys are."""
    return [name.lower() for name in texts_of(router.get("entrypoints"))]


def _named_points(routers: Mapping[str, Any]) -> set[str]:
    return {point for router in routers.values() for point in wanted_points(table_of(router))}


def _uses(router: Any, name: str) -> bool:
    """Whether a router makes TLS of an entry point."""
    return isinstance(router, Mapping) and "tls" in router and name in wanted_points(router)
