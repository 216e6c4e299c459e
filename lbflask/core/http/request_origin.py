"""The origin of a request: the peer's address, or the statements of a trusted proxy. Other peers are not believed."""

from __future__ import annotations

from typing import NamedTuple

from lbflask.core.http.addresses import node_address
from lbflask.core.http.forwarded import Element, forwarded_element, forwarded_elements
from lbflask.core.http.trusted_proxies import TrustedProxies

_DEFAULT_PORTS = {"https": "443", "wss": "443"}


class RequestOrigin(NamedTuple):
    """The client's address, and the scheme, host and port of the URL that it asked for.

    `path` are the addresses from the client's to the last one before the peer; empty if the client is the peer.
    """

    client: str
    scheme: str
    host: str
    port: str
    path: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, towards this balancer or a trusted proxy before it."""
        return default_port(self.scheme) == "443"

    def elements(self, peer: str) -> str:
        """The path and the peer as a Forwarded field (RFC 7239 §7.4); the first element has host and scheme."""
        first, *others = (*self.path, peer)
        return ", ".join([forwarded_element(first, self.host, self.scheme), *(forwarded_element(n) for n in others)])


def origin_of(
    claims: list[tuple[str, str]], peer: str, scheme: str, host: str, is_trusted: TrustedProxies
) -> RequestOrigin:
    """The origin of a request whose peer is a trusted proxy, and states these claims: names in small letters.

    `scheme` and `host` are those of the request itself. Forwarded counts where no X-Forwarded-For, -Proto and -Host
    are there: a proxy that writes only one of the two forwards the other one from any client.
    """
    values = dict(reversed(claims))
    lines = [value for name, value in claims if name == "x-forwarded-for" and value]
    said_scheme, said_host = values.get("x-forwarded-proto", ""), values.get("x-forwarded-host", "")
    nodes = [node for line in lines for node in line.split(",") if node.strip(" \t")]
    elements: list[Element] = []
    if not (lines or said_scheme or said_host):
        elements = forwarded_elements(value for name, value in claims if name == "forwarded")
        nodes = [element.get("for", "unknown") for element in elements]
    path = _path(nodes, is_trusted)
    if elements:
        element = elements[-max(1, len(path))]  # the last one is the peer's
        said_scheme, said_host = element.get("proto", ""), element.get("host", "")
    scheme, host = said_scheme or scheme, said_host or host
    port = _port(values.get("x-forwarded-port", "")) or port_of(host) or default_port(scheme)
    return RequestOrigin(path[0] if path else peer, scheme, host, port, path)


def _path(nodes: list[str], is_trusted: TrustedProxies) -> tuple[str, ...]:
    """The addresses from the last node that is no trusted proxy on; from the farthest proxy if all are trusted.

    Read from right to left, since whatever stands left of the first stranger is the stranger's own claim. A node that
    is neither an address, nor `unknown`, nor an obfuscated identifier (RFC 7239 §6) of 128 characters at most, is no
    client, and ends the reading.
    """
    path: list[str] = []
    for node in reversed(nodes):
        address = node_address(node)
        if not loggable(address):
            break
        path.append(address)
        if not is_trusted(address):
            break
    return tuple(reversed(path))


def port_of(authority: str) -> str:
    """The port that a Host field names, or the first of several; empty if it names none."""
    authority = authority.partition(",")[0].rstrip(" \t")
    port = authority[authority.rfind("]") + 1 :].partition(":")[2]
    return _port(port)


def _port(text: str) -> str:
    """The port without leading zeros; empty for what is no port of TCP."""
    text = text.lstrip("0")
    return text if len(text) <= 5 and text.isascii() and text.isdecimal() and int(text) <= 65_535 else ""


def default_port(scheme: str) -> str:
    """The port of a URL that names none; the first scheme of several counts."""
    return _DEFAULT_PORTS.get(scheme.partition(",")[0].strip(" \t").lower(), "80")


def loggable(value: str) -> bool:
    """Whether a text that a client chooses may go into logs: only when it is short and printable."""
    return 0 < len(value) <= 128 and value.isascii() and value.isprintable() and " " not in value
