"""A store that can be lost and found, and what the tests of the fleet do with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

from devtools.wait import eventually
from lbflask.core.model import ActiveHealth, Health
from lbflask.core.tickets import LEASE_FROM
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import HealthWrite, StoreUnavailable
from lbflask.store.redis import RedisStore
from tests.store.stores import PATIENCE

POOL = "web"
UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)
#: Seconds that no test lasts: what happens meanwhile did not wait for it.
NEVER = 3600.0


class FlakyStore:
    """The workers' port over facts in memory: it can be lost and found, and remembers what it was asked by whom."""

    def __init__(self, facts: MemoryStore) -> None:
        self.facts = facts
        self.why_lost = ""
        self.refuse = ""  # the one method that fails
        self.closed = False
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []  # thread, method, arguments
        self.watches: list[FlakyWatch] = []
        self.stirred = threading.Condition()
        self.doorway = threading.Event()  # shut, no call gets an answer
        self.doorway.set()

    def lose(self, why: str = "gone", quietly: bool = False) -> None:
        """No call succeeds from now on; unless quietly, those who wait for messages notice at once."""
        self.why_lost = why
        if not quietly:
            self.stir()

    def find(self) -> None:
        self.why_lost = ""

    def tell(self, pool: str) -> None:
        """Send the message that a status changed."""
        for watch in self.watches:
            watch.messages.add(pool)
        self.stir()

    def stir(self) -> None:
        with self.stirred:
            self.stirred.notify_all()

    def asked(self, method: str) -> list[tuple[Any, ...]]:
        """The arguments with which it was asked so far."""
        return [arguments for _, name, arguments in list(self.calls) if name == method]

    def watched(self) -> set[str]:
        """The pools that the latest subscription is about."""
        return {pool for (pools,) in self.asked("watch_changes")[-1:] for pool in pools}

    def calls_of_this_thread(self) -> int:
        return [thread for thread, _, _ in list(self.calls)].count(threading.current_thread().name)

    def watch_changes(self, pools: Collection[str]) -> FlakyWatch:
        self._trip("watch_changes", (tuple(pools),))
        watch = FlakyWatch(self)
        self.watches.append(watch)
        return watch

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Any other operation of the port."""
        operation = getattr(self.facts, method)

        def trip(*arguments: Any, **named: Any) -> Any:
            self._trip(method, arguments)
            return operation(*arguments, **named)

        return trip

    def close(self) -> None:
        self.closed = True
        self.stir()

    def _trip(self, method: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((threading.current_thread().name, method, arguments))
        assert self.doorway.wait(PATIENCE)
        if self.why_lost or method == self.refuse:
            raise StoreUnavailable(self.why_lost or "refused")


class FlakyWatch:
    """A subscription that ends with its store."""

    def __init__(self, store: FlakyStore) -> None:
        self.store = store
        self.messages: set[str] = set()
        self.closed = False

    def wait(self, timeout: float) -> Collection[str]:
        store = self.store
        with store.stirred:
            store.stirred.wait_for(lambda: self.messages or store.why_lost or store.closed, timeout)
        if store.why_lost:
            raise StoreUnavailable(store.why_lost)
        heard, self.messages = self.messages, set()
        return heard

    def close(self) -> None:
        self.closed = True


def write(store: MemoryStore | RedisStore, states: dict[str, ActiveHealth], pool: str = POOL) -> None:
    """As the checker does when a status has changed."""
    lease = store.hold_lease(pool, "checker", NEVER)
    assert lease is not None
    assert store.write_active(pool, HealthWrite(lease.epoch, states, interval=1, announce=True))


def active(fleet: Fleet, pool: str = POOL) -> dict[str, ActiveHealth]:
    return dict(fleet.snapshot(pool).active)


def grown_busy(fleet: Fleet, store: FlakyStore) -> list[int]:
    """Tickets taken as fast as can be, until the fleet takes more than one at a time."""
    taken: list[int] = []

    def busy() -> bool:
        taken.extend(fleet.pools[POOL].tickets.next() for _ in range(3 * LEASE_FROM))
        return store.asked("take_tickets")[-1] != (POOL, 1)

    eventually(busy, "tickets are taken in blocks")
    return taken


def await_no_thread() -> None:
    """Wait until no thread of a fleet is left. A stop waits for them only for a time, which a busy machine exceeds."""
    eventually(
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")],
        "no thread is left",
    )
