"""Reads nginx's configuration: `upstream`, `server` and what belongs to them (nginx.org/en/docs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive, Ledger, Scope
from lbflask.importers.literals import literal, seconds_of
from lbflask.importers.nginx.actions import Actions
from lbflask.importers.nginx.files import directives_of
from lbflask.importers.nginx.routes import ServerRoutes
from lbflask.importers.nginx.unneeded import LOST, UNNEEDED
from lbflask.importers.nginx.upstreams import Upstream
from lbflask.importers.site import Site

_PROTOCOLS = {"TLSv1.3": "TLSv1.3", "TLSv1.2": "TLSv1.2"}


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
        for number, (one, inner) in enumerate(self._servers):
            hosts = self._hosts(inner)
            names = {"server_name": next(iter(hosts), "")} if hosts else {}
            routes = ServerRoutes(self._site, self._actions, inner, one.place, names)
            for binds, is_default in self._groups(number):
                base: dict[str, Any] = {} if is_default else {"host": hosts if len(hosts) > 1 else "".join(hosts)}
                if not alike:
                    base["listener"] = binds
                if is_default or hosts:
                    self._site.add_routes(routes.routes(base))
                else:
                    self._site.skip(one.place, "server", "no request reaches it: it has no name, and is no default")
            self._add_certificate(inner)

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
            bind, options = _address(one.args[0]), one.args[1:]
            v4 = bind.replace("[::]:", "0.0.0.0:")
            if bind != v4 and any(_address(other.args[0]) == v4 for other in listens):
                self._site.differ(one.place, one.text, f'bind = "{bind}" instead of {v4} serves IPv6 too')
                continue
            for option in options:
                self._check_option(one, option)
            found[self._site.add_listener(bind, tls="ssl" in options)] = options
        return found or {self._site.add_listener("0.0.0.0:80"): ()}

    def _check_option(self, one: Directive, option: str) -> None:
        name = option.partition("=")[0]
        if name in ("http2", "quic"):
            self._site.differ(
                one.place, f"listen … {option}", "clients use HTTP/1.1; HTTP/2 needs a terminator in front"
            )
        elif name == "proxy_protocol":
            self._site.lose(one.place, f"listen … {option}", "listeners.proxy_protocol names the networks that send it")
        elif name in (
            "reuseport",
            "backlog",
            "so_keepalive",
            "deferred",
            "rcvbuf",
            "sndbuf",
            "fastopen",
            "ipv6only",
            "bind",
        ):
            self._site.skip(one.place, f"listen … {option}", "is gunicorn's, or not needed")
        elif name not in ("ssl", "default_server", "default"):
            self._site.lose(one.place, f"listen … {option}", "not known")

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


def _address(text: str) -> str:
    """`80`, `*:80`, `127.0.0.1`, `[::]:80`, `unix:/path` as an address with a port."""
    if text.startswith("unix:"):
        return text
    if text.isdigit():
        return f"0.0.0.0:{text}"
    if ":" not in text or text.endswith("]"):
        text = f"{text}:80"
    return text.replace("*:", "0.0.0.0:")


def _set_globals(site: Site, scope: Scope) -> None:
    """Settings that lbflask has for all requests only: those of `http`, else of the first server."""
    every = [scope, *(scope.inner(one.block or ()) for one in scope.blocks[0] if one.name == "server")]
    _set_trusted(site, every)
    _set_tls(site, every)
    _set_client_times(site, every)
    for inner in every:
        if one := inner.last("access_log"):
            value = "" if one.args[:1] == ("off",) else literal(one.args[0])
            site.set_default("access_log", value)
    for inner in every:
        if inner.value("server_tokens") == "off":
            site.set_default("via", "")


def _set_trusted(site: Site, every: Sequence[Scope]) -> None:
    networks = [one.args[0] for scope in every for one in scope.all("set_real_ip_from") if one.args]
    for scope in every:
        for one in scope.all("real_ip_header", "real_ip_recursive"):
            if one.args[:1] not in (("X-Forwarded-For",), ("X-Real-IP",), ("on",), ("off",)):
                site.lose(one.place, one.text, "trusted_proxies takes X-Forwarded-For, Forwarded and X-Real-IP")
    if networks := [network for network in dict.fromkeys(networks) if network != "unix:"]:
        site.set_default("trusted_proxies", [literal(network) for network in networks])


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


def _report(site: Site, one: Directive) -> None:
    if one.name == "map" and one.args[:1] == ("$http_upgrade",):
        site.skip(one.place, one.text, "WebSockets work without it")
        return
    prefixes: Mapping[str, str] = UNNEEDED
    for name, reason in prefixes.items():
        if one.name == name or (name.endswith("*") and one.name.startswith(name[:-1])):
            site.skip(one.place, one.name, reason)
            return
    site.lose(one.place, one.text, LOST.get(one.name, "no equal is known; look for it in docs/configuration.md"))
