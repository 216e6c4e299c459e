"""A store that can be lost and found, and what the tests of the fleet do with it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.model import ActiveHealth, Health, Snapshot
from lbflask.core.tickets import LEASE_FROM
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import Beat, HealthWrite, OtherWorkers, StoreUnavailable
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
        self.calls: list[tuple[str, str, object]] = []  # thread, method, argument
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

    def asked(self, method: str) -> list[object]:
        """The arguments with which it was asked so far."""
        return [argument for _, name, argument in list(self.calls) if name == method]

    def watched(self) -> set[str]:
        """The pools that the latest subscription is about."""
        return {pool for pools in self.asked("watch_changes")[-1:] if isinstance(pools, tuple) for pool in pools}

    def calls_of_this_thread(self) -> int:
        return [thread for thread, _, _ in list(self.calls)].count(threading.current_thread().name)

    def take_tickets(self, pool: str, count: int) -> int:
        self._trip("take_tickets", count)
        return self.facts.take_tickets(pool, count)

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        self._trip("read_snapshot", pool)
        return self.facts.read_snapshot(pool, known)

    def prove(self, pool: str) -> None:
        self._trip("prove", pool)
        self.facts.prove(pool)

    def watch_changes(self, pools: Collection[str]) -> FlakyWatch:
        self._trip("watch_changes", tuple(pools))
        watch = FlakyWatch(self)
        self.watches.append(watch)
        return watch

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        self._trip("agree_on_secret", proposed)
        return self.facts.agree_on_secret(pool, proposed)

    def report_suspect(self, pool: str, backend: str) -> None:
        self._trip("report_suspect", f"{pool}/{backend}")

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        self._trip("count_failures", (backend, report))
        return self.facts.count_failures(pool, backend, report, rule)

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        self._trip("hold_probe", holder)
        return self.facts.hold_probe(pool, holder, seconds)

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        self._trip("settle_ejection", (backend, back))
        return self.facts.settle_ejection(pool, backend, since, back=back, rule=rule)

    def beat(self, pool: str, worker: str, beat: Beat, *, read: bool) -> OtherWorkers:
        self._trip("beat", dict(beat.loads))
        return self.facts.beat(pool, worker, beat, read=read)

    def record(self, events: Sequence[FleetEvent]) -> None:
        self._trip("record", tuple(events))
        self.facts.record(events)

    def leave(self, pool: str, worker: str) -> None:
        self._trip("leave", worker)
        self.facts.leave(pool, worker)

    def announce_reload(self) -> None:
        self._trip("announce_reload", None)
        self.facts.announce_reload()

    def close(self) -> None:
        self.closed = True
        self.stir()

    def _trip(self, method: str, argument: object) -> None:
        self.calls.append((threading.current_thread().name, method, argument))
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
        taken.extend(fleet.tickets(POOL).next() for _ in range(3 * LEASE_FROM))
        return store.asked("take_tickets")[-1] != 1

    eventually(busy, "tickets are taken in blocks")
    return taken
