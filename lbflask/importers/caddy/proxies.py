"""Caddy's `reverse_proxy` as a pool, and as settings of the route to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lbflask.importers.caddy.values import field_value
from lbflask.importers.directives import Directive
from lbflask.importers.literals import number_of, seconds_of
from lbflask.importers.site import Site, merged

_POLICIES = {"round_robin": "round_robin", "least_conn": "least_connections", "random": "random_two", "first": "first"}
_POLICIES |= {"random_choose": "random_two", "weighted_round_robin": "round_robin"}
_HASHES = {"ip_hash": "client", "client_ip_hash": "client", "uri_hash": "uri"}
_UNNEEDED = frozenset({"flush_interval", "buffer_requests", "request_buffers", "response_buffers", "stream_timeout"})
_AUTOMATIC = frozenset(
    {"x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "connection", "upgrade"}
)


def proxy_of(one: Directive, args: Sequence[str], site: Site) -> tuple[str, dict[str, Any]]:
    """The pool, empty without a backend, and the settings of the route."""
    found = _Proxy(one, site)
    targets = [*args, *(arg for inner in one.block or () if inner.name == "to" for arg in inner.args)]
    for inner in one.block or ():
        found.read(inner)
    found.set_backends(targets)
    pool = found.pool
    if not pool.get("backends") and "discovery" not in pool:
        site.lose(one.place, one.text, "it has no backend that can be translated; its routes answer 503")
        return "", found.route
    name = re.sub(r"^.*?//?", "", targets[0]) if targets else "discovered"
    return site.add_pool(name, one.place, pool), found.route


class _Proxy:
    def __init__(self, directive: Directive, site: Site) -> None:
        self._directive, self._site = directive, site
        self.pool: dict[str, Any] = {}
        self.route: dict[str, Any] = {}
        self._most = 0  #: requests at once of each backend

    def read(self, one: Directive) -> None:
        """A line of the block."""
        if one.name.startswith("health_"):
            self._health(one)
        elif setter := _SETTERS.get(one.name):
            setter(self, one)
        elif one.name in _UNNEEDED:
            self._site.skip(one.place, one.text, "bodies stream; [buffering] buffers them")
        elif one.name != "to":
            self._site.lose(one.place, one.text, "not known in reverse_proxy")

    def set_backends(self, targets: Sequence[str]) -> None:
        """The addresses."""
        urls = []
        for target in targets:
            if target.startswith("unix/"):
                urls.append("unix:" + target.removeprefix("unix/"))
                continue
            scheme, _, address = target.rpartition("://")
            if scheme not in ("", "http", "https") or "{" in re.sub(r"\$\{[^{}$]*\}", "", address) or "/" in address:
                self._site.lose(
                    self._directive.place, f"reverse_proxy {target}", "a backend is http:// or https://host:port"
                )
                continue
            scheme = scheme or "http"
            if address.startswith(":"):
                address = f"127.0.0.1{address}"
            if not re.search(r":\d+$|\}$", address):
                address += ":443" if scheme == "https" else ":80"
            urls.append(f"{scheme}://{address}")
        if urls:
            most = self._most
            self.pool["backends"] = [{"url": url, "max_connections": most} for url in urls] if most else urls
        if len(urls) > 1:
            self.pool.setdefault("strategy", "random_two")

    def _health(self, one: Directive) -> None:
        key, value = one.name.removeprefix("health_"), one.args[0] if one.args else ""
        table = self.pool.setdefault("health", {})
        if key == "uri":
            table["path"] = value
        elif key in ("interval", "timeout") and seconds_of(value):
            table[key] = seconds_of(value)
        elif key == "status":
            table["expect_status"] = {"2xx": "200-299", "3xx": "300-399"}.get(value, value)
        elif key == "body":
            table["expect_body"] = value
        elif key in ("port", "passes", "fails") and number_of(value):
            table[{"port": "port", "passes": "rise", "fails": "fall"}[key]] = number_of(value)
        else:
            self._site.lose(one.place, one.text, "docs/health-checks.md has the settings of checks")

    def set_policy(self, one: Directive) -> None:
        """`lb_policy`."""
        policy = one.args[0] if one.args else ""
        name = one.args[1] if len(one.args) > 1 else ""
        if policy in _POLICIES:
            self.pool["strategy"] = _POLICIES[policy]
        elif policy in _HASHES or (policy in ("header", "query") and name):
            key = _HASHES.get(policy) or f"{policy}:{name}"
            self.pool |= {"strategy": "consistent_hash", "hash": {"key": key}}
        elif policy == "cookie":
            self.pool["sticky"] = {"cookie": name or "lb"}
        else:
            self._site.lose(one.place, one.text, "docs/strategies.md has the strategies")

    def set_retries(self, one: Directive) -> None:
        """`lb_retries`."""
        self.pool.setdefault("retries", {})["attempts"] = min(number_of(one.args[0]) if one.args else 0, 10)

    def skip_duration(self, one: Directive) -> None:
        """`lb_try_duration`, `lb_try_interval`."""
        self._site.skip(one.place, one.text, "retries go to another backend at once; retries.attempts bounds them")

    def set_failures(self, one: Directive) -> None:
        """`max_fails`, `fail_duration`."""
        value = one.args[0] if one.args else ""
        table = self.pool.setdefault("ejection", {})
        if one.name == "max_fails" and number_of(value):
            table["failures"] = number_of(value)
        elif seconds := seconds_of(value):
            table |= {"duration": seconds, "window": seconds}

    def set_unhealthy(self, one: Directive) -> None:
        """`unhealthy_status`, `unhealthy_request_count`."""
        if one.name == "unhealthy_request_count":
            self._most = number_of(one.args[0]) if one.args else 0
        elif all(len(arg) == 3 and number_of(arg) for arg in one.args):
            self.pool.setdefault("ejection", {})["statuses"] = [number_of(arg) for arg in one.args]
        elif one.args != ("5xx",):
            self._site.lose(one.place, one.text, "ejection.statuses has numbers; unless set, 5xx fail")

    def set_dynamic(self, one: Directive) -> None:
        """`dynamic a NAME PORT`, `dynamic srv NAME`."""
        options = {inner.name: inner.args[0] for inner in one.block or () if inner.args}
        names = [*one.args[1:], options.get("name", ""), options.get("port", "80")]
        if one.args[:1] == ("a",):
            self.pool["discovery"] = {"source": f"dns://{names[0]}:{names[1] or 80}"}
        elif one.args[:1] == ("srv",):
            self.pool["discovery"] = {"source": f"srv://{names[0]}"}
        else:
            self._site.lose(one.place, one.text, "[discovery] source is dns:// or srv://")

    def set_header(self, one: Directive) -> None:
        """`header_up`, `header_down`."""
        name, values = (one.args[0], one.args[1:]) if one.args else ("", ())
        table = "request_headers" if one.name == "header_up" else "response_headers"
        text = field_value(values[0]) if values else ""
        if table == "request_headers" and name.lower() == "host":
            if values in (("{upstream_hostport}",), ("{http.reverse_proxy.upstream.hostport}",)):
                self.route["preserve_host"] = False
            elif text and "{" not in text:
                self.route["host"] = text
            elif text not in ("{host}", "{authority}"):
                self._site.lose(one.place, one.text, "host is a fixed name")
        elif table == "request_headers" and name.lower() in _AUTOMATIC:
            self._site.skip(one.place, f"header_up {name}", "is always set (docs/forwarding.md)")
        elif len(values) > 1 or text is None:
            self._site.lose(one.place, one.text, "a placeholder without an equal, or a replacement")
        elif name.startswith("-"):
            removed = [*self.route.get(table, {}).get("remove", ()), name[1:]]
            self.route = merged(self.route, {table: {"remove": removed}})
        else:
            key = "add" if name.startswith("+") else "set"
            self.route = merged(self.route, {table: {key: {name.lstrip("+"): text}}})

    def set_transport(self, one: Directive) -> None:
        """`transport http`."""
        times = {"dial_timeout": "connect", "response_header_timeout": "first_byte", "read_timeout": "between_bytes"}
        tls: dict[str, Any] = {}
        for inner in one.block or ():
            value = inner.args[0] if inner.args else ""
            if inner.name in times and seconds_of(value):
                self.pool.setdefault("timeouts", {})[times[inner.name]] = seconds_of(value)
            elif inner.name == "proxy_protocol" and value in ("v1", "v2"):
                self.pool["proxy_protocol"] = value
            elif inner.name == "tls_insecure_skip_verify":
                tls["verify"] = False
            elif inner.name == "tls_server_name":
                tls["server_name"] = value
            elif inner.name in ("tls_trusted_ca_certs", "tls_trust_pool"):
                tls["ca_file"] = inner.args[-1] if inner.args else ""
            elif inner.name in (
                "keepalive",
                "keepalive_idle_conns",
                "keepalive_interval",
                "compression",
                "versions",
                "tls",
            ):
                self._site.skip(inner.place, inner.text, "connections to backends are kept, by HTTP/1.1")
            else:
                self._site.lose(inner.place, inner.text, "not known in transport")
        if tls:
            self.pool["backend_tls"] = tls


_SETTERS: Mapping[str, Callable[[_Proxy, Directive], None]] = {
    "lb_policy": _Proxy.set_policy,
    "lb_retries": _Proxy.set_retries,
    "lb_try_duration": _Proxy.skip_duration,
    "lb_try_interval": _Proxy.skip_duration,
    "max_fails": _Proxy.set_failures,
    "fail_duration": _Proxy.set_failures,
    "unhealthy_status": _Proxy.set_unhealthy,
    "unhealthy_request_count": _Proxy.set_unhealthy,
    "dynamic": _Proxy.set_dynamic,
    "header_up": _Proxy.set_header,
    "header_down": _Proxy.set_header,
    "transport": _Proxy.set_transport,
}
