"""The health of a pool's backends as its checker has found it, and the writes that publish it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from lbflask.checker.event_outbox import EventOutbox
from lbflask.checker.leadership import WAITING, Leadership, LeaseLost
from lbflask.checker.probe_scheduler import ProbeScheduler
from lbflask.core.clock_skew import set_back
from lbflask.core.discovery import SourceFailure
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Snapshot
from lbflask.store.ports import HealthWrite, StoreUnavailable

#: Seconds for which a change waits for others, so that the changes of many backends are a few writes; and for each
#: backend of the pool in addition, since every worker reads all of them after an announcement.
COALESCE_FOR = 0.01
COALESCE_PER_BACKEND = 0.000_025

log = logging.getLogger("lbflask.checker")


@dataclass(slots=True)
class CheckerState:
    """What a checker has found, and what its successor in the same process goes on with. `urls` are those of its
    backends, `role` is its latest role.
    """

    events: EventOutbox
    health: dict[str, ActiveHealth] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    role: str = ""


class HealthPublisher:
    """Publishes the health of the pool of a leadership, while its checker leads."""

    def __init__(self, leadership: Leadership, state: CheckerState) -> None:
        self._pool, self._store, self._call = leadership.pool, leadership.store, leadership.call
        self._settings = leadership.settings
        self._leadership = leadership
        self._events = state.events
        self.health = state.health  #: of each backend of the pool
        self._next = HealthWrite(0, {}, self._settings.interval)  # the pending changes
        self._changed = asyncio.Event()
        self._writes = 0  # started and ended: odd while one is in progress

    def __repr__(self) -> str:
        epoch, pending = self._next.epoch, len(self._next.states)
        return f"<HealthPublisher {self._pool}: epoch {epoch}, {len(self.health)} backends, {pending} pending>"

    def begin(self, epoch: int, health: Mapping[str, ActiveHealth]) -> None:
        """Publish in this epoch, from this state on."""
        self.health, self._next = dict(health), HealthWrite(epoch, {}, self._settings.interval)

    def clear(self) -> None:
        """Forget the health of all backends."""
        self.health = {}

    def add(self, backend: str) -> None:
        """The backend is new; nothing is published about it until it was checked."""
        self.health[backend] = ActiveHealth(Health.CHECKING)

    def reset(self, backend: str) -> None:
        """The backend is another server than before: what is published about it is withdrawn."""
        self.add(backend)
        self._rewrite(announce=True)

    def remove(self, backend: str) -> None:
        """The backend has left the pool: its record in the store is removed."""
        del self.health[backend]
        self._next.states.pop(backend, None)
        self._rewrite()

    def update(self, backend: str, state: ActiveHealth) -> None:
        """The backend has this state after a check. A change is published; one of its health, or of its certificate, is
        announced.
        """
        before = self.health[backend]
        if state == before:
            return
        self.health[backend] = self._next.states[backend] = state
        self._changed.set()
        if state.health is not before.health or state.certificate_expires != before.certificate_expires:
            self._next = replace(self._next, announce=True)
        if state.health is not before.health:
            self._events.health_changed(backend, before, state)

    def hurry(self) -> None:
        """Write soon, with the events that are pending."""
        self._changed.set()

    async def run(self, known: Snapshot, scheduler: ProbeScheduler, probing: asyncio.Task[None]) -> None:
        """Write changes until the last check has ended; while the store is unavailable, they are kept.

        A successor first writes what is `known`, at once. Where nothing is known, the first write is the complete first
        round: until then all backends may serve, and after it those that are up.

        There is a write in every interval, also without changes: it is the heartbeat of the checker.
        """
        health = {id_: state for id_, state in self.health.items() if state.health is not Health.CHECKING}
        if not health:
            await scheduler.first_round_ended.wait()
            if not scheduler.first_round_complete:
                return
            health = self.health
        self._next = replace(self._next, states={}, announce=False)
        before = {id_: state.health for id_, state in known.active.items()}
        announce = {id_: state.health for id_, state in health.items()} != before
        await self._write(replace(self._next, states=dict(health), replace=True, announce=announce))
        while not probing.done() or self._next.states:
            await self._wait_for_changes(probing)
            changes = self._next
            self._next = replace(changes, states={}, replace=False, announce=False)
            try:
                await self._write(replace(changes, states=dict(self.health)) if changes.replace else changes)
            except StoreUnavailable as error:
                self._leadership.set_role(f"{WAITING}: {error}")
                if probing.done():
                    return
                later = self._next
                self._next = replace(
                    changes,
                    states=changes.states | later.states,
                    replace=changes.replace or later.replace,
                    announce=changes.announce or later.announce,
                )
                await asyncio.sleep(self._settings.retry_interval)
                self._changed.set()
            else:
                self._leadership.set_role(f"leading, epoch {changes.epoch}")

    async def verify(self) -> Snapshot:
        """Compare what the store holds with what was written, and write it again if others have changed or damaged it.

        Times ahead of the store's clock, as after it was set back, become the current time. Returns what the store
        holds.
        """
        writes = self._writes
        stored = await self._call(self._store.read_snapshot, self._pool, NOTHING_KNOWN)
        if not writes or writes % 2 or writes != self._writes or self._next.states:
            return stored  # a difference may come from a write in progress
        self.health = {
            id_: replace(state, since=stored.now) if set_back(state.since, stored.now) else state
            for id_, state in self.health.items()
        }
        if differs(self.health, stored.active):
            log.warning("pool %s: the store holds other health than was written: writing it again", self._pool)
            self._rewrite(announce=True)
        return stored

    async def write_discovered(self, epoch: int, backends: tuple[Backend, ...]) -> None:
        """Publish the result of discovery. Raises LeaseLost. The checker reads it back as all others do."""
        if not await self._call(self._store.write_discovered, self._pool, epoch, backends):
            raise LeaseLost("a later epoch has begun")

    async def write_source(self, epoch: int, failure: SourceFailure | None) -> None:
        """Publish that the discovery source fails, or that it does not. Raises LeaseLost."""
        if not await self._call(self._store.write_source, self._pool, epoch, failure):
            raise LeaseLost("a later epoch has begun")

    def _rewrite(self, *, announce: bool = False) -> None:
        self._next = replace(self._next, replace=True, announce=announce or self._next.announce)
        self._changed.set()

    async def _wait_for_changes(self, probing: asyncio.Task[None]) -> None:
        """Wait for a change and for those that follow soon, at most for an interval."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait(
                [changed, probing], timeout=self._settings.interval, return_when=asyncio.FIRST_COMPLETED
            )  # fmt: skip
        finally:
            changed.cancel()
        if not probing.done():
            await asyncio.sleep(max(COALESCE_FOR, COALESCE_PER_BACKEND * len(self.health)))
        self._changed.clear()

    async def _write(self, changes: HealthWrite) -> None:
        """Write the changes, and then record pending events. Raises LeaseLost or StoreUnavailable."""
        self._writes |= 1
        written = await self._call(self._store.write_active, self._pool, changes)
        self._writes += 1
        if not written:
            raise LeaseLost("a later epoch has begun")
        with suppress(StoreUnavailable):
            await self._events.flush(lambda events: self._call(self._store.record, events))


def differs(written: Mapping[str, ActiveHealth], stored: Mapping[str, ActiveHealth]) -> bool:
    """Whether the store does not hold these states, of which it may lack those of backends that were not checked."""
    checked = {id_: state for id_, state in written.items() if state.health is not Health.CHECKING}
    return bool(stored.keys() - written.keys()) or any(
        not _same(state, stored.get(id_)) for id_, state in checked.items()
    )


def _same(written: ActiveHealth, stored: ActiveHealth | None) -> bool:
    """The store keeps milliseconds, and the beginning of a long reason."""
    if stored is None or (stored.health, stored.streak) != (written.health, written.streak):
        return False
    return abs(stored.since - written.since) < 0.01
