"""The tickets of one pool for one worker: from the store, in blocks or one by one, or local ones without it."""

from __future__ import annotations

import random
import threading
import time
from functools import partial

from lbflask.core.tickets import RateEstimator, TicketBlock, TicketCounts
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import WorkerStore

_NO_TICKETS = TicketBlock(iter(()), 0.0)


class TicketSource:
    """Threads and greenlets may share it. Local tickets begin at random, so that workers do not march in step."""

    def __init__(self, *, pool: str, link: StoreLink, strict: bool) -> None:
        self.counts = TicketCounts()
        self._strict = strict
        self._pool = pool
        self._link = link
        self._rate = RateEstimator()
        self._block = _NO_TICKETS
        self._local = random.randrange(1 << 30)
        self._lock = threading.Lock()
        self._take_one = partial(self._take, 1)

    def __repr__(self) -> str:
        return f"<TicketSource of {self._pool} {self.counts}>"

    def set_strict(self, strict: bool) -> None:
        """Whether each ticket takes a trip of its own from now on, which keeps the order exact for the fleet."""
        self._strict = strict

    def next(self) -> int:
        """The next ticket: the fleet's while the store answers, else a local one."""
        if self._strict:
            ticket = self._link.query(self._take_one)
            if ticket is not None:
                return ticket
        now = time.monotonic()
        self._rate.count(now)
        ticket = self._block.next(now)
        if ticket is not None and not self._link.degraded:
            return ticket
        with self._lock:
            # Under the lock: a request that waited for it while the store failed must not try it too.
            ticket = None if self._link.degraded else self._link.query(partial(self._leased, now))
            if ticket is None:
                self._block = _NO_TICKETS
                self._local += 1
                self.counts.count_local()
                ticket = self._local
            return ticket

    def _leased(self, now: float, store: WorkerStore) -> int:
        """Called under the lock, after which another request may have brought a block."""
        ticket = self._block.next(now)
        if ticket is None:
            count = self._rate.block()
            ticket = self._take(count, store)
            self._block = TicketBlock(iter(range(ticket + 1, ticket + count)), now)
        return ticket

    def _take(self, count: int, store: WorkerStore) -> int:
        ticket = store.take_tickets(self._pool, count)
        self.counts.lease(count)
        return ticket
