"""Hosts as names to compare: in small letters, without port and without the dot of the root."""

from __future__ import annotations

from ipaddress import IPv6Address


def host_of(authority: str) -> str:
    """The host of a Host field: an IPv6 address in brackets and in its shortest form, all else as it came."""
    host = authority.lower()
    if host.startswith("["):
        inner = host[1:].partition("]")[0]
        try:
            return f"[{IPv6Address(inner).compressed}]"
        except ValueError:
            return f"[{inner}]"
    return host.partition(":")[0].removesuffix(".")
