"""nginx's `stream`: connections without HTTP, which listeners pass on (docs/how-to/tcp.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import seconds_of
from lbflask.importers.nginx.listens import add_proxy_protocol, address_of, check_options, is_tls, real_networks
from lbflask.importers.nginx.upstreams import Upstream, address_name, backend_url
from lbflask.importers.site import Site

#: Seconds without a byte after which nginx ends a connection.
_IDLE = 600
_NAME = re.compile(r"(\*?\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class StreamServers:
    """The servers of a `stream` block."""

    def __init__(self, site: Site, scope: Scope) -> None:
        self._site, self._scope = site, scope
        self._upstreams: dict[str, Upstream] = {}
        for one in scope.here("upstream"):
            upstream = Upstream(one, site)
            self._upstreams[upstream.name] = upstream
            scope.ledger.use(one.block or ())
        self._maps = {one.args[1].lstrip("$"): one for one in scope.here("map") if len(one.args) == 2}
        for one in self._maps.values():
            scope.ledger.use(one.block or ())

    def add(self) -> None:
        """Add their listeners and pools."""
        for one in self._scope.here("server"):
            self._server(one, self._scope.inner(one.block or ()))

    def _server(self, one: Directive, scope: Scope) -> None:
        scope.all("ssl_preread", "preread_timeout", "access_log", "log_format")
        listens = [listen for listen in scope.here("listen") if listen.args]
        target = scope.last("proxy_pass")
        if target is None or not target.args:
            self._site.lose(one.place, one.text, "a listener passes connections on to a pool: tcp, or sni")
            scope.ledger.use(one.block or ())
            return
        settings = self._target(target, self._settings(scope))
        for listen in listens if settings else ():
            if "udp" in listen.args or is_tls(listen.args):
                reason = "UDP is not here" if "udp" in listen.args else "TLS ends here for HTTP only: keep nginx for it"
                self._site.lose(listen.place, listen.text, reason)
                continue
            check_options(listen, self._site)
            bind = self._site.add_listener(address_of(listen.args[0]), **settings)
            add_proxy_protocol(listen, bind, real_networks(scope), self._site)

    def _settings(self, scope: Scope) -> dict[str, Any]:
        """The settings of pools that a server has."""
        idle = seconds_of(scope.value("proxy_timeout", str(_IDLE))) or _IDLE
        times: dict[str, Any] = {"tunnel_idle": idle}
        if seconds := seconds_of(scope.value("proxy_connect_timeout")):
            times["connect"] = seconds
        found: dict[str, Any] = {"timeouts": times}
        if scope.value("proxy_protocol") == "on":
            found["proxy_protocol"] = "v1"
        if (one := scope.last("proxy_ssl")) and one.args == ("on",):
            self._site.lose(one.place, one.text, "backends get connections as they are, without TLS of lbflask's")
        return found

    def _target(self, one: Directive, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a listener: the pool of `proxy_pass`, or those of a map of names."""
        value = one.args[0]
        if not value.startswith("$"):
            return {"tcp": self._pool(one, value, settings)}
        table = self._maps.get(value[1:])
        if table is None or table.args[0] != "$ssl_preread_server_name":
            self._site.lose(one.place, one.text, "sni of a listener has pools by the name that TLS clients ask for")
            return {}
        found: dict[str, Any] = {}
        names: dict[str, str] = {}
        for entry in table.block or ():
            if entry.name == "default" and entry.args:
                found["tcp"] = self._pool(entry, entry.args[0], settings)
            elif entry.args and entry.name not in ("hostnames", "volatile", "include"):
                names |= self._names(entry, settings)
        return {**found, **({"sni": names} if names else {})}

    def _names(self, entry: Directive, settings: Mapping[str, Any]) -> dict[str, str]:
        name = entry.name.lower()
        if not _NAME.fullmatch(name):
            self._site.lose(entry.place, entry.text, "a name, or *.example.com")
            return {}
        pool = self._pool(entry, entry.args[0], settings)
        if name.startswith(("*.", ".")):
            self._site.differ(entry.place, entry.text, "*. stands for one label")
        if name.startswith("."):
            return {name[1:]: pool, f"*{name}": pool}
        return {name: pool}

    def _pool(self, one: Directive, address: str, settings: Mapping[str, Any]) -> str:
        if upstream := self._upstreams.get(address):
            return upstream.pool("tcp", settings)
        pool = {"backends": [backend_url("tcp", address)], **settings}
        return self._site.add_pool(address_name(address), one.place, pool)
