"""A worker's window on the fleet: the latest snapshot, tickets and traffic, with a store or without one.

No request reads health from the store, and none fails because of it. A store that does not answer, or refuses, is
marked degraded by the first who notices; from then on only the follower talks to it, in the background, until it has
taken a write again: what can be read of a store that takes none is as old as its latest write.
Meanwhile the last snapshot holds, tickets are local, from a random start so that workers do not march in step, and
backends are ejected by what this worker sees, with the same rule, from a store in its own memory.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lbflask.background import BackgroundTask
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.core.tickets import RateEstimator, TicketBlock, TicketCounts
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import StoreUnavailable, StoreWatch, WorkerStore
from lbflask.store.snapshots import remembered

#: Seconds between two readings of the store when no message comes: a lost message costs no more than this.
POLL_EVERY = 1.0
#: Seconds between attempts to reach a store that is gone; between those at one that is lost again and again, up to.
RETRY_EVERY, RETRY_AT_LEAST_EVERY = 0.25, 5.0
#: A store that is lost within so many seconds after it came back is lost again and again.
RELAPSES_WITHIN = 10.0
#: A backend is reported as suspect at most once in this many seconds by one worker.
SUSPECT_EVERY = 1.0
#: What happens within so many seconds is told together, so that a storm of failures is a few trips.
GATHER_FOR = 0.01
#: A pool that is gone is remembered for so many seconds at least: requests that were given to it may still ask.
REMEMBER_FOR = 60.0

#: No store has this version: a snapshot that was changed without one is read as a whole again.
_ALONE = -1


_RESORTS = {
    Fallback.NONE: "enough backends can serve again",
    Fallback.EJECTED: "all backends that can serve are ejected, and serve nevertheless",
    Fallback.ALL: "active checks leave no backend: failing open, all serve",
}


Answer = TypeVar("Answer")


@dataclass(slots=True)
class _PoolView:
    traffic: Traffic
    snapshot: Snapshot = NOTHING_KNOWN
    resort: Fallback = Fallback.NONE
    resorted: int = 0
    agrees: bool = False
    pace: RateEstimator = field(default_factory=RateEstimator)
    block: TicketBlock = field(default_factory=TicketBlock)
    local: int = field(default_factory=lambda: random.randrange(1 << 30))
    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: TicketCounts = field(default_factory=TicketCounts)
    left: float | None = None  # when the pool went out of the configuration


class Fleet:
    """The shared state as one worker sees it. Threads and greenlets may share it."""

    def __init__(
        self,
        store: WorkerStore,
        pools: Collection[str],
        *,
        strict: bool = False,
        report: Callable[[str], None] = lambda _: None,
        rules: Mapping[str, EjectionPolicy] | None = None,
        who: WorkerIdentity | None = None,
    ) -> None:
        self._store = store
        self._wake = threading.Event()
        self._worker, self._who = "", who or WorkerIdentity()
        rules = rules or {}
        self._views = {pool: self._new_view(pool, rules.get(pool, EjectionPolicy())) for pool in pools}
        self._ahead = time.time() - time.monotonic()  # seconds by which the store's clock is ahead of ours
        self._reading = threading.Lock()
        self._alone = MemoryStore(self.now)
        self._strict, self._report = strict, report
        self._suspected: dict[tuple[str, str], float] = {}
        self._pending_suspects: set[tuple[str, str]] = set()
        self._degraded = False
        self._why = ""
        self._back_at, self._retry = float("-inf"), RETRY_EVERY
        self._stop = threading.Event()
        self._follower = BackgroundTask("fleet-follower", self._follow)
        self._teller = BackgroundTask("fleet-teller", self._tell)
        self._announcing = False

    @property
    def pools(self) -> Collection[str]:
        """The names of the pools."""
        return self._views.keys()

    @property
    def degraded(self) -> bool:
        """Whether the store is out of reach, or refuses what workers do."""
        return self._degraded

    @property
    def why(self) -> str:
        """Why the store is out of reach; empty while it is not."""
        return self._why

    def start(self) -> None:
        """Read the store once, so that the first request is served by what is known, and then follow it."""
        host, pid = os.uname().nodename, os.getpid()
        self._worker = f"{host}:{pid}:{secrets.token_hex(4)}"
        self._who = replace(self._who, host=host, pid=pid, started=time.time())
        for view in self._views.values():
            view.traffic.worker, view.traffic.who = self._worker, self._who
        try:
            self._prove(self._configured())
        except StoreUnavailable as error:
            self._degrade(error)
        self.look()
        self._follower.start()
        self._teller.start()

    def stop(self) -> None:
        """Stop following, and let go of the store."""
        self._stop.set()
        self._wake.set()
        self._teller.stop(within=POLL_EVERY)
        if not self._degraded:
            with suppress(StoreUnavailable):
                for view in self._views.values():
                    view.traffic.leave(self._store)
        self._store.close()  # which also ends the follower's wait for messages
        self._follower.stop(within=POLL_EVERY)

    def use(self, rules: Mapping[str, EjectionPolicy], *, strict: bool, config: str = "") -> None:
        """From now on these are the pools, with their rules of ejection. What is known of those that stay is kept.

        `config` names the configuration, for operators.

        One that is gone still serves who was given to it; when nobody is in flight there any more, the fleet forgets
        this worker's beat.
        """
        self._who = replace(self._who, config=config)
        now, before = time.monotonic(), self._views
        kept = {pool: view for pool, view in before.items() if pool in rules or not _forgotten(view, now)}
        for pool, view in kept.items():
            if pool in rules:
                view.left = None
                view.traffic.obey(rules[pool])
            elif view.left is None:
                view.left = now
        new = {pool: self._new_view(pool, rule) for pool, rule in rules.items() if pool not in kept}
        self._views = kept | new
        for view in self._views.values():
            view.traffic.who = self._who
        self._strict = strict

    def look(self) -> None:
        """Read the store now, so that the next request is served by what is known."""
        if not self._degraded:
            try:
                self._refresh(self._configured())
            except StoreUnavailable as error:
                self._degrade(error)

    def announce(self) -> None:
        """Tell the checkers, in the background, that the configuration has changed and theirs may have too."""
        self._announcing = True
        self._wake.set()

    def snapshot(self, pool: str) -> Snapshot:
        """The latest snapshot of the pool; the same object until the store was read again."""
        return self._views[pool].snapshot

    def now(self) -> float:
        """The store's clock, in seconds since the epoch, as far as is known; without a store our own."""
        return time.monotonic() + self._ahead

    def ticket(self, pool: str) -> int:
        """The next ticket of the pool: the fleet's while the store answers, else a local one."""
        view = self._views[pool]
        if self._strict and not self._degraded:
            try:
                ticket = self._store.take_tickets(pool, 1)
                view.taken.lease(1)
                return ticket
            except StoreUnavailable as error:
                self._degrade(error)
        now = time.monotonic()
        view.pace.count(now)
        next_ticket = view.block.next(now)
        if next_ticket is not None and not self._degraded:
            return next_ticket
        with view.lock:
            # Asked again under the lock: whoever waited for it while the store failed must not wait for the store too.
            if not self._degraded:
                try:
                    return self._leased_ticket(pool, view, now)
                except StoreUnavailable as error:
                    self._degrade(error)
            view.block = TicketBlock()
            view.local += 1
            view.taken.local += 1
            return view.local

    def tickets_taken(self, pool: str) -> TicketCounts:
        """The turns that this worker has had in the pool so far."""
        return self._views[pool].taken

    def ask(self, what: Callable[[WorkerStore], Answer]) -> Answer | None:
        """The store's answer, at once; None while it is out of reach."""
        if not self._degraded:
            try:
                return what(self._store)
            except StoreUnavailable as error:
                self._degrade(error)
        return None

    def watch_slots(self, pools: Collection[str]) -> StoreWatch | None:
        """Where it is heard that slots of backends became free; None while the store is out of reach."""
        return self.ask(lambda store: store.watch_slots(pools))

    @property
    def workers(self) -> int:
        """How many workers share the store, as last known: at least this one."""
        return max(view.traffic.workers for view in self._views.values())

    def traffic(self, pool: str) -> Traffic:
        """Where this worker's attempts at the backends of the pool are noted."""
        return self._views[pool].traffic

    def loads(self, pool: str) -> Mapping[str, int]:
        """Requests that the whole fleet has in flight at each backend of the pool, as far as is known here.

        Our own are counted as they are; those of others are a tenth of a second old once somebody asks regularly, and
        are gone within three seconds after their worker is. No trip.
        """
        return self._views[pool].traffic.loads()

    def overlooks(self, pool: str, resort: Fallback) -> None:
        """Note that the pool serves only because something is overlooked, or no longer so; a change is reported."""
        view = self._views[pool]
        if resort is view.resort:
            return
        view.resort = resort
        view.resorted += resort is not Fallback.NONE
        self._report(f"pool {pool}: {_RESORTS[resort]}")

    def resorted(self, pool: str) -> int:
        """How often the pool has begun to serve by overlooking something."""
        return self._views[pool].resorted

    def agree_on_secret(self, pool: str) -> None:
        """From the next reading on, the snapshots of the pool have a secret, the same for the whole fleet.

        A store that was emptied is given the one that is known.
        """
        self._views[pool].agrees = True

    def suspect(self, pool: str, backend: str) -> None:
        """Note that the backend could not be reached; the checker is told in the background."""
        now = time.monotonic()
        if now - self._suspected.get((pool, backend), -SUSPECT_EVERY) >= SUSPECT_EVERY:
            self._suspected[pool, backend] = now
            self._pending_suspects.add((pool, backend))
            self._wake.set()

    def _leased_ticket(self, pool: str, view: _PoolView, now: float) -> int:
        """Called under the lock: whoever waited for it may find that another has brought tickets."""
        ticket = view.block.next(now)
        if ticket is None:
            count = view.pace.block()
            ticket = self._store.take_tickets(pool, count)
            view.block = TicketBlock(iter(range(ticket + 1, ticket + count)), now)
            view.taken.lease(count)
        return ticket

    def _new_view(self, pool: str, rule: EjectionPolicy) -> _PoolView:
        view = _PoolView(Traffic(pool, rule, time.monotonic, self._wake.set))
        view.traffic.worker, view.traffic.who = self._worker, self._who
        return view

    def _configured(self) -> frozenset[str]:
        """The pools that there are now."""
        return frozenset(pool for pool, view in self._views.items() if view.left is None)

    def _refresh(self, pools: Collection[str]) -> None:
        for pool in pools:
            view = self._views.get(pool)
            if view is not None:
                with self._reading:  # else an older answer might replace a newer one
                    read = self._store.read_snapshot(pool, view.snapshot)
                    if view.agrees and not read.secret:
                        proposed = view.snapshot.secret or secrets.token_urlsafe(32)
                        read = replace(read, secret=self._store.agree_on_secret(pool, proposed))
                    view.snapshot = remembered(view.snapshot, read)
                    self._ahead = view.snapshot.now - time.monotonic()

    def _prove(self, pools: Collection[str]) -> None:
        for pool in pools:
            self._store.prove(pool)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow_changes(self._configured())
            except StoreUnavailable as error:
                self._degrade(error)
                self._stop.wait(self._retry)

    def _follow_changes(self, pools: frozenset[str]) -> None:
        """Until there are other pools. Raises StoreUnavailable."""
        if self._degraded:
            self._prove(pools)
        watch = self._store.watch_changes(pools)
        try:
            while not self._stop.is_set() and pools == self._configured():
                if self._degraded:
                    self._prove(pools)
                self._refresh(pools)
                self._recover()
                self._listen(watch)
        finally:
            watch.close()

    def _listen(self, watch: StoreWatch) -> None:
        """Follow messages until it is time to poll."""
        until = time.monotonic() + POLL_EVERY
        while not self._stop.is_set() and not self._degraded:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._refresh(watch.wait(left))

    def _tell(self) -> None:
        """Tell what should be known, as it comes and whenever a beat is due."""
        while not self._stop.is_set():
            self._wake.wait(min(view.traffic.patience for view in self._views.values()))
            self._wake.clear()
            try:
                self._tell_suspects()
                self._tell_traffic()
                self._tell_checkers()
            except StoreUnavailable as error:
                self._degrade(error)
            self._stop.wait(GATHER_FOR)

    def _tell_suspects(self) -> None:
        while self._pending_suspects:
            suspect = self._pending_suspects.pop()
            if not self._degraded:
                self._store.report_suspect(*suspect)

    def _tell_checkers(self) -> None:
        if self._announcing and not self._degraded:
            self._store.announce_reload()
            self._announcing = False

    def _tell_traffic(self) -> None:
        for pool, view in self._views.items():
            alone = self._degraded
            if view.left is not None and not view.traffic.own_loads():
                if view.traffic.beats and not alone:
                    view.traffic.leave(self._store)
                continue
            if not view.traffic.tell(self._alone if alone else self._store, view.snapshot, self.now()):
                continue
            if alone:
                ejected = self._alone.read_snapshot(pool, NOTHING_KNOWN).ejected
                view.snapshot = replace(view.snapshot, version=_ALONE, ejected=ejected)
            else:
                self._refresh([pool])

    def _degrade(self, error: StoreUnavailable) -> None:
        self._why = str(error)
        if not self._degraded and not self._stop.is_set():
            for pool, view in self._views.items():
                self._alone.adopt(pool, view.snapshot.ejected)
            relapse = time.monotonic() - self._back_at < RELAPSES_WITHIN
            self._retry = min(RETRY_AT_LEAST_EVERY, 2 * self._retry) if relapse else RETRY_EVERY
            self._degraded = True
            self._wake.set()  # what the store did not take is judged here
            self._report(f"the store is out of reach, balancing with what is known: {error}")

    def _recover(self) -> None:
        if self._degraded:
            self._degraded, self._why = False, ""
            self._back_at = time.monotonic()
            self._report("the store is back, balancing with the fleet")


def _forgotten(view: _PoolView, now: float) -> bool:
    """Whether nobody can ask for this pool any more."""
    return view.left is not None and now - view.left > REMEMBER_FOR and not view.traffic.own_loads()
