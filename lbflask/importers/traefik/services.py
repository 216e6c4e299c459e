"""Traefik's services as pools, splits and mirrors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.literals import number_of, seconds_of
from lbflask.importers.site import Place, Site
from lbflask.importers.traefik.documents import TraefikDocuments, is_true, table_of, tables_of, texts_of

#: The action of a route, and the settings that it has with it.
Target = tuple[dict[str, Any], dict[str, Any]]
_KNOWN = frozenset({"servers", "healthcheck", "sticky", "serverstransport", "passhostheader", "responseforwarding"})


class TraefikServices:
    """The services by name."""

    def __init__(self, documents: TraefikDocuments, site: Site) -> None:
        self._documents, self._site = documents, site
        self._settings = documents.settings

    def target(self, name: str, place: Place, depth: int = 0) -> Target:
        """What a router to the service does."""
        service = table_of(self._settings, "http", "services", name.partition("@")[0])
        if balancer := table_of(service, "loadbalancer"):
            return self._pool(name, balancer)
        weighted = table_of(service, "weighted").get("services")
        if isinstance(weighted, list) and depth < 5:
            return self._split(weighted, place, depth)
        mirroring = table_of(service, "mirroring")
        if mirroring and depth < 5:
            target, settings = self.target(str(mirroring.get("service", "")).lower(), place, depth + 1)
            mirrors = tables_of(mirroring.get("mirrors"))
            for one in mirrors[:1]:
                copy, _ = self.target(str(one.get("name", "")).lower(), place, depth + 1)
                if "pool" in copy and "pool" in target:
                    percent = number_of(str(one.get("percent", "100"))) or 100
                    target = {**target, "mirror": {"pool": copy["pool"], "percent": percent}}
            return target, settings
        self._site.lose(place, f"service {name}", "it is not in these files, or of another kind; its routes answer 503")
        return {"respond": {"status": 503}}, {}

    def _split(self, weighted: Sequence[Any], place: Place, depth: int) -> Target:
        weights: dict[str, float] = {}
        settings: dict[str, Any] = {}
        for one in weighted:
            target, settings = self.target(str(table_of(one).get("name", "")).lower(), place, depth + 1)
            weights[str(target.get("pool", ""))] = number_of(str(table_of(one).get("weight", "1")))
        total = sum(weights.values())
        if "" in weights or not total:
            return {"respond": {"status": 503}}, {}
        shares = {pool: round(100 * weight / total, 6) for pool, weight in weights.items()}
        if len(shares) == 1:
            return {"pool": next(iter(shares))}, settings
        return {"split": shares}, settings

    def _pool(self, name: str, balancer: Mapping[str, Any]) -> Target:
        place = self._documents.place(name)
        pool: dict[str, Any] = {}
        backends: list[Any] = []
        for server in tables_of(balancer.get("servers")):
            url, weight = str(server.get("url", "")), number_of(str(server.get("weight", "")))
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
            pool["sticky"] = _sticky(cookie)
        if transport := table_of(
            self._settings, "http", "serverstransports", str(balancer.get("serverstransport", "")).lower()
        ):
            pool |= transport_of(transport)
        for key in balancer:
            if key not in _KNOWN:
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


def _sticky(values: Mapping[str, Any]) -> dict[str, Any]:
    """`sticky.cookie`. Browsers take SameSite=None with Secure only."""
    found: dict[str, Any] = {"cookie": str(values.get("name") or "lb")}
    same_site = str(values.get("samesite", "")).lower()
    if is_true(values.get("secure")):
        found["secure"] = True
    if same_site in ("lax", "strict") or (same_site == "none" and "secure" in found):
        found["same_site"] = same_site
    if age := number_of(str(values.get("maxage", ""))):
        found["max_age"] = age
    for key in ("path", "domain"):
        if values.get(key):
            found[key] = str(values[key]).lstrip(".")
    return found


def transport_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """`serversTransport`: TLS to backends, and time-outs."""
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
