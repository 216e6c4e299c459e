"""A worker's way to the store: whether the store is in reach, and its clock.

A store that does not answer, or refuses, is marked as lost by the first caller that notices; from then on only the
follower uses it, in the background, until a write has succeeded again: reads of a store that takes no writes are as old
as its latest write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lbflask.core.failure_causes import FailureCause
from lbflask.store.ports import StoreUnavailable, WorkerStore

#: Seconds between attempts to reach a lost store; doubled with each relapse up to the second number.
RETRY_EVERY, MAX_RETRY_EVERY = 0.25, 5.0
#: A store that is lost within so many seconds after it came back has relapsed.
RELAPSES_WITHIN = 10.0

Result = TypeVar("Result")


class StoreLink:
    """Threads and greenlets may share it. At each loss `on_lost` is called before `degraded` becomes true, and `wake`
    after it.
    """

    def __init__(
        self, store: WorkerStore, report: Callable[[str], None], on_lost: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        self.store = store
        self.degraded = False  #: whether the store is out of reach, or refuses what workers do
        self.reason = ""  #: why; empty while it is in reach
        self.cause = FailureCause.UNKNOWN  #: of the reason
        self.retry_every = RETRY_EVERY
        self._report = report
        self._on_lost = on_lost
        self._wake = wake
        self._restored_at = float("-inf")
        self._ahead = time.time() - time.monotonic()  # by which the store's clock is ahead of the steady one
        self._closed = False

    def __repr__(self) -> str:
        return f"<StoreLink {f'degraded: {self.reason}' if self.degraded else 'connected'}>"

    def now(self) -> float:
        """The store's clock, in seconds since the epoch, as last read; the machine's until it was read once."""
        return time.monotonic() + self._ahead

    def set_time(self, now: float) -> None:
        """Take over the store's clock."""
        self._ahead = now - time.monotonic()

    def query(self, ask: Callable[[WorkerStore], Result]) -> Result | None:
        """The store's answer; None while it is out of reach."""
        if not self.degraded:
            try:
                return ask(self.store)
            except StoreUnavailable as error:
                self.lost(error)
        return None

    def lost(self, error: StoreUnavailable) -> None:
        """Mark the store as out of reach."""
        self.reason, self.cause = str(error), error.cause
        if self.degraded or self._closed:
            return
        relapsed = time.monotonic() - self._restored_at < RELAPSES_WITHIN
        self.retry_every = min(MAX_RETRY_EVERY, 2 * self.retry_every) if relapsed else RETRY_EVERY
        self._on_lost()
        self.degraded = True
        self._wake()
        self._report(f"the store is out of reach; balancing with the last snapshot: {error}")

    def restored(self) -> None:
        """Mark the store as in reach, if it was lost."""
        if self.degraded:
            self.degraded, self.reason = False, ""
            self._restored_at = time.monotonic()
            self._report("the store is back; balancing with the fleet")

    def emptied(self, pool: str) -> None:
        """Report that the store has lost the data of a pool."""
        self._report(f"pool {pool}: the store was emptied, and has lost what operators had set")

    def close(self) -> None:
        """Close the store. A loss that this causes is not reported."""
        self._closed = True
        self.store.close()
