"""HAProxy's `bind` as listeners: addresses, certificates, the PROXY protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.client_authorities import OPTIONAL, REQUIRED, ClientAuthority, set_client_authorities
from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.checks import expect_proxy
from lbflask.importers.networks import EVERY_NETWORK
from lbflask.importers.site import Site

_VALUED = frozenset(
    {"crt", "ca-file", "crl-file", "verify", "alpn", "ciphers", "ciphersuites", "ssl-min-ver", "ssl-max-ver", "name"}
    | {"maxconn", "backlog", "process", "thread", "interface", "id", "mode", "user", "group", "uid", "gid", "crt-list"}
    | {"ca-ignore-err", "crt-ignore-err", "curves", "ecdhe", "npn", "nice", "tcp-ut", "mss", "level", "shards"}
)


class BindReader:
    """Reads the `bind` lines of one section."""

    def __init__(self, site: Site, section: Directive) -> None:
        self._site, self._section = site, section
        self._expected = expect_proxy(section)

    def listeners(self) -> list[str]:
        """The addresses of its listeners for HTTP, which are added."""
        return [bind for one in self._section.named("bind") for bind in self._bind(one)]

    def passing(self, settings: Mapping[str, Any]) -> None:
        """Add its listeners for connections without HTTP."""
        for one in self._section.named("bind"):
            if "ssl" in one.args:
                self._site.lose(one.place, one.text, "TLS ends here for HTTP only: keep HAProxy for it")
                continue
            for address in _addresses(one):
                self._site.add_listener(address, **settings)
                self._set_proxy_protocol(one, address)

    def _bind(self, one: Directive) -> list[str]:
        options = _options(one.args[1:])
        self._set_certificates(one, options)
        if any("h2" in part for part in options.get("alpn", ())):
            self._site.differ(one.place, "bind … alpn h2", "clients use HTTP/1.1; HTTP/2 needs a terminator in front")
        if "TLSv1.3" in options.get("ssl-min-ver", ()):
            self._site.set_default("tls.minimum", "TLSv1.3")
        if ciphers := options.get("ciphers"):
            self._site.set_default("tls.ciphers", ciphers[0])
        mode = {"required": REQUIRED, "optional": OPTIONAL}.get("".join(options.get("verify", ())), "")
        ca, crl = ("".join(options.get(name, ("",))[:1]) for name in ("ca-file", "crl-file"))
        found = _addresses(one)
        for address in found:
            self._site.add_listener(address, tls="ssl" in options)
            set_client_authorities(self._site, address, [ClientAuthority(one.place, one.text, mode, ca, crl)])
            self._set_proxy_protocol(one, address)
        return found

    def _set_certificates(self, one: Directive, options: Mapping[str, Sequence[str]]) -> None:
        for file in options.get("crt", ()):
            pairs = self._site.settings.setdefault("tls", {}).setdefault("certificates", [])
            if {"cert": file, "key": file} not in pairs:
                pairs.append({"cert": file, "key": file})
            if file.endswith("/"):
                self._site.differ(one.place, one.text, "tls.certificates names each file of the directory")
        if "crt-list" in options:
            self._site.lose(one.place, one.text, "tls.certificates names each file of the list")

    def _set_proxy_protocol(self, one: Directive, address: str) -> None:
        if self._expected:
            self._site.set_listener(address, {"proxy_protocol": self._expected})
        elif "accept-proxy" in one.args:
            self._site.set_listener(address, {"proxy_protocol": list(EVERY_NETWORK)})
            reason = "as here, every peer can state any client: name the networks of the proxy in front"
            self._site.differ(one.place, "bind … accept-proxy", reason)


def _addresses(one: Directive) -> list[str]:
    return list(dict.fromkeys(map(_address, (one.args[0] if one.args else "").split(","))))


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    values = iter(words)
    for name in values:
        found.setdefault(name, []).extend([next(values, "")] if name in _VALUED else [])
    return found


def _address(text: str) -> str:
    text = re.sub(r"^(ipv4|ipv6)@", "", text)
    if text.startswith(("/", "unix@")):
        return "unix:" + text.removeprefix("unix@")
    host, _, port = text.rpartition(":")
    host = "0.0.0.0" if host in ("", "*") else "[::]" if host == "::" else host
    return f"{host}:{port or 80}"
