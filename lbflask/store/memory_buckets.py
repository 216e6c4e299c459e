"""The token buckets of rate limits in the memory of one process."""

from __future__ import annotations

import threading

from lbflask.core import rate_limit
from lbflask.core.rate_limit import Allowance, Bucket, RateLimit

#: Limit of the buckets. Above it the full ones are dropped, and the oldest up to half of the limit.
MAX_BUCKETS = 100_000


class MemoryBuckets:
    """Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[RateLimit, str], Bucket] = {}

    def __repr__(self) -> str:
        return f"<MemoryBuckets of {len(self._buckets)} keys>"

    def take(self, limit: RateLimit, key: str, now: float) -> Allowance:
        """Take a token from the limit's bucket for this key, if there is one. `now` is in seconds of any clock."""
        micros = int(now * rate_limit.MICROS)
        with self._lock:
            if len(self._buckets) >= MAX_BUCKETS:
                self._drop(micros)
            bucket, allowance = rate_limit.take(limit, self._buckets.get((limit, key)), micros)
            if bucket is not None:
                self._buckets[limit, key] = bucket
            return allowance

    def _drop(self, micros: int) -> None:
        kept = {key: bucket for key, bucket in self._buckets.items() if rate_limit.full_at(key[0], bucket) > micros}
        surplus = len(kept) - MAX_BUCKETS // 2
        for key in list(kept)[: max(0, surplus)]:
            del kept[key]
        self._buckets = kept
