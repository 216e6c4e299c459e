"""The tickets of one pool for one worker: from the store, in blocks or one by one, or local ones without it."""

from __future__ import annotations

import random
import threading
import time

from lbflask.core.tickets import RateEstimator, TicketBlock, TicketCounts
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import StoreUnavailable

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

    def __repr__(self) -> str:
        return f"<TicketSource of {self._pool} {self.counts}>"

    def set_strict(self, strict: bool) -> None:
        """Whether each ticket takes a trip of its own from now on, which keeps the order exact for the fleet."""
        self._strict = strict

    def next(self) -> int:
        """The next ticket: the fleet's while the store answers, else a local one."""
        if self._strict and not self._link.degraded:
            try:
                ticket = self._link.store.take_tickets(self._pool, 1)
                self.counts.lease(1)
                return ticket
            except StoreUnavailable as error:
                self._link.lost(error)
        now = time.monotonic()
        self._rate.count(now)
        next_ticket = self._block.next(now)
        if next_ticket is not None and not self._link.degraded:
            return next_ticket
        with self._lock:
            # Checked again under the lock: a request that waited for it while the store failed must not try it too.
            if not self._link.degraded:
                try:
                    return self._leased(now)
                except StoreUnavailable as error:
                    self._link.lost(error)
            self._block = _NO_TICKETS
            self._local += 1
            self.counts.count_local()
            return self._local

    def _leased(self, now: float) -> int:
        """Called under the lock, after which another request may have brought a block."""
        ticket = self._block.next(now)
        if ticket is None:
            count = self._rate.block()
            ticket = self._link.store.take_tickets(self._pool, count)
            self._block = TicketBlock(iter(range(ticket + 1, ticket + count)), now)
            self.counts.lease(count)
        return ticket
