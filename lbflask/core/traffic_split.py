"""Chooses one of several pools by the key of a request, so that a client stays in its pool.

Each pair of key and pool has a hash, and the key goes to the pool with the best hash for its share, as in
core/strategies/consistent_hash.py: if shares change, the fewest possible keys move.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from lbflask.core.strategies.hashing import hash_of, mixed

_WHOLE = 2.0**64


class WeightedSplit:
    """Pools with their shares, at least one above 0. Routes with different names split differently."""

    __slots__ = ("_salt", "_shares")

    def __init__(self, route: str, shares: Mapping[str, float]) -> None:
        self._salt = hash_of(route)
        self._shares = tuple((pool, mixed(hash_of(pool)), share) for pool, share in shares.items() if share > 0)

    def pool(self, key: str) -> str:
        """The pool of the key."""
        hashed = mixed(hash_of(key) ^ self._salt)
        return min((-log((mixed(hashed ^ seed) + 0.5) / _WHOLE) / share, pool) for pool, seed, share in self._shares)[1]
