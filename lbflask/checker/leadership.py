"""The lead of a pool: a lease in the store, renewed while it is held, with an epoch that fences earlier leaders off."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from lbflask.checker.store_calls import RETRY_INTERVAL, StoreCalls
from lbflask.store.ports import CheckerStore, Lease, StoreUnavailable

#: Renewals of the lease while it lasts.
RENEWALS_PER_LEASE = 3
#: Requests of a standby checker for the lease while it lasts.
STANDBY_POLLS_PER_LEASE = 10

log = logging.getLogger("lbflask.checker")


class LeaseLost(Exception):
    """Another checker leads, or the store has lost the lease."""


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """How a checker leads a pool. `holder` is its name, `limit` the number of probes at a time; times in seconds.

    `interval` is the longest time between two writes, `lease` the length of a lease, `retry_interval` the time between
    attempts to reach an unavailable store.
    """

    holder: str
    interval: float
    lease: float
    limit: int
    retry_interval: float = RETRY_INTERVAL


class Leadership:
    """The lease of one pool. `role` is the latest role in words, which goes to the log when it changes."""

    def __init__(
        self, pool: str, store: CheckerStore, call: StoreCalls, settings: LeaderSettings, *, role: str = ""
    ) -> None:
        self.role = role
        self._pool = pool
        self._store = store
        self._call = call
        self._settings = settings
        self._clock_offset = 0.0

    def __repr__(self) -> str:
        return f"<Leadership {self._pool} of {self._settings.holder}: {self.role or 'new'}>"

    async def acquire(self) -> Lease | None:
        """Take or renew the lease; None while another checker holds it."""
        settings = self._settings
        lease = await self._call(self._store.hold_lease, self._pool, settings.holder, settings.lease)
        if lease is not None:
            self._clock_offset = lease.now - time.monotonic()
        return lease

    async def keep(self, epoch: int) -> None:
        """Renew the lease. Never ends; raises LeaseLost. A store that is unavailable may still hold it afterwards."""
        while True:
            await asyncio.sleep(self._settings.lease / RENEWALS_PER_LEASE)
            with suppress(StoreUnavailable):
                lease = await self.acquire()
                if lease is None:
                    raise LeaseLost("another checker leads")
                if lease.epoch != epoch:
                    raise LeaseLost("the lease had run out, or the store was emptied")

    async def release(self) -> None:
        """Give the lease up, if this checker holds it and the store is available."""
        with suppress(StoreUnavailable):
            await self._call(self._store.drop_lease, self._pool, self._settings.holder)

    def store_time(self) -> float:
        """The time by the store's clock, in seconds since the epoch."""
        return time.monotonic() + self._clock_offset

    def set_role(self, role: str) -> None:
        """Note the role; a change is logged."""
        if role != self.role:
            self.role = role
            log.info("pool %s: %s", self._pool, role)
