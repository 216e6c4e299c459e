"""The slots of all pools of a worker, and the thread that renews them and receives messages about free ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress

from lbflask.background import BackgroundTask
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slots import PoolSlots
from lbflask.store.ports import StoreUnavailable

#: Seconds between two renewals without a message, with held slots or a queue and without: the time for which idle slots
#: are kept, and the longest delay that a lost message causes.
ACTIVE_POLL_INTERVAL = 0.04
POLL_INTERVAL = 0.25


class Slots:
    """The slots of a worker. The thread starts with the first use of a slot, and again in a forked process."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._clock = clock
        self._pools: dict[str, PoolSlots] = {}
        self._task = BackgroundTask("slot-follower", self._follow)

    def __repr__(self) -> str:
        return f"<Slots {list(self._pools.values())}>"

    def of(self, pool: str) -> PoolSlots:
        """The slots of one pool, always the same object."""
        slots = self._pools.get(pool)
        if slots is None:
            slots = self._pools[pool] = PoolSlots(pool, self._fleet, self._clock, self._start)
        return slots

    @property
    def pools(self) -> dict[str, PoolSlots]:
        """The slots of each pool that has used any, by its name."""
        return dict(self._pools)

    def stop(self) -> None:
        """Release the slots that no request uses. To be called before the fleet stops."""
        self._task.stopping.set()
        for slots in self._pools.values():
            slots.release_idle()
        self._task.stop(within=2 * POLL_INTERVAL)

    def _start(self) -> None:
        if self._task.pid != os.getpid():
            self._task.start()

    def _follow(self) -> None:
        while not self._task.stopping.is_set():
            self._follow_pools(frozenset(self._pools))

    def _follow_pools(self, names: frozenset[str]) -> None:
        """Renew the slots until other pools use any, or the subscription to those of these pools is lost."""
        stopping = self._task.stopping
        watch = self._fleet.query(lambda store: store.watch_slots(names))
        if watch is not None:
            with closing(watch), suppress(StoreUnavailable):  # the next query marks the store as lost
                while not stopping.is_set() and names == self._pools.keys():
                    active = any(slots.is_active for slots in self._pools.values())
                    self._renew(watch.wait(ACTIVE_POLL_INTERVAL if active else POLL_INTERVAL))
                return
        stopping.wait(POLL_INTERVAL)
        self._renew(())

    def _renew(self, messages: Collection[str]) -> None:
        """Renew the slots of all pools. `messages` names those with messages about slots."""
        for pool, slots in list(self._pools.items()):
            slots.tick(notified=pool in messages)
