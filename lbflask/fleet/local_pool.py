"""One pool in one worker: its latest snapshot, its tickets, its traffic."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback, newly_unresponsive
from lbflask.core.fleet_stats import Roster
from lbflask.core.forgotten import ForgottenOverrides
from lbflask.core.model import NOTHING_KNOWN, Override, Snapshot
from lbflask.core.sticky_cookie import CookieRefusal
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.shared_turns import turns_of
from lbflask.fleet.store_link import StoreLink
from lbflask.fleet.ticket_source import TicketSource
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import FORGOTTEN_AFTER
from lbflask.store.snapshots import remembered

#: A pool that left the configuration is kept for so many seconds at least: its requests may still use it.
KEEP_RETIRED_FOR = 60.0

#: Seconds after which a worker that counts its own turns tries again to share those of its machine.
SHARE_TURNS_EVERY = 5.0

#: Seconds for which a store surely keeps a report, and in which its lack is noticed after the data was lost.
REPORTS_LAST, NOTICED_WITHIN = 0.8 * FORGOTTEN_AFTER, 5.0

#: No store has this version: a snapshot that was changed without the store is read completely the next time.
_LOCAL_VERSION = -1


class LocalPool:
    """Threads and greenlets may share it."""

    def __init__(
        self, pool: str, policy: EjectionPolicy, worker: LocalWorker, link: StoreLink, *, strict: bool
    ) -> None:
        self.snapshot = NOTHING_KNOWN  #: the latest; the same object until the store was read again
        self.traffic = traffic = Traffic(pool, policy, worker)
        self.tickets = TicketSource(
            pool=pool,
            link=link,
            strict=strict,
            turns=turns_of(pool, worker.turns),
            wake=worker.wake.set,
            workers=lambda: traffic.heartbeat.workers,
        )
        self.fallback_count = 0  #: how often the pool has begun to serve by a fallback
        self.refused_cookies: Counter[CookieRefusal] = Counter()  #: sticky cookies that named no backend
        self._share_turns_at = worker.clock() + SHARE_TURNS_EVERY
        self._pool = pool
        self._worker = worker
        self._link = link
        self._local_store = MemoryStore(link.now)
        self._reading = threading.Lock()  # else an older answer might replace a newer one
        self._fallback = Fallback.NONE
        self._needs_secret = False
        self._workers = 1  # of the fleet, as last read
        self._retired_at: float | None = None
        #: What operators had set when the store was found empty last; None if it never was.
        self.forgotten: ForgottenOverrides | None = None
        self._gone: tuple[float, Mapping[str, Override]] = float("-inf"), {}
        self._stored_at = float("-inf")

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
            gone = {id_: known.overrides[id_] for id_ in known.overrides.keys() - self.snapshot.overrides.keys()}
            if gone:
                self._gone = self._worker.clock(), gone
            unresponsive = newly_unresponsive(known, self.snapshot)
            if unresponsive:
                self._worker.end_waits(self._pool, unresponsive)
            self._link.set_time(self.snapshot.now)

    def report(self) -> None:
        """Report what is due: to the store, or to the memory of this worker, which ejects by the same rule.

        A retired pool without requests leaves the store. Raises StoreUnavailable.
        """
        self._share_turns()
        self.tickets.renew()
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
        if not degraded:
            # Without the store the others are unknown, and their number stays what it was.
            self._workers = traffic.heartbeat.workers
            self._notice_emptying()
        traffic.retry_budgets.advance(self._workers)

    def _share_turns(self) -> None:
        """Share the turns of the machine if they were not to be had before."""
        worker, now = self._worker, self._worker.clock()
        if worker.turns is None or self.tickets.shares_turns or self.is_retired or now < self._share_turns_at:
            return
        self._share_turns_at = now + SHARE_TURNS_EVERY
        turns = worker.turns.of(self._pool, patience=0.0)
        if turns is not None:
            self.tickets.set_turns(turns)

    def _notice_emptying(self) -> None:
        """A store that lacks a report which it was given a short time ago has lost all of its data."""
        known, now = self.traffic.heartbeat.was_known, self._worker.clock()
        if known is None:
            return
        if not known and now - self._stored_at < REPORTS_LAST:
            since, gone = self._gone
            overrides = {**(gone if now - since < NOTICED_WITHIN else {}), **self.snapshot.overrides}
            self.forgotten = ForgottenOverrides(self._link.now(), overrides)
            self._link.emptied(self._pool)
        self._stored_at = now

    def local_roster(self) -> Roster:
        """The local worker alone, with its figures since the store was lost."""
        return self._local_store.read_roster(self._pool)

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

    def dispose(self) -> None:
        """No request uses the pool any more: leave the turns of the machine to another pool."""
        self.tickets.set_turns(turns_of(self._pool, None))

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
