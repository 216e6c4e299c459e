"""Reads nginx's configuration: `upstream`, `server` and what belongs to them (nginx.org/en/docs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lbflask.importers.client_authorities import OPTIONAL, REQUIRED, ClientAuthority, set_client_authorities
from lbflask.importers.directives import Directive, Ledger, Scope
from lbflask.importers.literals import bytes_of, literal, seconds_of
from lbflask.importers.nginx.actions import Actions
from lbflask.importers.nginx.files import directives_of
from lbflask.importers.nginx.listens import (
    add_proxy_protocol,
    address_of,
    check_options,
    is_tls,
    real_networks,
    states_by_header,
)
from lbflask.importers.nginx.routes import ServerRoutes
from lbflask.importers.nginx.streams import StreamServers
from lbflask.importers.nginx.unneeded import LOST, UNNEEDED, UWSGI_PARAMETERS
from lbflask.importers.nginx.upstreams import Upstream
from lbflask.importers.nginx.variables import SCHEME
from lbflask.importers.site import Site

#: What `limits.field_size` and `limits.line` may be.
_FIELD_BYTES, _LINE_BYTES = (256, 65_536), 8190
_VERIFICATIONS = {"on": REQUIRED, "optional": OPTIONAL}


def read(files: Sequence[str]) -> Site:
    """The site of the files. Raises UnreadableConfiguration."""
    site = Site()
    top = directives_of(files, site)
    ledger = Ledger()
    scope = Scope((top,), ledger)
    upstreams = {}
    for one in scope.here("upstream"):
        upstream = Upstream(one, site)
        upstreams[upstream.name] = upstream
        ledger.use(one.block or ())
    scope.here("events")
    _Servers(site, scope, Actions(site, upstreams)).add()
    for one in scope.here("stream"):
        StreamServers(site, Scope((one.block or (),), ledger)).add()
    _set_globals(site, scope)
    for one in ledger.unused(top):
        _report(site, one)
    return site


class _Servers:
    """The servers with their listeners. The first one of an address, or `default_server`, gets all other names."""

    def __init__(self, site: Site, scope: Scope, actions: Actions) -> None:
        self._site, self._scope, self._actions = site, scope, actions
        self._servers = [(one, scope.inner(one.block or ())) for one in scope.here("server")]
        self._listens = [self._listens_of(inner) for _, inner in self._servers]
        self._defaults: dict[str, int] = {}
        for number, listens in enumerate(self._listens):
            for bind, options in listens.items():
                if "default_server" in options or "default" in options:
                    self._defaults[bind] = number
                self._defaults.setdefault(bind, number)

    def add(self) -> None:
        """Add listeners, certificates and routes of all servers."""
        alike = all(listens.keys() == self._defaults.keys() for listens in self._listens)
        certified = self._certified()
        for number, (one, inner) in enumerate(self._servers):
            hosts = self._hosts(inner)
            names = {"server_name": next(iter(hosts), "")} if hosts else {}
            names[SCHEME] = "https" if any(map(is_tls, self._listens[number].values())) else "http"
            routes = ServerRoutes(self._site, self._actions, inner, one.place, names)
            for binds, is_default in self._groups(number):
                base: dict[str, Any] = {} if is_default else {"host": hosts if len(hosts) > 1 else "".join(hosts)}
                if not alike:
                    base["listener"] = binds
                if is_default or hosts:
                    more = {"client_certificate": True} if number in certified else {}
                    self._site.add_routes(
                        replace(route, settings={**route.settings, **more}) for route in routes.routes(base)
                    )
                else:
                    self._site.skip(one.place, "server", "no request reaches it: it has no name, and is no default")
            self._add_certificate(inner)

    def _certified(self) -> set[int]:
        """Set which certificates of clients each listener takes. The servers whose routes require one besides."""
        found: set[int] = set()
        wanted = [_client_authority(one, inner, self._site) for one, inner in self._servers]
        for bind in self._defaults:
            numbers = [number for number, listens in enumerate(self._listens) if is_tls(listens.get(bind, ()))]
            if set_client_authorities(self._site, bind, [wanted[number] for number in numbers]):
                found |= {number for number in numbers if wanted[number].mode == REQUIRED}
        return found

    def _groups(self, number: int) -> Iterator[tuple[list[str], bool]]:
        """The addresses of a server for which it is the default, then the others."""
        binds = list(self._listens[number])
        for is_default in (True, False):
            found = [bind for bind in binds if (self._defaults[bind] == number) is is_default]
            if found:
                yield found, is_default

    def _listens_of(self, scope: Scope) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        listens = scope.here("listen")
        for one in listens:
            bind, options = address_of(one.args[0]), one.args[1:]
            v4 = bind.replace("[::]:", "0.0.0.0:")
            if bind != v4 and any(address_of(other.args[0]) == v4 for other in listens):
                self._site.differ(one.place, one.text, f'bind = "{bind}" instead of {v4} serves IPv6 too')
                continue
            check_options(one, self._site)
            found[self._site.add_listener(bind, tls=is_tls(options))] = options
            add_proxy_protocol(one, bind, real_networks(scope) if states_by_header(scope) else (), self._site)
        return found or {self._site.add_listener("0.0.0.0:80"): ()}

    def _hosts(self, scope: Scope) -> list[str]:
        found: list[str] = []
        for one in scope.here("server_name"):
            for name in one.args:
                if name.startswith("~") or name.endswith(".*") or "$" in name:
                    self._site.lose(
                        one.place, f"server_name {name}", "host is a name, or a wildcard such as *.example.com"
                    )
                elif name.startswith("."):
                    found += [literal(name[1:]), literal(f"*{name}")]
                elif name not in ("_", "", "*") and not name.startswith("_"):
                    found.append(literal(name.lower()))
        return list(dict.fromkeys(found))

    def _add_certificate(self, scope: Scope) -> None:
        pairs = zip(scope.all("ssl_certificate"), scope.all("ssl_certificate_key"), strict=False)
        for cert, key in pairs:
            pair = {"cert": literal(cert.args[0]), "key": literal(key.args[0])}
            tls = self._site.settings.setdefault("tls", {})
            found = tls.setdefault("certificates", [])
            if pair not in found:
                found.append(pair)


def _client_authority(server: Directive, scope: Scope, site: Site) -> ClientAuthority:
    """`ssl_verify_client`, `ssl_client_certificate` and `ssl_crl` of a server."""
    ca, crl = scope.value("ssl_client_certificate"), scope.value("ssl_crl")
    one = scope.last("ssl_verify_client")
    mode = _VERIFICATIONS.get(one.args[0] if one and one.args else "off", "")
    if one and one.args[:1] == ("optional_no_ca",):
        site.lose(one.place, one.text, 'a certificate is always verified: client_certificates = "optional"')
    elif one and mode and not ca:
        site.lose(one.place, one.text, "client_ca of the listener has the authorities")
    place, title = (one.place, one.text) if one else (server.place, server.text)
    return ClientAuthority(place, title, mode, literal(ca), literal(crl))


def _set_globals(site: Site, scope: Scope) -> None:
    """Settings that lbflask has for all requests only: those of `http`, else of the first server."""
    every = [scope, *(scope.inner(one.block or ()) for one in scope.blocks[0] if one.name == "server")]
    _set_trusted(site, every)
    _set_tls(site, every)
    _set_client_times(site, every)
    _set_head_limits(site, every)
    for inner in every:
        if one := inner.last("access_log"):
            _set_access_log(site, one)
    for inner in every:
        if inner.value("server_tokens") == "off":
            site.set_default("via", "")


def _set_trusted(site: Site, every: Sequence[Scope]) -> None:
    """`set_real_ip_from` with fields of requests; servers inherit that of `http`."""
    networks: list[str] = []
    for scope in every[1:] or every:
        for one in scope.all("real_ip_header", "real_ip_recursive"):
            if one.args[:1] not in (("X-Forwarded-For",), ("X-Real-IP",), ("proxy_protocol",), ("on",), ("off",)):
                site.lose(one.place, one.text, "trusted_proxies takes X-Forwarded-For, Forwarded and X-Real-IP")
        found = real_networks(scope)
        networks += [] if states_by_header(scope) else found
    if networks:
        site.set_default("trusted_proxies", list(dict.fromkeys(networks)))


def _set_tls(site: Site, every: Sequence[Scope]) -> None:
    if "tls" not in site.settings:
        return
    for scope in every:
        if one := scope.last("ssl_protocols"):
            site.set_default("tls.minimum", "TLSv1.3" if set(one.args) == {"TLSv1.3"} else "TLSv1.2")
        if one := scope.last("ssl_ciphers"):
            site.set_default("tls.ciphers", literal(one.args[0]))


def _set_client_times(site: Site, every: Sequence[Scope]) -> None:
    for name, key in (("client_header_timeout", "client_head"), ("client_body_timeout", "client_body")):
        for scope in every:
            if (one := scope.last(name)) and (seconds := seconds_of(" ".join(one.args))):
                site.set_default(f"timeouts.{key}", seconds)


def _set_access_log(site: Site, one: Directive) -> None:
    site.set_default("access_log", "" if one.args[:1] == ("off",) else literal(one.args[0]))
    if one.args[:1] != ("off",) and one.args[1:2] in ((), ("combined",)):
        site.set_default("access_log_format", "combined")
    for option in one.args[2:]:
        if option.startswith("if="):
            site.lose(one.place, one.text, "access_log_filter has statuses, and prefixes of paths")


def _set_head_limits(site: Site, every: Sequence[Scope]) -> None:
    """`large_client_header_buffers`: the size of one is that of a field, and of the request line."""
    for scope in every:
        one = scope.last("large_client_header_buffers")
        size = bytes_of(one.args[1]) if one and len(one.args) == 2 else None
        if one and size:
            site.set_default("limits.field_size", min(max(size, _FIELD_BYTES[0]), _FIELD_BYTES[1]))
            if size > _LINE_BYTES:
                site.differ(one.place, one.text, f"a request line has at most {_LINE_BYTES} bytes")


def _report(site: Site, one: Directive) -> None:
    if one.name == "map" and one.args[:1] == ("$http_upgrade",):
        site.skip(one.place, one.text, "WebSockets work without it")
        return
    if one.name == "uwsgi_param" and one.args[:1] and one.args[0] not in UWSGI_PARAMETERS:
        site.lose(
            one.place,
            one.text,
            "fields reach the application: request_headers = { set = { X-Name = … } } is HTTP_X_NAME",
        )
    elif one.name == "underscores_in_headers" and one.args == ("on",):
        site.lose(one.place, one.text, "fields whose names have an underscore are dropped: clients have to rename them")
    elif reason := _named(UNNEEDED, one.name):
        site.skip(one.place, one.name, reason)
    else:
        reason = _named(LOST, one.name) or "no equal is known; look for it in docs/configuration.md"
        site.lose(one.place, one.text, reason)


def _named(table: Mapping[str, str], name: str) -> str:
    """The reason for a name, or for one that begins as a key with a star at its end."""
    found = [key for key in table if key.endswith("*") and name.startswith(key[:-1])]
    return table.get(name) or (table[max(found, key=len)] if found else "")
