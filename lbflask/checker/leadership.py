"""On what terms a pool is led, and that it is led no longer."""

from __future__ import annotations

from dataclasses import dataclass


class LeaseLost(Exception):
    """Another checker leads, or the store has forgotten that we do."""


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """On what terms a pool is led: in the name of `holder`, with a word to the store every `interval` seconds, for
    `lease` seconds at a time, and with at most so many probes under way.
    """

    holder: str
    interval: float
    lease: float
    most: int
