"""A worker's window on the fleet: the latest snapshot, and tickets, with a store or without one.

No request reads health from the store, and none fails because of it. A store that does not answer is marked degraded
by the first who notices; from then on only the follower talks to it, in the background, until it answers again.
Meanwhile the last snapshot holds, and tickets are local, from a random start so that workers do not march in step.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.core.tickets import Block, Pace
from lbflask.state.ports import StoreUnavailable, Watch, WorkerStore

#: Seconds between two readings of the store when no message comes: a lost message costs no more than this.
POLL_EVERY = 1.0
#: Seconds between attempts to reach a store that is gone.
RETRY_EVERY = 0.25
#: A backend is reported as suspect at most once in this many seconds by one worker.
SUSPECT_EVERY = 1.0


@dataclass(slots=True)
class _PoolView:
    snapshot: Snapshot = NOTHING_KNOWN
    pace: Pace = field(default_factory=Pace)
    block: Block = field(default_factory=Block)
    local: int = field(default_factory=lambda: random.randrange(1 << 30))
    lock: threading.Lock = field(default_factory=threading.Lock)


class Fleet:
    """The shared state as one worker sees it. Threads and greenlets may share it."""

    def __init__(
        self,
        store: WorkerStore,
        pools: Collection[str],
        *,
        strict: bool = False,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._views = {pool: _PoolView() for pool in pools}
        self._strict = strict
        self._report = report
        self._suspected: dict[tuple[str, str], float] = {}
        self._pending_suspects: set[tuple[str, str]] = set()
        self._degraded = False
        self._why = ""
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def degraded(self) -> bool:
        """Whether the store is out of reach."""
        return self._degraded

    @property
    def why(self) -> str:
        """Why the store is out of reach; empty while it is not."""
        return self._why

    def start(self) -> None:
        """Read the store once, so that the first request is served by what is known, and then follow it."""
        try:
            self._refresh(self._views)
        except StoreUnavailable as error:
            self._degrade(error)
        for name, work in (("fleet-follower", self._follow), ("fleet-suspects", self._tell_suspects)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop following, and let go of the store."""
        self._stop.set()
        self._wake.set()
        self._store.close()  # which also ends the follower's wait for messages
        for thread in self._threads:
            thread.join(timeout=POLL_EVERY)
        self._threads.clear()

    def snapshot(self, pool: str) -> Snapshot:
        """The latest snapshot of the pool; the same object until the store was read again."""
        return self._views[pool].snapshot

    def ticket(self, pool: str) -> int:
        """The next ticket of the pool: the fleet's while the store answers, else a local one."""
        view = self._views[pool]
        if self._strict and not self._degraded:
            try:
                return self._store.take_tickets(pool, 1)
            except StoreUnavailable as error:
                self._degrade(error)
        now = time.monotonic()
        view.pace.count(now)
        ticket = view.block.next(now)
        if ticket is not None and not self._degraded:
            return ticket
        with view.lock:
            # Asked again under the lock: whoever waited for it while the store failed must not wait for the store too.
            if not self._degraded:
                try:
                    return self._leased_ticket(pool, view, now)
                except StoreUnavailable as error:
                    self._degrade(error)
            view.block = Block()
            view.local += 1
            return view.local

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
            view.block = Block(iter(range(ticket + 1, ticket + count)), now)
        return ticket

    def _refresh(self, pools: Collection[str]) -> None:
        for pool in pools:
            view = self._views.get(pool)
            if view is not None:
                view.snapshot = self._store.read_snapshot(pool, view.snapshot)

    def _follow(self) -> None:
        watch: Watch | None = None
        while not self._stop.is_set():
            try:
                if watch is None:
                    watch = self._store.watch_changes(self._views)
                self._refresh(self._views)
                self._recover()
                self._listen(watch)
            except StoreUnavailable as error:
                self._degrade(error)
                if watch is not None:
                    watch.close()
                    watch = None
                self._stop.wait(RETRY_EVERY)
        if watch is not None:
            watch.close()

    def _listen(self, watch: Watch) -> None:
        """Follow messages until it is time to poll."""
        until = time.monotonic() + POLL_EVERY
        while not self._stop.is_set() and not self._degraded:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._refresh(watch.wait(left))

    def _tell_suspects(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._pending_suspects:
                pool, backend = self._pending_suspects.pop()
                if self._degraded:
                    continue
                try:
                    self._store.report_suspect(pool, backend)
                except StoreUnavailable as error:
                    self._degrade(error)

    def _degrade(self, error: StoreUnavailable) -> None:
        self._why = str(error)
        if not self._degraded and not self._stop.is_set():
            self._degraded = True
            self._report(f"the store is out of reach, balancing with what is known: {error}")

    def _recover(self) -> None:
        if self._degraded:
            self._degraded = False
            self._why = ""
            self._report("the store is back, balancing with the fleet")
