"""Requests in flight at the backends of one pool: those of this worker, and those of the other workers as last read."""

from __future__ import annotations

import _thread
from collections import defaultdict
from collections.abc import Callable, Mapping

from lbflask.core.in_flight import Loads
from lbflask.store.ports import DEAD_AFTER

#: Seconds without a question for the fleet's counts after which the other workers' are not read any more.
READING_LASTS = 5.0


class PoolInFlightCounts:
    """Threads and greenlets may share it. `clock` is steady, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Nothing blocks while it is held, so greenlets need no lock; this one costs them the least. Requests call its
        # methods, since a compiled `with` looks them up anew and makes arguments for them.
        self._lock = _thread.RLock()
        self._local: defaultdict[str, int] = defaultdict(int)
        self._others: Mapping[str, int] = {}
        self._live: Loads | None = None  # from the first question for it
        self._scale = 1  # how many requests of the fleet each local one that begins or ends stands for
        self._others_read = self._asked = float("-inf")

    def __repr__(self) -> str:
        return f"<PoolInFlightCounts local={self.local()} others={dict(self._others)}>"

    def began(self, backend: str) -> None:
        """An attempt at the backend begins."""
        self._change(backend, 1)

    def ended(self, backend: str) -> None:
        """An attempt at the backend has ended."""
        self._change(backend, -1)

    def _change(self, backend: str, by: int) -> None:
        self._lock.acquire()
        try:
            self._local[backend] += by
            if self._live is not None:
                self._live.add(backend, by * self._scale)
        finally:
            self._lock.release()

    def local(self) -> dict[str, int]:
        """Requests of this worker in flight at each backend that has any."""
        with self._lock:
            return {backend: load for backend, load in self._local.items() if load}

    def total(self) -> dict[str, int]:
        """Requests in flight at each backend: this worker's as they are now, the others' as last read."""
        self._asked = now = self._clock()
        total = dict(self._others) if now - self._others_read <= DEAD_AFTER else {}
        for backend, load in self.local().items():
            total[backend] = total.get(backend, 0) + load
        return total

    def live(self) -> Loads:
        """The counts of `total`, updated in place instead of counted for each reader. Read-only.

        They equal `total` whenever the other workers' counts are read. Until the next reading, each local request that
        begins or ends also stands for those of the others that probably do so meanwhile: else all workers that read a
        low count of a backend would fill it up, each by itself (ADR 0015). A count may become negative by that.
        """
        self._asked = now = self._clock()
        if self._live is None or (self._others and now - self._others_read > DEAD_AFTER):
            with self._lock:
                if self._live is None:
                    self._live = Loads({})
                if now - self._others_read > DEAD_AFTER:
                    self._others = {}
                self._recount()
        return self._live

    def is_read(self, now: float) -> bool:
        """Whether the fleet's counts are in demand, so that those of the others have to be read."""
        return now - self._asked < READING_LASTS

    def set_others(self, loads: Mapping[str, int], now: float) -> None:
        """Take over what the other workers have in flight, as read from the store `now`."""
        with self._lock:
            self._others, self._others_read = loads, now
            self._recount()

    def _recount(self) -> None:
        """Set the live counts to what is in flight. Called under the lock."""
        if self._live is None:
            return
        local = {backend: load for backend, load in self._local.items() if load}
        for backend in {**self._live, **local, **self._others}:
            change = local.get(backend, 0) + self._others.get(backend, 0) - self._live.get(backend, 0)
            if change:
                self._live.add(backend, change)
        self._scale = 1 + round(sum(self._others.values()) / max(1, sum(local.values())))
