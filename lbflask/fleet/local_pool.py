"""One pool as one worker knows it: its latest snapshot, its tickets, its traffic."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace

from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback
from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.store_link import StoreLink
from lbflask.fleet.ticket_source import TicketSource
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from lbflask.store.snapshots import remembered

#: A pool that left the configuration is kept for so many seconds at least: its requests may still use it.
KEEP_RETIRED_FOR = 60.0

#: No store has this version: a snapshot that was changed without the store is read completely the next time.
_LOCAL_VERSION = -1


class LocalPool:
    """Threads and greenlets may share it."""

    def __init__(
        self, pool: str, policy: EjectionPolicy, worker: LocalWorker, link: StoreLink, *, strict: bool
    ) -> None:
        self.snapshot = NOTHING_KNOWN  #: the latest; the same object until the store was read again
        self.tickets = TicketSource(pool=pool, link=link, strict=strict)
        self.traffic = Traffic(pool, policy, worker)
        self.fallback_count = 0  #: how often the pool has begun to serve by a fallback
        self._pool = pool
        self._link = link
        self._local_store = MemoryStore(link.now)
        self._reading = threading.Lock()  # else an older answer might replace a newer one
        self._fallback = Fallback.NONE
        self._needs_secret = False
        self._retired_at: float | None = None

    def __repr__(self) -> str:
        return f"<LocalPool {self._pool} version={self.snapshot.version} {self.traffic}{' retired' * self.is_retired}>"

    def refresh(self) -> None:
        """Read the snapshot from the store. Raises StoreUnavailable."""
        with self._reading:
            store, known = self._link.store, self.snapshot
            read = store.read_snapshot(self._pool, known)
            if self._needs_secret and not read.secret:
                proposed = known.secret or secrets.token_urlsafe(32)
                read = replace(read, secret=store.agree_on_secret(self._pool, proposed))
            self.snapshot = remembered(known, read)
            self._link.set_time(self.snapshot.now)

    def report(self) -> None:
        """Report what is due: to the store, or to the memory of this worker, which ejects by the same rule.

        A retired pool without requests leaves the store. Raises StoreUnavailable.
        """
        degraded, store, traffic = self._link.degraded, self._link.store, self.traffic
        if self.is_retired and not traffic.in_flight.local():
            if traffic.heartbeat.is_registered and not degraded:
                traffic.heartbeat.leave(store)
        elif traffic.report(self._local_store if degraded else store, self.snapshot, self._link.now()):
            if degraded:
                ejected = self._local_store.read_snapshot(self._pool, NOTHING_KNOWN).ejected
                self.snapshot = replace(self.snapshot, version=_LOCAL_VERSION, ejected=ejected)
            elif not self.is_retired:
                self.refresh()

    def keep_ejections(self) -> None:
        """Go on with the ejections of the snapshot when the store is lost."""
        self._local_store.adopt(self._pool, self.snapshot.ejected)

    def set_snapshot(self, snapshot: Snapshot) -> None:
        """Use this snapshot until the store is read again."""
        self.snapshot = snapshot

    def require_secret(self) -> None:
        """From the next reading on, the snapshot has a secret that the fleet shares. An emptied store gets it back."""
        self._needs_secret = True

    def record_fallback(self, fallback: Fallback) -> bool:
        """Note by which fallback the pool serves; whether that is a change."""
        if fallback is self._fallback:
            return False
        self._fallback = fallback
        self.fallback_count += fallback is not Fallback.NONE
        return True

    def retire(self) -> None:
        """The pool has left the configuration. It serves the requests that were given to it."""
        if self._retired_at is None:
            self._retired_at = time.monotonic()

    def reinstate(self, policy: EjectionPolicy, *, strict: bool) -> None:
        """The pool is in the configuration, with this policy, and with `strict` tickets or not."""
        self._retired_at = None
        self.tickets.set_strict(strict)
        self.traffic.ejections.set_policy(policy)

    @property
    def is_retired(self) -> bool:
        """Whether the pool has left the configuration."""
        return self._retired_at is not None

    @property
    def is_disposable(self) -> bool:
        """Whether it left so long ago that no request uses it any more."""
        retired = self._retired_at
        return (
            retired is not None and time.monotonic() - retired > KEEP_RETIRED_FOR and not self.traffic.in_flight.local()
        )
