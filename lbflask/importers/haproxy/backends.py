"""HAProxy's backends as pools: servers, balance, checks, cookies, time-outs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.server_options import FLAGS, LOST, SETTINGS, UNNEEDED
from lbflask.importers.literals import number_of, seconds_of
from lbflask.importers.site import Site, merged

_STRATEGIES = {
    "roundrobin": "round_robin",
    "static-rr": "round_robin",
    "leastconn": "least_connections",
    "first": "first",
}
_TIMES: Mapping[str, tuple[str, ...]] = {
    "connect": ("connect",),
    "server": ("first_byte", "between_bytes"),
    "tunnel": ("tunnel_idle",),
}
#: Limits of connections without HTTP: those of either side, or of a tunnel, which comes before them.
_IDLE = ("client", "server", "tunnel")


class ImportedBackend:
    """A backend with the lines of the `defaults` before it."""

    def __init__(self, section: Directive, defaults: Sequence[Directive], site: Site) -> None:
        self._site = site
        self.section = section
        self.name = section.args[0] if section.args else "backend"
        self.lines = [*defaults, *(section.block or ())]
        self.settings: dict[str, Any] = {}
        self._health: dict[str, Any] = {}
        self._tls: dict[str, Any] = {}
        self._is_tcp = self._has_tunnel = False

    def pool(self, others: Mapping[str, Any], *, is_tcp: bool = False) -> str:
        """The name of its pool, with these settings besides. The settings of its lines are read once."""
        self._is_tcp = is_tcp
        for one in self.lines:
            if setter := _SETTERS.get(one.name):
                setter(self, one)
        if self.section.name == "backend" and not is_tcp:  # those of others are settings of their routes
            self.settings |= compression_of(self.section.block or (), self._site)
        backends = [backend for one in self.lines if one.name == "server" for backend in self._server(one)]
        for one in (line for line in self.lines if line.name == "server-template"):
            self._template(one)
        found = merged(self.settings, {"health": self._health} if self._health else {}, others)
        if self._tls:
            found["backend_tls"] = self._tls
        plain = [one["url"] if one.keys() == {"url"} else one for one in backends]
        if not plain and "discovery" not in found:
            self._site.lose(self.section.place, self.section.text, "it has no server; its routes answer 503")
            return ""
        return self._site.add_pool(self.name, self.section.place, {**({"backends": plain} if plain else {}), **found})

    def _server(self, one: Directive) -> list[dict[str, Any]]:
        if len(one.args) < 2:
            self._site.lose(one.place, one.text, "has no address")
            return []
        options = self._options(one, (*self._defaults(), *one.args[2:]))
        if self._is_tcp and "ssl" in options:
            self._site.lose(one.place, f"{one.name} … ssl", "connections without HTTP are passed on as they are")
        url = self._url(one.args[1], tls="ssl" in options)
        backend: dict[str, Any] = {"url": url, "name": re.sub(r"[^A-Za-z0-9._-]", "-", one.args[0])[:60]}
        weight = options.get("weight", "")
        if "disabled" in options or weight == "0":
            backend["weight"] = 0
        elif number_of(weight) > 1:
            backend["weight"] = number_of(weight)
        if "backup" in options:
            backend["backup"] = True
        if number_of(options.get("maxconn", "")):
            backend["max_connections"] = number_of(options["maxconn"])
        if slow := seconds_of(options.get("slowstart", ""), 0.001):
            backend["slow_start"] = slow
        self._set_checks(options)
        self._set_tls(one, options)
        return [backend]

    def _defaults(self) -> tuple[str, ...]:
        return tuple(arg for one in self.lines if one.name == "default-server" for arg in one.args)

    def _options(self, one: Directive, words: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        at = 0
        while at < len(words):
            name = words[at]
            at += 1
            if name in FLAGS:
                found[name] = ""
            else:
                found[name] = words[at] if at < len(words) else ""
                at += 1
            if name.startswith("send-proxy"):
                self.settings["proxy_protocol"] = "v1" if name == "send-proxy" else "v2"
            elif name in UNNEEDED:
                self._site.skip(one.place, f"server … {name}", UNNEEDED[name])
            elif name in LOST or name not in FLAGS | SETTINGS:
                self._site.lose(one.place, f"server … {name}", LOST.get(name, "not known"))
        return found

    def _url(self, address: str, *, tls: bool) -> str:
        scheme = "tcp" if self._is_tcp else "https" if tls else "http"
        address = re.sub(r"^(ipv4|ipv6)@", "", address)
        if address.startswith(("/", "unix@")):
            return "unix:" + address.removeprefix("unix@")
        host, colon, port = address.rpartition(":")
        if not colon or not port:
            address = f"{(host or port) if colon else address}:{443 if tls else 80}"
        return f"{scheme}://{address}"

    def _set_checks(self, options: Mapping[str, str]) -> None:
        for name, key in (("inter", "interval"), ("fastinter", "fast_interval")):
            if seconds := seconds_of(options.get(name, ""), 0.001):
                self._health[key] = seconds
        for key in ("rise", "fall", "port"):
            if number_of(options.get(key, "")):
                self._health[key] = number_of(options[key])
        if options.get("on-marked-down") == "shutdown-sessions":
            self._health["long_connections"] = "close"
        if "observe" in options:  # HAProxy counts ten errors unless there is another limit
            self.settings["ejection"] = {"failures": number_of(options.get("error-limit", "")) or 10}
        if most := number_of(options.get("pool-max-conn", "")):
            self.settings["max_idle_connections"] = most
        if length := number_of(options.get("maxqueue", "")):
            self.settings.setdefault("queue", {})["length"] = length

    def _set_tls(self, one: Directive, options: Mapping[str, str]) -> None:
        if "ssl" not in options or self._is_tcp:
            return
        if options.get("verify") == "none":
            self._tls["verify"] = False
        for name, key in (("ca-file", "ca_file"), ("crt", "certificate"), ("verifyhost", "server_name")):
            if options.get(name):
                self._tls[key] = options[name]
                if name == "crt":
                    self._tls["key"] = options[name]
        sni = re.fullmatch(r"str\(([^)]*)\)", options.get("sni", ""))
        if sni:
            self._tls["server_name"] = sni[1]
        elif options.get("sni"):
            self._site.lose(one.place, f"server … sni {options['sni']}", "backend_tls.server_name is one name")

    def _template(self, one: Directive) -> None:
        if len(one.args) < 3:
            self._site.lose(one.place, one.text, "has no address")
            return
        address = one.args[2]
        source = f"srv://{address.partition(':')[0]}" if address.startswith("_") else f"dns://{address}"
        self.settings["discovery"] = {"source": source}
        self._set_checks(self._options(one, (*self._defaults(), *one.args[3:])))

    def set_balance(self, one: Directive) -> None:
        """`balance`."""
        algorithm = one.args[0] if one.args else "roundrobin"
        keys = {"source": "client", "uri": "uri"}
        named = re.fullmatch(r"hdr\(([^)]+)\)", algorithm)
        if algorithm in _STRATEGIES:
            self.settings["strategy"] = _STRATEGIES[algorithm]
            self.settings.pop("hash", None)
        elif algorithm.startswith("random"):
            self.settings["strategy"] = "random_two"
        elif algorithm in keys or named or (algorithm == "url_param" and len(one.args) > 1):
            key = keys.get(algorithm) or (f"header:{named[1]}" if named else f"query:{one.args[1]}")
            self.settings |= {"strategy": "consistent_hash", "hash": {"key": key}}
        else:
            self._site.lose(one.place, one.text, "docs/strategies.md has the strategies")

    def set_cookie(self, one: Directive) -> None:
        """`cookie NAME insert`."""
        if self._is_tcp:
            self._site.lose(one.place, one.text, 'connections without HTTP: strategy = "consistent_hash"')
        elif "insert" in one.args and one.args:
            sticky: dict[str, Any] = {"cookie": one.args[0]}
            sticky |= {"secure": True} if "secure" in one.args else {}
            options = dict(zip(one.args, one.args[1:], strict=False))
            if options.get("domain"):
                sticky["domain"] = options["domain"].lstrip(".")
            if seconds := seconds_of(options.get("maxlife", "")):
                sticky["max_age"] = seconds
            self.settings["sticky"] = sticky
        else:
            self._site.lose(one.place, one.text, "[sticky] makes a cookie of its own, as `insert` does")

    def set_time(self, one: Directive) -> None:
        """`timeout NAME TIME`."""
        name, seconds = one.args[0] if one.args else "", seconds_of("".join(one.args[1:2]), 0.001)
        if not seconds:
            self._site.lose(one.place, one.text, "no time: a variable of the environment is for texts only")
            return
        if self._is_tcp and name in _IDLE:
            times = self.settings.setdefault("timeouts", {})
            if name == "tunnel" or not self._has_tunnel:
                times["tunnel_idle"] = seconds
            self._has_tunnel = self._has_tunnel or name == "tunnel"
        elif name in _TIMES:
            self.settings.setdefault("timeouts", {}).update(dict.fromkeys(_TIMES[name], seconds))
        elif name == "queue":
            self.settings.setdefault("queue", {})["timeout"] = seconds
        elif name == "check":
            self._health["timeout"] = seconds

    def set_option(self, one: Directive) -> None:
        """`option httpchk`."""
        if one.args[:1] != ("httpchk",):
            return
        words = one.args[1:]
        self._health["kind"] = "http"
        method, path = (words[0], words[1]) if len(words) > 1 else ("OPTIONS", words[0]) if words else ("", "")
        if path.startswith("/"):
            self._health |= {"method": method, "path": path}
        if host := re.search(r"Host:\s*(\S+)", " ".join(words[2:]), re.IGNORECASE):
            self._health["host"] = host[1]

    def set_check(self, one: Directive) -> None:
        """`http-check send`, `http-check expect`."""
        words = list(one.args)
        if words[:1] == ["expect"]:
            self._expect(one, [part for part in words[1:] if part != "!"], negated="!" in words)
        elif words[:1] == ["send"]:
            options = dict(zip(words[1::2], words[2::2], strict=False))
            for name, key in (("meth", "method"), ("uri", "path")):
                if name in options:
                    self._health[key] = options[name]
            host = re.search(r"hdr\s+host\s+(\S+)", " ".join(words), re.IGNORECASE)
            if host:
                self._health["host"] = host[1]
        else:
            self._site.lose(one.place, one.text, "[health] has one request")

    def _expect(self, one: Directive, words: Sequence[str], *, negated: bool) -> None:
        kind, value = (words[0], " ".join(words[1:])) if words else ("", "")
        if negated or kind not in ("status", "rstatus", "string", "rstring"):
            self._site.lose(one.place, one.text, "health.expect_status and expect_body")
        elif kind == "status":
            self._health["expect_status"] = value
        elif kind == "rstatus":
            ranges = {
                "^2": "200-299",
                "^[23]": "200-399",
                "2..": "200-299",
                "[23]..": "200-399",
                "^2[0-9][0-9]": "200-299",
            }
            if found := ranges.get(value.strip('"')):
                self._health["expect_status"] = found
            else:
                self._site.lose(one.place, one.text, 'health.expect_status = "200-299"')
        else:
            self._health["expect_body"] = re.escape(value) if kind == "string" else value

    def set_retries(self, one: Directive) -> None:
        """`retries N`."""
        if one.args and one.args[0].isdecimal():
            self.settings.setdefault("retries", {})["attempts"] = min(number_of(one.args[0]), 10)

    def set_retry_on(self, one: Directive) -> None:
        """`retry-on`."""
        statuses = [number_of(part) for part in one.args if number_of(part)]
        if "none" in one.args:
            self.settings.setdefault("retries", {})["attempts"] = 0
        elif "all-retryable-errors" in one.args:
            statuses = sorted({*statuses, 500, 502, 503, 504})
        if statuses:
            self.settings.setdefault("retries", {})["statuses"] = statuses


_SETTERS: Mapping[str, Callable[[ImportedBackend, Directive], None]] = {
    "balance": ImportedBackend.set_balance,
    "cookie": ImportedBackend.set_cookie,
    "timeout": ImportedBackend.set_time,
    "option": ImportedBackend.set_option,
    "http-check": ImportedBackend.set_check,
    "retries": ImportedBackend.set_retries,
    "retry-on": ImportedBackend.set_retry_on,
}


def compression_of(lines: Sequence[Directive], site: Site) -> dict[str, Any]:
    """`compression algo`, `type` and `offload` of a section. All types without `type`."""
    found: dict[str, Any] = {}
    for one in (line for line in lines if line.name == "compression"):
        kind, values = one.args[0] if one.args else "", list(one.args[1:])
        if kind in ("algo", "algo-res"):
            if "gzip" not in values:
                site.differ(one.place, one.text, "gzip; clients that accept deflate accept it too")
            found["encodings"] = ["gzip"]
        elif kind in ("type", "type-res"):
            found.setdefault("types", []).extend(f"{value}*" if value.endswith("/") else value for value in values)
        elif kind == "offload":
            reason = 'backends may compress too: request_headers = { remove = ["Accept-Encoding"] }'
            site.differ(one.place, one.text, reason)
        else:
            site.lose(one.place, one.text, "docs/how-to/compression.md has the settings")
    if "encodings" not in found:
        return {}
    return {"compression": {"types": ["text/*", "application/*"], "min_length": 1, **found}}
