"""nginx's `upstream` blocks and the addresses of `proxy_pass` as pools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.literals import literal, number_of, seconds_of
from lbflask.importers.site import Site, name_of

#: nginx counts one failure in ten seconds.
_MAX_FAILS, _FAIL_TIMEOUT = 1, 10
_UNNEEDED = {"zone": "all workers share their state through the store"}
#: Bounds of the connections that are kept.
_KEPT = {
    "keepalive": "max_idle_connections",
    "keepalive_timeout": "backend_keepalive",
    "keepalive_requests": "backend_max_requests",
    "keepalive_time": "backend_max_age",
}
Setter = Callable[["Upstream", Directive], None]


class Upstream:
    """The settings of the pool of an `upstream`."""

    def __init__(self, block: Directive, site: Site) -> None:
        self._site = site
        self.place, self.name = block.place, block.args[0] if block.args else "upstream"
        self.settings: dict[str, Any] = {}
        self._servers = block.named("server")
        for one in block.block or ():
            if one.name in _UNNEEDED:
                site.skip(one.place, one.text, _UNNEEDED[one.name])
            elif one.name in _SETTERS:
                _SETTERS[one.name](self, one)
            elif one.name != "server":
                site.lose(one.place, one.text, "not known in upstream")

    def pool(self, scheme: str, others: Mapping[str, Any]) -> str:
        """The name of its pool with the scheme, and these settings besides."""
        self._set_ejection()
        backends = [self._backend(one, scheme) for one in self._servers]
        plain = [one["url"] if one.keys() == {"url"} else one for one in backends]
        return self._site.add_pool(self.name, self.place, {**self.settings, "backends": plain, **others})

    def _backend(self, one: Directive, scheme: str) -> dict[str, Any]:
        backend: dict[str, Any] = {"url": backend_url(scheme, one.args[0] if one.args else "")}
        for option in one.args[1:]:
            name, _, value = option.partition("=")
            if name in ("weight", "max_conns") and number_of(value):
                backend["weight" if name == "weight" else "max_connections"] = number_of(value)
            elif name == "backup":
                backend["backup"] = True
            elif name == "down":
                backend["weight"] = 0
            elif name == "slow_start" and seconds_of(value) is not None:
                backend["slow_start"] = seconds_of(value)
            elif name == "resolve":
                self._site.skip(one.place, "resolve", "names of backends are resolved again every five seconds")
            elif name not in ("max_fails", "fail_timeout"):
                self._site.lose(one.place, f"server … {option}", "not known here")
        return backend

    def _set_ejection(self) -> None:
        """`max_fails` and `fail_timeout` are settings of a pool: those of the first server."""
        found = [
            (dict(option.partition("=")[::2] for option in one.args if "=" in option), one) for one in self._servers
        ]
        pairs = [(options.get("max_fails", "1"), options.get("fail_timeout", "10s")) for options, _ in found]
        if not pairs:
            return
        fails, timeout = pairs[0]
        if any(pair != pairs[0] for pair in pairs):
            self._site.differ(
                found[0][1].place, "max_fails, fail_timeout", "are those of the first server for the whole pool"
            )
        seconds = seconds_of(timeout) or _FAIL_TIMEOUT
        if fails == "0":
            self.settings["ejection"] = {"failures": 0}
        elif pairs[0] != ("1", "10s"):
            self.settings["ejection"] = {"failures": number_of(fails), "window": seconds, "duration": seconds}

    def set_strategy(self, one: Directive) -> None:
        """`least_conn`, `random`."""
        self.settings["strategy"] = "least_connections" if one.name == "least_conn" else "random_two"

    def set_kept(self, one: Directive) -> None:
        """`keepalive` and the like."""
        text = one.args[0] if one.args else ""
        is_count = one.name in ("keepalive", "keepalive_requests")
        if value := number_of(text) if is_count else seconds_of(text):
            self.settings[_KEPT[one.name]] = value

    def set_hash(self, one: Directive) -> None:
        """`ip_hash`, `hash`."""
        key = "client" if one.name == "ip_hash" else request_key(one.args[0] if one.args else "")
        if not key:
            self._site.lose(one.place, one.text, "hash.key is client, uri, header:, cookie: or query:NAME")
            return
        self.settings |= {"strategy": "consistent_hash", "hash": {"key": key}}

    def set_sticky(self, one: Directive) -> None:
        """`sticky cookie NAME`."""
        if one.args[:1] != ("cookie",) or len(one.args) < 2:
            self._site.lose(one.place, one.text, '[sticky] makes a cookie of its own: sticky.cookie = "NAME"')
            return
        options = dict(arg.partition("=")[::2] for arg in one.args[2:])
        sticky: dict[str, Any] = {"cookie": one.args[1]}
        for name, key in (("path", "path"), ("domain", "domain"), ("samesite", "same_site")):
            if options.get(name):
                sticky[key] = options[name].lower().lstrip(".") if key != "path" else options[name]
        if seconds := seconds_of(options.get("expires", "")):
            sticky["max_age"] = seconds
        self.settings["sticky"] = {**sticky, **({"secure": True} if "secure" in options else {})}


_SETTERS: Mapping[str, Setter] = {
    "least_conn": Upstream.set_strategy,
    "random": Upstream.set_strategy,
    "ip_hash": Upstream.set_hash,
    "hash": Upstream.set_hash,
    "sticky": Upstream.set_sticky,
    **dict.fromkeys(_KEPT, Upstream.set_kept),
}


def request_key(text: str) -> str:
    """The key of requests that a variable is, as `hash.key` has it; empty for none."""
    for begin, of in (("$http_", "header"), ("$cookie_", "cookie"), ("$arg_", "query")):
        if text.startswith(begin) and re.fullmatch(r"\w+", text[1:]):
            name = text.removeprefix(begin)
            return f"{of}:{name.replace('_', '-') if of == 'header' else name}"
    return _KEYS.get(text, "")


_KEYS = {"$remote_addr": "client", "$binary_remote_addr": "client", "$request_uri": "uri", "$uri": "uri"}


def backend_url(scheme: str, address: str) -> str:
    """The URL of a backend, without the path that `proxy_pass` may have."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").rstrip(":")
        return literal(f"{'uwsgi' if scheme == 'uwsgi' else 'unix'}:{path}")
    _, colon, port = address.rpartition(":")
    if not colon or "]" in port:
        address = f"{address}:{443 if scheme == 'https' else 80}"
    return literal(f"{scheme}://{address}")


def address_name(address: str) -> str:
    """The name of the pool of one address."""
    return name_of(address.removeprefix("unix:").rpartition("/")[2] or address, "backend")
