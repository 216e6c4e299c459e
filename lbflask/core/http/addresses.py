"""Addresses in one form: limits, hashes, trust tests, logs and backends see the same text for the same client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

#: RFC 4291 §2.5.5.2, which a dual-stack listener shows for each client that uses IPv4.
_MAPPED = IPv6Network("::ffff:0:0/96")


def parsed_address(text: str) -> IPAddress | None:
    """The address, as IPv4 if it is mapped into IPv6, and without its zone; None for any other text."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def plain_address(text: str) -> str:
    """The shortest form of an address (RFC 5952), IPv4 without its mapping; any other text as it is."""
    address = parsed_address(text)
    return text if address is None else str(address)


def plain_network(network: IPNetwork) -> IPNetwork:
    """The network that holds the plain forms of its addresses: IPv4 if all of it is mapped."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    mapped = network.network_address.ipv4_mapped
    return ip_network(f"{mapped}/{network.prefixlen - 96}")


def node_address(text: str) -> str:
    """What an element of X-Forwarded-For, or a node of Forwarded (RFC 7239 §6), names: without quotes, brackets, port
    and zone. `unknown` and obfuscated identifiers stay as they are. Empty where nothing is named.
    """
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if text.startswith("["):
        return plain_address(text[1:].partition("]")[0])
    if text.count(":") == 1:
        return plain_address(text.partition(":")[0])
    if parsed_address(text) is None:
        host, _, port = text.rpartition(":")
        if port.isdecimal() and parsed_address(host) is not None:
            return plain_address(host)
    return plain_address(text)
