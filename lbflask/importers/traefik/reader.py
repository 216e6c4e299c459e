"""Reads Traefik's configuration: entry points, routers, middlewares and services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbflask.importers.literals import number_of, seconds_of
from lbflask.importers.precedence import ordered
from lbflask.importers.site import ImportedRoute, Place, Site, merged
from lbflask.importers.traefik.documents import TraefikDocuments, is_true, table_of, texts_of
from lbflask.importers.traefik.middlewares import Middlewares
from lbflask.importers.traefik.rules import UnknownRule, matches_of

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


def read(files: Sequence[str]) -> Site:
    """The site of the files. Raises UnreadableConfiguration."""
    site = Site()
    return _TraefikReader(TraefikDocuments(files, site), site).read()


class _TraefikReader:
    def __init__(self, documents: TraefikDocuments, site: Site) -> None:
        self._documents, self._site = documents, site
        self._settings = documents.settings
        self._middlewares = Middlewares(table_of(self._settings, "http", "middlewares"), site)
        self._listeners: dict[str, str] = {}

    def read(self) -> Site:
        """The site."""
        routers = table_of(self._settings, "http", "routers")
        self._entry_points(routers)
        self._resolvers(routers)
        self._others()
        rules = [(self._priority(router), name, router) for name, router in routers.items() if isinstance(router, dict)]
        found: list[ImportedRoute] = []
        for _, name, router in sorted(rules, key=lambda rule: -rule[0]):
            found += self._router(name, router)
        self._site.add_routes([*self._redirects(), *ordered(found, self._site)])
        return self._site

    def _priority(self, router: Mapping[str, Any]) -> int:
        return number_of(str(router.get("priority", ""))) or len(str(router.get("rule", "")))

    def _entry_points(self, routers: Mapping[str, Any]) -> None:
        points = table_of(self._settings, "entrypoints")
        for name, point in points.items():
            address = str(point.get("address", "")) if isinstance(point, Mapping) else ""
            bind = f"0.0.0.0{address}" if address.startswith(":") else address
            if not re.fullmatch(r".+:\d+", bind):
                self._site.lose(
                    self._documents.place(name), f"entryPoints.{name}.address {address}", "host:port, of TCP"
                )
                continue
            tls = bool(table_of(point, "http", "tls")) or any(self._uses(router, name) for router in routers.values())
            self._listeners[name] = self._site.add_listener(bind, tls=tls)
            if trusted := texts_of(table_of(point, "forwardedheaders").get("trustedips")):
                self._site.set_default("trusted_proxies", trusted)
            if table_of(point, "proxyprotocol"):
                reason = "listeners.proxy_protocol names the networks that send it"
                self._site.lose(self._documents.place("proxyprotocol"), f"entryPoints.{name}.proxyProtocol", reason)
            self._times(table_of(point, "transport", "respondingtimeouts"))
        if not points:
            has_tls = any("tls" in router for router in routers.values() if isinstance(router, Mapping))
            names = {point for router in routers.values() for point in texts_of(table_of(router).get("entrypoints"))}
            plain = not has_tls or any("tls" not in router for router in routers.values())
            if plain or "web" in names:
                self._listeners["web"] = self._site.add_listener("0.0.0.0:80")
            if has_tls:
                self._listeners["websecure"] = self._site.add_listener("0.0.0.0:443", tls=True)

    def _uses(self, router: Any, name: str) -> bool:
        """Whether a router makes TLS of an entry point."""
        return isinstance(router, Mapping) and "tls" in router and name in texts_of(router.get("entrypoints"))

    def _times(self, values: Mapping[str, Any]) -> None:
        for key, setting in (("readtimeout", "timeouts.client_body"),):
            if seconds := seconds_of(str(values.get(key, ""))):
                self._site.set_default(setting, seconds)

    def _redirects(self) -> Iterator[ImportedRoute]:
        """`entryPoints.NAME.http.redirections`."""
        for name, bind in self._listeners.items():
            values = table_of(self._settings, "entrypoints", name, "http", "redirections", "entrypoint")
            if values:
                status = 302 if str(values.get("permanent", "true")).lower() == "false" else 301
                port = self._listeners.get(str(values.get("to", "")), "").rpartition(":")[2]
                to = f"https://{{host}}{'' if port in ('', '443') else f':{port}'}{{path}}{{query}}"
                action = {"redirect": {"to": to, "status": status}}
                match = {"listener": [bind]} if len(self._listeners) > 1 else {}
                yield ImportedRoute(self._documents.place(name), f"entryPoints.{name} redirection", match, action)

    def _router(self, name: str, router: Mapping[str, Any]) -> Iterator[ImportedRoute]:
        place = self._documents.place(name)
        rule = str(router.get("rule", ""))
        try:
            matches = matches_of(rule)
        except UnknownRule as error:
            self._site.lose(place, f"router {name}: {rule}", f"match has no equal of: {error}")
            return
        base = self._listener_match(name, router)
        if base is None:
            return
        for match in matches:
            action, settings = self._action(name, router, match)
            yield ImportedRoute(place, f"router {name}: {rule}", {**match, **base}, action, settings)

    def _listener_match(self, name: str, router: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = texts_of(router.get("entrypoints")) or list(self._listeners)
        redirecting = [
            one for one in self._listeners if table_of(self._settings, "entrypoints", one, "http", "redirections")
        ]
        binds = [self._listeners[one] for one in wanted if one in self._listeners and one not in redirecting]
        if not router.get("entrypoints") and "tls" in router:
            binds = [bind for bind in binds if self._is_tls(bind)] or binds
        if not binds:
            self._site.lose(
                self._documents.place(name), f"router {name}: entryPoints", "none of them is in these files"
            )
            return None
        return {} if len(binds) == len(self._listeners) else {"listener": binds}

    def _is_tls(self, bind: str) -> bool:
        return any(one["bind"] == bind and one.get("tls") for one in self._site.listeners)

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
            kept = {key: value for key, value in settings.items() if key in ("response_headers", "auth")}
            return {"redirect": more["redirect"]}, kept
        service = str(router.get("service", "")).lower()
        if service.partition("@")[2] == "internal":
            self._site.skip(place, f"service {service}", "the dashboard of the admin listener")
            return {"respond": {"status": 404}}, {}
        target, given = self._service(service, place, 0)
        return {**target, **(more if "respond" not in target else {})}, merged(given, settings)

    def _service(self, name: str, place: Place, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        service = table_of(self._settings, "http", "services", name.partition("@")[0])
        if balancer := table_of(service, "loadbalancer"):
            return self._pool(name, balancer)
        weighted = table_of(service, "weighted").get("services")
        if isinstance(weighted, list) and depth < 5:
            return self._split(weighted, place, depth)
        mirroring = table_of(service, "mirroring")
        if mirroring and depth < 5:
            target, settings = self._service(str(mirroring.get("service", "")).lower(), place, depth + 1)
            mirrors = [one for one in mirroring.get("mirrors") or () if isinstance(one, Mapping)]
            for one in mirrors[:1]:
                copy, _ = self._service(str(one.get("name", "")).lower(), place, depth + 1)
                if "pool" in copy and "pool" in target:
                    percent = number_of(str(one.get("percent", "100"))) or 100
                    target = {**target, "mirror": {"pool": copy["pool"], "percent": percent}}
            return target, settings
        self._site.lose(place, f"service {name}", "it is not in these files, or of another kind; its routes answer 503")
        return {"respond": {"status": 503}}, {}

    def _split(self, weighted: Sequence[Any], place: Place, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        weights: dict[str, float] = {}
        settings: dict[str, Any] = {}
        for one in weighted:
            target, settings = self._service(str(table_of(one).get("name", "")).lower(), place, depth + 1)
            weights[str(target.get("pool", ""))] = number_of(str(table_of(one).get("weight", "1")))
        total = sum(weights.values())
        if "" in weights or not total:
            return {"respond": {"status": 503}}, {}
        shares = {pool: round(100 * weight / total, 6) for pool, weight in weights.items()}
        if len(shares) == 1:
            return {"pool": next(iter(shares))}, settings
        return {"split": shares}, settings

    def _pool(self, name: str, balancer: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        place = self._documents.place(name)
        pool: dict[str, Any] = {}
        backends: list[Any] = []
        for server in balancer.get("servers") or ():
            url, weight = str(table_of(server).get("url", "")), number_of(str(table_of(server).get("weight", "")))
            found = re.fullmatch(r"(https?)://([^/:]+|\[[^\]]+\])(?::(\d+))?/?", url)
            if found is None:
                self._site.lose(place, f"service {name}: {url}", "a backend is http:// or https://host:port")
                continue
            address = f"{found[1]}://{found[2]}:{found[3] or (443 if found[1] == 'https' else 80)}"
            backends.append({"url": address, "weight": weight} if weight > 1 else address)
        pool["backends"] = backends
        if health := table_of(balancer, "healthcheck"):
            pool["health"] = self._health(name, health)
        if "cookie" in table_of(balancer, "sticky"):
            cookie = table_of(balancer, "sticky", "cookie")
            pool["sticky"] = {"cookie": str(cookie.get("name") or "lb")}
        if transport := table_of(
            self._settings, "http", "serverstransports", str(balancer.get("serverstransport", "")).lower()
        ):
            pool |= self._transport(transport)
        for key in balancer:
            if key not in (
                "servers",
                "healthcheck",
                "sticky",
                "serverstransport",
                "passhostheader",
                "responseforwarding",
            ):
                self._site.lose(place, f"service {name}: {key}", "no equal is known")
        if not backends:
            self._site.lose(place, f"service {name}", "it has no server; its routes answer 503")
            return {"respond": {"status": 503}}, {}
        kept = str(balancer.get("passhostheader", "true")).lower() != "false"
        return {"pool": self._site.add_pool(name, place, pool)}, {} if kept else {"preserve_host": False}

    def _health(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            if key in ("interval", "timeout") and seconds_of(str(value)):
                found[key] = seconds_of(str(value))
            elif key in ("path", "method"):
                found[key] = str(value)
            elif key == "hostname":
                found["host"] = str(value)
            elif key == "port" and number_of(str(value)):
                found["port"] = number_of(str(value))
            elif key == "status":
                found["expect_status"] = str(value)
            elif key not in ("followredirects", "scheme", "mode", "unhealthyinterval"):
                self._site.lose(self._documents.place(name), f"service {name}: healthCheck.{key}", "no equal is known")
        return found

    def _transport(self, values: Mapping[str, Any]) -> dict[str, Any]:
        tls: dict[str, Any] = {}
        if is_true(values.get("insecureskipverify")):
            tls["verify"] = False
        if values.get("servername"):
            tls["server_name"] = str(values["servername"])
        if roots := texts_of(values.get("rootcas")):
            tls["ca_file"] = roots[0]
        times = table_of(values, "forwardingtimeouts")
        found: dict[str, Any] = {"backend_tls": tls} if tls else {}
        for key, setting in (("dialtimeout", "connect"), ("responseheadertimeout", "first_byte")):
            if seconds := seconds_of(str(times.get(key, ""))):
                found.setdefault("timeouts", {})[setting] = seconds
        return found

    def _resolvers(self, routers: Mapping[str, Any]) -> None:
        """Certificates: files, or those of an authority for the names of routers with TLS."""
        for one in table_of(self._settings, "tls").get("certificates") or ():
            pair = {"cert": str(table_of(one).get("certfile", "")), "key": str(table_of(one).get("keyfile", ""))}
            self._site.settings.setdefault("tls", {}).setdefault("certificates", []).append(pair)
        resolvers = table_of(self._settings, "certificatesresolvers")
        secure = [router for router in routers.values() if isinstance(router, Mapping) and "tls" in router]
        wanted = [router for router in secure if table_of(router, "tls").get("certresolver") or resolvers]
        hosts = [host for router in wanted for host in re.findall(r"Host\(`([^`]+)`", str(router.get("rule", "")))]
        if not hosts:
            if secure and "tls" not in self._site.settings:
                place = self._documents.place("tls")
                self._site.lose(place, "tls", "Traefik makes a certificate of its given; here: tls.certificates")
            return
        acme: dict[str, Any] = {"domains": list(dict.fromkeys(host.lower() for host in hosts))}
        for resolver in resolvers.values():
            values = table_of(resolver, "acme")
            acme |= {"email": str(values["email"])} if values.get("email") else {}
            acme |= {"directory": str(values["caserver"])} if values.get("caserver") else {}
            if "tlschallenge" in values:
                acme["challenge"] = "tls-alpn-01"
            if "dnschallenge" in values:
                self._site.lose(
                    self._documents.place("dnschallenge"), "dnsChallenge", "challenges are http-01, tls-alpn-01"
                )
        self._site.settings.setdefault("tls", {})["acme"] = acme

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
                self._site.lose(place(key), key, "[pools.NAME.backend_tls] of each pool")
            elif key in ("tcp", "udp"):
                self._site.lose(place(key), key, "TCP and UDP are not here")
            elif key not in ("http", "entrypoints", "certificatesresolvers", "tls"):
                self._site.lose(place(key), key, "no equal is known; look for it in docs/configuration.md")
        for key in table_of(self._settings, "tls"):
            if key != "certificates":
                self._site.lose(place(key), f"tls.{key}", "[tls] has minimum and ciphers")
