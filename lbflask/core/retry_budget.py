"""The retry budget: how many extra attempts the workers of a fleet may make, so that they cannot multiply an outage.

Each worker earns a share of an attempt with each request that it sends first, and spends one for each extra attempt.
The sum over all workers is the same share of the requests of the fleet, whatever their number, and no worker has to ask
for it. A pool with few requests has a reserve per second instead, of which each worker has its part (as the retry
budgets of Finagle and Linkerd, whose reserve is that of one process).
"""

from __future__ import annotations

from typing import Final

#: Seconds for which what was earned may be spent: a budget that was not needed for long allows no storm.
LASTS: Final = 10.0


class RetryBudget:
    """The budget of one worker for one pool: `share` of the requests, or `reserve` per second of the whole fleet."""

    __slots__ = ("_by_requests", "_by_time", "_reserve", "_share")

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._reserve = reserve
        self._by_requests = 0.0
        self._by_time = reserve

    def __repr__(self) -> str:
        return f"<RetryBudget {self._by_requests:.1f} by requests, {self._by_time:.1f} by time>"

    def earn(self, requests: int, recent: int, seconds: float, workers: int) -> None:
        """Earn for these `requests` of these `seconds`, as one of so many `workers`. `recent` are the requests of the
        last LASTS seconds.
        """
        most = max(self._share * recent, min(1.0, self._share * 100))
        self._by_requests = min(self._by_requests + self._share * max(0, requests), most)
        part = self._reserve / max(1, workers)
        # A whole attempt fits in, however small the part: it takes more time then.
        self._by_time = min(self._by_time + part * seconds, max(part, min(1.0, self._reserve)))

    @property
    def suffices(self) -> bool:
        """Whether one more extra attempt may be made."""
        return max(self._by_requests, self._by_time) >= 1.0

    def spend(self) -> None:
        """An extra attempt is made. It counts for both, so that the larger of them is the limit and not their sum."""
        self._by_requests = max(0.0, self._by_requests - 1.0)
        self._by_time = max(0.0, self._by_time - 1.0)
