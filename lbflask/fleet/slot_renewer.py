"""The slots of all pools of a worker, and the thread that hears of free ones and renews what is held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from lbflask.background import BackgroundTask
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slots import PoolSlots
from lbflask.store.ports import StoreUnavailable, StoreWatch

#: Seconds between two looks when no message comes, with slots in hand and without: so long are those kept that nobody
#: uses, and so much a lost message costs whoever waits.
BUSY_POLL_INTERVAL = 0.04
POLL_INTERVAL = 0.25


class Slots:
    """The slots of a worker. Its thread begins when a slot is first asked for, and anew in a forked process."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._clock = clock
        self._pools: dict[str, PoolSlots] = {}
        self._task = BackgroundTask("slot-follower", self._follow)

    def of(self, pool: str) -> PoolSlots:
        """The slots of one pool: the same whenever it is asked for."""
        slots = self._pools.get(pool)
        if slots is None:
            slots = self._pools[pool] = PoolSlots(pool, self._fleet, self._clock, self._begin)
        return slots

    @property
    def pools(self) -> dict[str, PoolSlots]:
        """The slots of each pool that has been asked for, by its name."""
        return dict(self._pools)

    def stop(self) -> None:
        """Give back what no request uses. To be called before the fleet stops."""
        self._task.stopping.set()
        for slots in self._pools.values():
            slots.give_back()
        self._task.stop(within=2 * POLL_INTERVAL)

    def _begin(self) -> None:
        if self._task.pid != os.getpid():
            self._task.start()

    def _follow(self) -> None:
        watch: StoreWatch | None = None
        watched: set[str] = set()
        try:
            while not self._task.stopping.is_set():
                if watch is not None and watched != set(self._pools):
                    watch.close()
                    watch = None
                if watch is None:
                    watched = set(self._pools)
                    watch = self._fleet.watch_slots(watched)
                heard = self._heard(watch)
                if heard is None and watch is not None:
                    watch.close()
                    watch = None
                for pool, slots in list(self._pools.items()):
                    slots.tick(heard=heard is not None and pool in heard)
        finally:
            if watch is not None:
                watch.close()

    def _heard(self, watch: StoreWatch | None) -> set[str] | None:
        """The pools with news of slots; None if there is nobody to hear it from."""
        try:
            if watch is not None:
                busy = any(slots.busy for slots in self._pools.values())
                return set(watch.wait(BUSY_POLL_INTERVAL if busy else POLL_INTERVAL))
        except StoreUnavailable:
            pass  # whoever asks the store next marks it as degraded
        self._task.stopping.wait(POLL_INTERVAL)
        return None
