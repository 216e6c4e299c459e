"""Follows the snapshots of the pools, the drained instances and the bans: by messages, with polling as a safety net,
and back to a store that was lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from lbflask.background import BackgroundTask
from lbflask.core.instance_drain import InstanceDrain
from lbflask.fleet.local_pool import LocalPool
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import FLEET, StoreUnavailable, StoreWatch

#: Seconds between two readings of the store without a message: the longest delay that a lost message causes.
POLL_EVERY = 1.0
#: The same for the drained instances, which change rarely.
POLL_DRAINS_EVERY = 5.0


class SnapshotFollower:
    """`pools` gives the pools to follow, by name; it may give others at any time. `drains` has the drained instances
    by name; `read_bans` reads the bans, and may raise StoreUnavailable.
    """

    def __init__(
        self, link: StoreLink, pools: Callable[[], Mapping[str, LocalPool]], read_bans: Callable[[], None]
    ) -> None:
        self.drains: Mapping[str, InstanceDrain] = {}
        self._link = link
        self._pools = pools
        self._read_bans = read_bans
        self._task = BackgroundTask("fleet-follower", self._follow)

    def __repr__(self) -> str:
        return f"<SnapshotFollower of {', '.join(self._pools())}, running={self._task.running}>"

    def start(self) -> None:
        """Read the store once, so that the first request has a snapshot, and follow it in the background."""
        self._link.query(lambda _: self._prove(self._pools()))
        self.refresh()
        self._task.start()

    def begin_stop(self) -> None:
        """Stop following. The thread ends with its wait for messages, at the latest when the store is closed."""
        self._task.stopping.set()

    def stop(self) -> None:
        """Stop following, and wait for the end of the thread."""
        self._task.stop(within=POLL_EVERY)

    def refresh(self) -> None:
        """Read the store now, if it is in reach."""
        self._link.query(lambda _: self.read({*self._pools(), FLEET}))

    def read(self, names: Collection[str]) -> None:
        """Read the snapshots of the followed pools among these; with FLEET drains and bans. Raises StoreUnavailable."""
        pools = self._pools()
        for pool in [pools[name] for name in names if name in pools]:
            pool.refresh()
        if FLEET in names:
            with suppress(StoreUnavailable):  # the pools may be at another node, and are served all the same
                self._read_bans()  # first, since an attacker goes on until they are known
                self.drains = self._link.store.read_drains()

    def _prove(self, names: Collection[str]) -> None:
        for name in names:
            self._link.store.prove(name)

    def _follow(self) -> None:
        stopping = self._task.stopping
        while not stopping.is_set():
            try:
                self._follow_pools(frozenset(self._pools()), stopping)
            except StoreUnavailable as error:
                self._link.lost(error)
                stopping.wait(self._link.retry_every)

    def _follow_pools(self, names: frozenset[str], stopping: threading.Event) -> None:
        """Follow these pools until there are others. Raises StoreUnavailable."""
        if self._link.degraded:
            self._prove(names)
        drains_due = 0.0
        watch = self._link.store.watch_changes({*names, FLEET})
        try:
            while not stopping.is_set() and names == self._pools().keys():
                if self._link.degraded:
                    self._prove(names)
                due = time.monotonic() >= drains_due
                if due:
                    drains_due = time.monotonic() + POLL_DRAINS_EVERY
                self.read({*names, FLEET} if due else names)
                self._link.restored()
                self._read_changes(watch, stopping)
        finally:
            watch.close()

    def _read_changes(self, watch: StoreWatch, stopping: threading.Event) -> None:
        """Read what messages announce, until it is time to poll."""
        until = time.monotonic() + POLL_EVERY
        while not stopping.is_set() and not self._link.degraded:
            left = until - time.monotonic()
            if left <= 0:
                return
            self.read(watch.wait(left))
