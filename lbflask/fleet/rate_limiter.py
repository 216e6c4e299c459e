"""Rate limits at one worker: with the buckets of the fleet, or with its share of them without the store.

An empty bucket is not queried again before it can have a token, so a flood of requests costs no trips.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lbflask.core.rate_limit import Allowance, RateLimit
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory_buckets import MemoryBuckets

#: Limit of the empty buckets that are remembered.
MAX_EMPTY = 10_000


class Buckets:
    """The buckets of all limits. Threads and greenlets may share it; `clock` is steady, in seconds."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._clock = clock
        self._local_buckets = MemoryBuckets()
        self._empty_until: dict[tuple[RateLimit, str], float] = {}

    def __repr__(self) -> str:
        return f"<Buckets empty={len(self._empty_until)}>"

    def take(self, limit: RateLimit, key: str) -> Allowance:
        """Take a token for one request with this key. One trip, unless the bucket is known to be empty.

        Without the store, each worker has its share of the limit, by the number of workers as last read.
        """
        now, bucket = self._clock(), (limit, key)
        until = self._empty_until.get(bucket)
        if until is not None:
            if now < until:
                wait = until - now
                return Allowance(False, 0, wait, wait + (limit.burst - 1) * limit.period / limit.count)
            self._empty_until.pop(bucket, None)
        allowance = self._fleet.query(lambda store: store.take_token(limit, key))
        if allowance is None:
            return self._local_buckets.take(limit.shared_by(self._fleet.workers), key, now)
        if not allowance.passed:
            # From the time before the query: a later one would refuse requests for longer than the store does.
            if len(self._empty_until) >= MAX_EMPTY:
                self._empty_until.clear()
            self._empty_until[bucket] = now + allowance.wait
        return allowance
