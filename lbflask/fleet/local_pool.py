"""One pool as one worker knows it: its latest snapshot, its tickets, its traffic."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace

from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback
from lbflask.core.model import NOTHING_KNOWN, Ejection, Snapshot
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.store_link import StoreLink
from lbflask.fleet.ticket_source import TicketSource
from lbflask.fleet.traffic import Traffic
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
        self._fallback = Fallback.NONE
        self._needs_secret = False
        self._retired_at: float | None = None

    def __repr__(self) -> str:
        return f"<LocalPool {self._pool} version={self.snapshot.version} {self.traffic}{' retired' * self.is_retired}>"

    def refresh(self) -> None:
        """Read the snapshot from the store. For one thread at a time. Raises StoreUnavailable."""
        store, known = self._link.store, self.snapshot
        read = store.read_snapshot(self._pool, known)
        if self._needs_secret and not read.secret:
            proposed = known.secret or secrets.token_urlsafe(32)
            read = replace(read, secret=store.agree_on_secret(self._pool, proposed))
        self.snapshot = remembered(known, read)
        self._link.set_time(self.snapshot.now)

    def set_snapshot(self, snapshot: Snapshot) -> None:
        """Use this snapshot until the store is read again."""
        self.snapshot = snapshot

    def set_ejected(self, ejected: Mapping[str, Ejection]) -> None:
        """Use these ejections, which were judged without the store."""
        self.snapshot = replace(self.snapshot, version=_LOCAL_VERSION, ejected=ejected)

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
