"""Caddy's addresses of sites as listeners and hosts, with its automatic HTTPS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.caddy.client_certificates import client_authority
from lbflask.importers.caddy.matchers import networks_of
from lbflask.importers.client_authorities import REQUIRED, ClientAuthority, set_client_authorities
from lbflask.importers.directives import Directive
from lbflask.importers.networks import EVERY_NETWORK
from lbflask.importers.site import ImportedRoute, Place, Site

_ADDRESS = re.compile(r"(?:(https?)://)?(\[[0-9a-fA-F:]+\]|[^:/\[\]]*)(?::(\d+|\$\{[^}]*\}))?(/.*)?")
_LOCAL = re.compile(r"localhost|.*\.localhost|\d+\.\d+\.\d+\.\d+|\[.*\]|")


class SiteAddresses:
    """The listeners of all sites. A name without scheme and port is served by https, and redirected from http."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http, self._https = "80", "443"
        self._auto = True
        self._acme: dict[str, str] = {}  #: settings of `tls.acme`, which count where a name needs a certificate
        self._redirected: dict[str, Place] = {}
        self._asked = ""  #: what allows certificates on demand
        self._proxies: list[str] = []  #: networks that state clients by the PROXY protocol
        self._authorities: dict[str, dict[Directive, ClientAuthority]] = {}  #: what sites want, by listener

    def read_options(self, block: Sequence[Directive]) -> None:
        """The global options."""
        for one in block:
            value = one.args[0] if one.args else ""
            if one.name == "email":
                self._acme["email"] = value
            elif one.name == "acme_ca":
                self._acme["directory"] = value
            elif one.name == "http_port":
                self._http = value
            elif one.name == "https_port":
                self._https = value
            elif one.name == "auto_https":
                self._auto = value not in ("off", "disable_redirects")
            elif one.name == "servers":
                self._servers(one)
            elif one.name == "on_demand_tls":
                self._demand(one)
            elif one.name in (
                "admin",
                "debug",
                "storage",
                "grace_period",
                "persist_config",
                "log",
                "order",
                "default_bind",
            ):
                self._site.skip(one.place, one.text, "an option of Caddy's process")
            else:
                self._site.lose(one.place, one.text, "no equal is known; look for it in docs/configuration.md")

    def _demand(self, one: Directive) -> None:
        for inner in one.block or ():
            if inner.name == "ask" and inner.args:
                self._asked = inner.args[0]
            else:
                self._site.lose(inner.place, f"on_demand_tls {inner.text}", "tls.acme.on_demand_per_hour bounds orders")

    def _servers(self, one: Directive) -> None:
        for inner in one.block or ():
            if inner.name == "trusted_proxies" and inner.args[:1] == ("static",):
                self._site.set_default("trusted_proxies", networks_of(inner.args[1:]))
            elif inner.name == "listener_wrappers":
                self._wrappers(inner)
            elif inner.name in ("metrics", "protocols", "max_header_size", "name", "keepalive_interval"):
                self._site.skip(inner.place, inner.text, "an option of Caddy's servers")
            else:
                self._site.lose(inner.place, f"servers {inner.text}", "no equal is known")

    def _wrappers(self, one: Directive) -> None:
        """`proxy_protocol` before `tls`: each connection may begin with a header."""
        for inner in one.block or ():
            if inner.name == "proxy_protocol":
                allowed = [net for line in inner.named("allow") for net in networks_of(line.args)]
                self._proxies = allowed or list(EVERY_NETWORK)
                reason = "peers of these networks must send a header" if allowed else "name the networks that send it"
                self._site.differ(inner.place, inner.text, reason)
            elif inner.name not in ("tls", "http_redirect"):
                self._site.lose(inner.place, inner.text, "no equal is known")

    def set_servers(self) -> None:
        """Set what global options state of all listeners, which have been added."""
        for one in self._site.listeners if self._proxies else ():
            one["proxy_protocol"] = self._proxies

    def bases(self, site: Directive) -> list[dict[str, Any]]:
        """What requests for a site have: hosts and listeners, those with the same listener as one."""
        tls_lines = [one for one in site.block or () if one.name == "tls"]
        binds = [arg for one in site.block or () if one.name == "bind" for arg in one.args]
        by_listener: dict[str, list[str]] = {}
        for text in (site.name, *site.args):
            address = text.strip(",")
            if not address:
                continue
            found = _ADDRESS.fullmatch(address)
            if found is None or found[4] not in (None, "/"):
                self._site.lose(site.place, address, "no address of a site without a path")
                continue
            scheme, host, port = found[1] or "", found[2].lower(), found[3] or ""
            tls = self._is_tls(scheme, host, port, bool(tls_lines))
            number = port or (self._https if tls else self._http)
            listener = self._site.add_listener(f"{binds[0] if binds else '0.0.0.0'}:{number}", tls=tls)
            by_listener.setdefault(listener, []).append(host)
            if tls:
                self._authorities.setdefault(listener, {})[site] = client_authority(site, tls_lines, self._site)
                self._certificate(site, tls_lines, host)
                if self._auto and not port and scheme != "https" and host:
                    self._redirected[host] = site.place
        return [
            {**({"host": hosts} if all(hosts) else {}), "listener": [listener]}
            for listener, hosts in by_listener.items()
        ]

    def _is_tls(self, scheme: str, host: str, port: str, has_tls: bool) -> bool:
        if scheme == "http" or port == self._http:
            return False
        if has_tls or scheme == "https" or port == self._https:
            return True
        return bool(host) and self._auto and not _LOCAL.fullmatch(host)

    def is_certified(self, site: Directive, base: Mapping[str, Any]) -> bool:
        """Set which certificates of clients the listener takes. Whether routes of the site require one besides."""
        (listener,) = base["listener"]
        wanted = self._authorities.get(listener, {})
        shared = set_client_authorities(self._site, listener, list(wanted.values()))
        return shared and site in wanted and wanted[site].mode == REQUIRED

    def _certificate(self, site: Directive, lines: Sequence[Directive], host: str) -> None:
        on_demand = any(inner.name == "on_demand" for one in lines for inner in one.block or ())
        for one in lines:
            if len(one.args) >= 2:
                pairs = self._site.settings.setdefault("tls", {}).setdefault("certificates", [])
                pair = {"cert": one.args[0], "key": one.args[1]}
                if pair not in pairs:
                    pairs.append(pair)
                return
            if one.args[:1] == ("internal",):
                self._site.lose(
                    one.place, one.text, "certificates of an authority of one's own are files: tls.certificates"
                )
            elif one.args and "@" in one.args[0]:
                self._acme["email"] = one.args[0]
        if on_demand and (host or self._asked):
            acme = self._site.settings.setdefault("tls", {}).setdefault("acme", {})
            acme |= {**self._acme, **({"on_demand_ask": self._asked} if self._asked else {})}
            acme["on_demand"] = [*acme.get("on_demand", ()), *([host] if host else [])]
            return
        if host.startswith("*.") or not host:
            reason = 'a wildcard needs a certificate in tls.certificates, or tls.acme with challenge = "dns-01"'
            self._site.lose(site.place, site.text, reason)
            return
        acme = self._site.settings.setdefault("tls", {}).setdefault("acme", {})
        acme |= self._acme
        if host not in acme.setdefault("domains", []):
            acme["domains"].append(host)

    def is_single(self) -> bool:
        """Whether all requests come by one listener; redirections from http have their own."""
        return len(self._site.listeners) == 1

    def redirects(self) -> list[ImportedRoute]:
        """The redirections from http. A listener for them alone is of lbflask's own kind."""
        bind = f"0.0.0.0:{self._http}"
        if not self._redirected:
            return []
        if all(one["bind"] != bind for one in self._site.listeners):
            self._site.add_listener(bind, redirect="https")
            return []
        action = {"redirect": {"to": "https://{host}{path}{query}", "status": 308}}
        return [
            ImportedRoute(place, f"https for {host}", {"host": [host], "listener": [bind]}, action)
            for host, place in self._redirected.items()
        ]
