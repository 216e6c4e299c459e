"""IP addresses in one form, so that limits, hashes, trust tests, logs and backends get the same text for a client."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

#: IPv4-mapped addresses (RFC 4291 §2.5.5.2), which a dual-stack listener reports for IPv4 clients.
_MAPPED = IPv6Network("::ffff:0:0/96")
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._-]+", re.ASCII)
#: RFC 7239 §6: a port of a node; empty ones are common.
_PORT = re.compile(r"[0-9]{0,5}|" + _OBFUSCATED.pattern, re.ASCII)


def parsed_address(text: str) -> IPAddress | None:
    """The address, as IPv4 if it is mapped into IPv6, and without its zone; None for any other text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        address = IPv6Address(int(address))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def plain_address(text: str) -> str:
    """The shortest form of an address (RFC 5952), IPv4 without its mapping; any other text as it is."""
    address = parsed_address(text)
    return text if address is None else str(address)


def plain_network(network: IPNetwork) -> IPNetwork:
    """The network of the plain forms of its addresses: IPv4 if all of it is mapped."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    mapped = network.network_address.ipv4_mapped
    return ip_network(f"{mapped}/{network.prefixlen - 96}")


def is_obfuscated(text: str) -> bool:
    """Whether it is an obfuscated identifier (RFC 7239 §6.3), which begins with an underscore."""
    return _OBFUSCATED.fullmatch(text) is not None


def node_address(text: str) -> str:
    """The address in an element of X-Forwarded-For, or in a node of Forwarded (RFC 7239 §6), without quotes, brackets,
    port and zone. `unknown` and obfuscated identifiers are kept; empty for any other text.
    """
    host, port = _host_and_port(_unquoted(text.strip(" \t")))
    if not _PORT.fullmatch(port[1:]):
        return ""
    address = parsed_address(host)
    if address is not None:
        return str(address)
    if host.lower() == "unknown":
        return "unknown"
    return host if is_obfuscated(host) else ""


def plain_nodes(line: str) -> str:
    """The elements of a line with IPv4 addresses as such where they are mapped into IPv6; all else as it is."""
    return ",".join(map(plain_node, line.split(",")))


def plain_node(text: str) -> str:
    """The element or node with an IPv4 address as such where it was mapped into IPv6; any other as it is."""
    node = text.strip(" \t")
    host, port = _host_and_port(_unquoted(node))
    address = parsed_address(host) if ":" in host else None
    if address is None or address.version == 6:
        return text
    plain = f"{address}{port}"
    return text.replace(node, f'"{plain}"' if node[0] == '"' else plain)


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] == text[-1:] == '"' else text


def _host_and_port(node: str) -> tuple[str, str]:
    """The host without brackets, and what follows it, which begins with a colon if it is well-formed."""
    if node.startswith("["):
        host, bracket, port = node[1:].partition("]")
        if bracket and ":" in host and port[:1] in ("", ":"):
            return host, port
    host, colon, port = node.rpartition(":")
    if node.count(":") == 1 or (port.isdecimal() and parsed_address(node) is None and parsed_address(host) is not None):
        return host, colon + port
    return node, ""
