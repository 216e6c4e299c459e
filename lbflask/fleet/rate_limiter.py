"""Rate limits as one worker applies them: with the fleet's buckets, or its share of them while the store is away.

A bucket that was found empty is not asked again before there can be a token in it, so a flood costs no trips.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lbflask.core.rate_limit import Allowance, RateLimit
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore

#: Empty buckets that are remembered.
MOST_EMPTY = 10_000


class Buckets:
    """Tokens for requests. Threads and greenlets may share it; `clock` is steady, in seconds."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._clock = clock
        self._alone = MemoryStore(clock)
        self._empty_until: dict[tuple[RateLimit, str], float] = {}

    def take(self, limit: RateLimit, key: str) -> Allowance:
        """Take a token for one request of `key`. One trip, unless the bucket is known to be empty.

        Without the store, each worker lets pass what is its part by the number of workers that was known last.
        """
        now, place = self._clock(), (limit, key)
        until = self._empty_until.get(place)
        if until is not None:
            if now < until:
                wait = until - now
                return Allowance(False, 0, wait, wait + (limit.burst - 1) * limit.period / limit.count)
            self._empty_until.pop(place, None)
        found = self._fleet.query(lambda store: store.take_token(limit, key))
        if found is None:
            return self._alone.take_token(limit.shared_by(self._fleet.workers), key)
        if not found.passed:
            # From before we asked: the store has looked later, so nobody is refused for longer than it said.
            if len(self._empty_until) >= MOST_EMPTY:
                self._empty_until.clear()
            self._empty_until[place] = now + found.wait
        return found
