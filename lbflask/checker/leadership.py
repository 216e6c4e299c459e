"""The lead of a pool: a lease in the store, renewed while it is held, with an epoch that fences earlier leaders off."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from lbflask.checker.store_calls import RETRY_INTERVAL, StoreCalls
from lbflask.store.ports import FLEET, CheckerStore, Lease, StoreUnavailable

#: Renewals of the lease while it lasts.
RENEWALS_PER_LEASE = 3
#: Requests of a standby checker for the lease while it lasts.
STANDBY_POLLS_PER_LEASE = 10

#: How the role of a checker begins that cannot reach the store.
WAITING = "waiting for the store"

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
    """The lease of one pool, or with FLEET that of the fleet's certificates.

    `role` is the latest role in words, which goes to the log when it changes.

    `pool`, `store`, `call` and `settings` also serve the publisher, which writes under the lease.
    """

    def __init__(self, pool: str, store: CheckerStore, call: StoreCalls, settings: LeaderSettings, role: str) -> None:
        self._subject = "certificates" if pool == FLEET else f"pool {pool}"
        self.pool, self.store, self.call, self.settings = pool, store, call, settings
        self.role = role
        self._clock_offset = 0.0

    def __repr__(self) -> str:
        return f"<Leadership {self.pool} of {self.settings.holder}: {self.role or 'new'}>"

    async def acquire(self) -> Lease | None:
        """Take or renew the lease; None while another checker holds it."""
        settings = self.settings
        lease = await self.call(self.store.hold_lease, self.pool, settings.holder, settings.lease)
        if lease is not None:
            self._clock_offset = lease.now - time.monotonic()
        return lease

    async def keep(self, epoch: int) -> None:
        """Renew the lease. Never ends; raises LeaseLost. A store that is unavailable may still hold it afterwards."""
        while True:
            await asyncio.sleep(self.settings.lease / RENEWALS_PER_LEASE)
            with suppress(StoreUnavailable):
                lease = await self.acquire()
                if lease is None:
                    raise LeaseLost("another checker leads")
                if lease.epoch != epoch:
                    raise LeaseLost("the lease had run out, or the store was emptied")

    async def release(self) -> None:
        """Give the lease up, if this checker holds it and the store is available."""
        with suppress(StoreUnavailable):
            await self.call(self.store.drop_lease, self.pool, self.settings.holder)

    def store_time(self) -> float:
        """The time by the store's clock, in seconds since the epoch."""
        return time.monotonic() + self._clock_offset

    def set_role(self, role: str) -> None:
        """Note the role; a change is logged, as a warning while the store is out of reach."""
        if role != self.role:
            self.role = role
            log.log(logging.WARNING if role.startswith(WAITING) else logging.INFO, "%s: %s", self._subject, role)
