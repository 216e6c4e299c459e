"""The checks of one pool: lead it, probe its backends, publish what they show.

Any number of checkers may run; one leads by a lease and alone writes `active`. Its writes carry the epoch of its lease,
and the store refuses those of an earlier one, so a leader that was frozen and thawed can't overwrite its successor.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from lbflask.core.health import Observation, Thresholds, in_transition, observe
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool, Snapshot
from lbflask.state.ports import CheckerStore, Lease, StoreUnavailable

#: Seconds for which a leader holds its place without renewing it: how long a dead one is missed.
LEASE = 3.0
#: Seconds between attempts to reach a store that is gone.
RETRY_EVERY = 0.25
#: Observations wait this many seconds for company, so that a round of many backends is a few writes.
GATHER_FOR = 0.01

log = logging.getLogger("lbflask.checker")

Probe = Callable[[Backend], Awaitable[Observation]]


class LeaseLost(Exception):
    """Another checker leads, or the store has forgotten that we do."""


class PoolChecker:
    """Checks one pool while it leads it. `run` does it all; `stop` ends the round and gives up the place."""

    def __init__(
        self,
        pool: Pool,
        store: CheckerStore,
        probe: Probe,
        *,
        holder: str,
        interval: float,
        soon: float,
        jitter: float,
        thresholds: Thresholds,
    ) -> None:
        self._pool = pool
        self._store = store
        self._probe = probe
        self._holder = holder
        self._interval = interval
        self._soon = min(soon, interval)
        self._jitter = jitter
        self._thresholds = thresholds
        self._states: dict[str, ActiveHealth] = {}
        self._outbox: dict[str, ActiveHealth] = {}
        self._flipped = False
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._nudges: dict[str, asyncio.Event] = {}
        self._clock_offset = 0.0
        self._told = ""

    def stop(self) -> None:
        """End soon: probes under way are finished and published."""
        self._stopping.set()

    async def run(self) -> None:
        """Lead whenever no other does, until stopped."""
        while not self._stopping.is_set():
            try:
                lease = await self._hold()
                if lease is None:
                    self._states = {}  # the other one knows better
                    self._say("standing by: another checker leads")
                    await self._pause(LEASE / 3)
                    continue
                self._say("leading")
                await self._lead(lease)
            except StoreUnavailable as error:
                self._say(f"waiting for the store: {error}")
                await self._pause(RETRY_EVERY)
            except LeaseLost as lost:
                self._say(f"no longer leading: {lost}")
        with suppress(StoreUnavailable):
            await asyncio.to_thread(self._store.drop_lease, self._pool.name, self._holder)

    async def _lead(self, lease: Lease) -> None:
        """Check until stopped. Raises LeaseLost, or StoreUnavailable before the first round is published."""
        # The lease is kept from the start: probes of the first round may take longer than it lasts.
        tasks = [asyncio.create_task(self._keep(lease.epoch)), asyncio.create_task(self._work(lease.epoch))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, epoch: int) -> None:
        """The first round, and then every backend at its own pace."""
        known = await asyncio.to_thread(self._store.read_snapshot, self._pool.name, NOTHING_KNOWN)
        self._states = {backend.id: self._latest(backend.id, known) for backend in self._pool.backends}
        self._nudges = {backend.id: asyncio.Event() for backend in self._pool.backends}
        await asyncio.gather(*(self._check(backend) for backend in self._pool.backends))
        self._outbox, self._flipped = {}, False
        changed = {key: value.health for key, value in self._states.items()} != {
            key: value.health for key, value in known.active.items()
        }
        await self._write(epoch, self._states, replace=True, announce=changed)
        duties = [asyncio.create_task(self._publish(epoch)), asyncio.create_task(self._listen())]
        watches = [asyncio.create_task(self._watch(backend)) for backend in self._pool.backends]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*duties, *watches, stopped], return_when=asyncio.FIRST_COMPLETED)
            if stopped in done:
                await asyncio.gather(*watches)  # they end their probes
                if self._outbox:
                    await self._write(epoch, self._outbox, announce=self._flipped)
            else:
                for task in done:
                    task.result()
        finally:
            for task in (*duties, *watches, stopped):
                task.cancel()
            await asyncio.gather(*duties, *watches, stopped, return_exceptions=True)

    def _latest(self, backend: str, known: Snapshot) -> ActiveHealth:
        """What the store knows; or what we saw since, if we could not tell it before the lease ran out."""
        ours = self._states.get(backend, ActiveHealth(Health.CHECKING))
        theirs = known.active.get(backend)
        # The store's record of a change is rounded to milliseconds.
        return ours if theirs is None or ours.since > theirs.since + 0.001 else theirs

    async def _watch(self, backend: Backend) -> None:
        """Probe the backend again and again: soon while it is in transition, else at its interval, or when nudged."""
        nudge = self._nudges[backend.id]
        while not self._stopping.is_set():
            base = self._soon if in_transition(self._states[backend.id]) else self._interval
            delay = base * (1 + random.uniform(-self._jitter, self._jitter) / 100)
            await self._pause(delay, nudge)
            nudge.clear()
            if not self._stopping.is_set():
                await self._check(backend)

    async def _check(self, backend: Backend) -> None:
        seen = await self._probe(backend)
        before = self._states[backend.id]
        after = observe(before, seen, self._thresholds, time.monotonic() + self._clock_offset)
        self._states[backend.id] = self._outbox[backend.id] = after
        if after.health is not before.health:
            self._flipped = True
            log.warning(
                "pool %s: backend %s is %s, was %s: %s",
                self._pool.name, backend.id, after.health, before.health, after.reason,
            )  # fmt: skip
        self._news.set()

    async def _publish(self, epoch: int) -> None:
        """Write observations as they come; keep them while the store is gone.

        A word is due in every interval, whether or not a probe has ended: slow probes are no silence.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._news.wait()
            await asyncio.sleep(GATHER_FOR)
            self._news.clear()
            batch, flipped = self._outbox, self._flipped
            self._outbox, self._flipped = {}, False
            try:
                await self._write(epoch, batch, announce=flipped)
            except StoreUnavailable as error:
                self._say(f"waiting for the store: {error}")
                self._outbox = batch | self._outbox
                self._flipped = self._flipped or flipped
                await asyncio.sleep(RETRY_EVERY)
                self._news.set()
            else:
                self._say("leading")

    async def _write(
        self, epoch: int, states: dict[str, ActiveHealth], *, replace: bool = False, announce: bool = False
    ) -> None:
        written = await asyncio.to_thread(
            self._store.write_active, self._pool.name, epoch, states,
            interval=self._interval, replace=replace, announce=announce,
        )  # fmt: skip
        if not written:
            raise LeaseLost("a later epoch has begun")

    async def _keep(self, epoch: int) -> None:
        """Renew the lease; a store that is gone for a while may still know us when it is back."""
        while True:
            await asyncio.sleep(LEASE / 3)
            with suppress(StoreUnavailable):
                lease = await self._hold()
                if lease is None:
                    raise LeaseLost("another checker leads")
                if lease.epoch != epoch:
                    raise LeaseLost("the lease had run out, or the store was emptied")

    async def _hold(self) -> Lease | None:
        lease = await asyncio.to_thread(self._store.hold_lease, self._pool.name, self._holder, LEASE)
        if lease is not None:
            self._clock_offset = lease.now - time.monotonic()
        return lease

    async def _listen(self) -> None:
        """Look at once at backends that workers could not reach."""
        while True:
            try:
                watch = await asyncio.to_thread(self._store.watch_suspects, [self._pool.name])
                try:
                    while True:
                        for message in await asyncio.to_thread(watch.wait, 0.2):
                            self._nudge(message.partition("/")[2])
                finally:
                    watch.close()
            except StoreUnavailable:
                await asyncio.sleep(RETRY_EVERY)

    def _nudge(self, backend: str) -> None:
        state, nudge = self._states.get(backend), self._nudges.get(backend)
        if state is not None and nudge is not None and state.health is Health.UP and not in_transition(state):
            nudge.set()

    async def _pause(self, seconds: float, *wakers: asyncio.Event) -> None:
        """Wait so long, or until stopped, or until one of the events."""
        waits = [asyncio.create_task(event.wait()) for event in (self._stopping, *wakers)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _say(self, what: str) -> None:
        """Log a change of role, once."""
        if what != self._told:
            self._told = what
            log.info("pool %s: %s", self._pool.name, what)
