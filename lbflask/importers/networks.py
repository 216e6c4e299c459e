"""Lists of networks of which the first entry that has an address decides, as `access`, where the most specific does.

The two are alike but for entries that an earlier one covers, which count in the second only, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

EVERY = "all"
#: Each address: for settings that name networks, not `all`.
EVERY_NETWORK = ("0.0.0.0/0", "::/0")
_Network = IPv4Network | IPv6Network | None


def access_of(rules: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    """The keys of `access` for rules in their order: whether they admit, and a network, an address, `unix`, `all`, or
    `file:PATH`. Addresses that no rule has are admitted.
    """
    kept: list[tuple[bool, str, _Network]] = []
    otherwise = True
    for admits, text in rules:
        if text == EVERY:
            otherwise = admits
            break
        network = _network(text)
        if not any(_covers(earlier, network) or name == text for _, name, earlier in kept):
            kept.append((admits, text if network is None else _shown(network), network))
    allow, deny = ([text for admits, text, _ in kept if admits is wanted] for wanted in (True, False))
    if otherwise:
        return {**({"allow": [EVERY, *allow]} if allow else {}), "deny": deny} if deny else {}
    return {"allow": allow, **({"deny": deny} if deny else {})} if allow else {"deny": [EVERY]}


def is_file(text: str) -> bool:
    """Whether an entry names a file of networks."""
    return text.startswith("file:")


def _network(text: str) -> _Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _shown(network: IPv4Network | IPv6Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _covers(outer: _Network, inner: _Network) -> bool:
    if isinstance(outer, IPv4Network) and isinstance(inner, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and isinstance(inner, IPv6Network) and inner.subnet_of(outer)
