"""Rendezvous hashing: the same key goes to the same backend, in every process, and moves only when it has to.

Each pair of key and backend has a number of its own between 0 and 1, u; the key goes where -ln(u) / weight is least
(Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; with weights, Schindelhauer and
Schomaker, "Weighted Distributed Hash Tables", 2005). A backend that leaves gives its keys to all others, evenly, and
takes the same ones back; no other key moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies import round_robin
from lbflask.core.strategies.hashing import hash_of, mixed

_WHOLE = 2.0**64


class ConsistentHash:
    """The candidates, each with the hash of its id."""

    __slots__ = ("_members", "_turns")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._members = tuple(
            (hash_of(candidate.backend.id), candidate.weight, candidate.backend) for candidate in candidates
        )
        self._turns = round_robin.compile(candidates)

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The backend of the key, then where the key would go without it, and so on; without a key, by turn."""
        if key is None:
            yield from self._turns.order(ticket, key, loads)
            return
        hashed = hash_of(key)
        ranked = [
            (-log((mixed(hashed ^ seed) + 0.5) / _WHOLE) / weight, backend.id, backend)
            for seed, weight, backend in self._members
        ]
        if not ranked:
            return
        best = min(ranked)  # ids differ, so backends themselves are never compared
        yield best[2]
        ranked.remove(best)
        ranked.sort()
        for _, _, backend in ranked:
            yield backend


def compile(candidates: Sequence[Candidate]) -> ConsistentHash:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return ConsistentHash(candidates)
