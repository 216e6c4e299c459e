"""The networks whose addresses are trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from lbflask.core.http.addresses import IPNetwork, parsed_address, plain_network

#: Cached addresses. Proxies copy the claims of clients, so the cache needs a bound.
MAX_CACHED = 4096


class TrustedProxies:
    """Tests whether an address belongs to a trusted proxy; caches the results for a bounded number of addresses."""

    __slots__ = ("_contains", "_networks")

    def __init__(self, networks: Iterable[IPNetwork] = ()) -> None:
        self._networks = tuple(map(plain_network, networks))
        self._contains = lru_cache(MAX_CACHED)(self._computed)

    def __repr__(self) -> str:
        return f"TrustedProxies({', '.join(map(str, self._networks))})"

    def __call__(self, address: str) -> bool:
        """False for anything that is not an IP address inside a trusted network."""
        return bool(self._networks) and self._contains(address)

    def _computed(self, text: str) -> bool:
        address = parsed_address(text)
        return address is not None and any(address in network for network in self._networks)
