"""The checks of one pool: lead it, look at its backends, publish what they show.

Any number of checkers may run; one leads by a lease and alone writes `active`. Its writes carry the epoch of its lease,
and the store refuses those of an earlier one, so a leader that was frozen and thawed can't overwrite its successor.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, replace
from functools import partial
from typing import TypeVar

from lbflask.background import Restarts
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.event_outbox import EventOutbox
from lbflask.checker.health_diff import differs, rebased
from lbflask.checker.lag import LagMonitor
from lbflask.checker.leadership import LeaderSettings, LeaseLost
from lbflask.checker.probe_scheduler import ProbeScheduler
from lbflask.checker.subscription import RETRY_EVERY, hear
from lbflask.checker.together import Together
from lbflask.core.checks import HealthCheck
from lbflask.core.eligibility import SILENT_INTERVALS
from lbflask.core.faults import Shortage
from lbflask.core.health import Observation, in_transition, observe
from lbflask.core.hook_api import HealthChange
from lbflask.core.membership import members
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool, Snapshot
from lbflask.store.ports import CheckerStore, Lease, StoreUnavailable
from lbflask.telemetry.shortage_log import ShortageLog

#: A leader renews its lease this many times while it lasts.
RENEWALS = 3
#: One that stands by asks for the lease this many times while it lasts, and so is soon there when it runs out.
KNOCKS = 10
#: Observations wait this many seconds for company, so that those of many backends are a few writes; and longer by so
#: many for each backend of the pool, since every worker reads all of them when it hears that one has changed.
GATHER_FOR = 0.01
GATHER_EACH = 0.000_025
#: Seconds between two looks at who is in the pool, when no message comes.
MEMBERS_EVERY = 1.0
#: Seconds between two looks whether the store still holds what was written.
COMPARE_EVERY = 5.0
#: Threads for the store: two listen, one keeps the lease, one writes. Names are resolved elsewhere, and may take long.
STORE_THREADS = 5

log = logging.getLogger("lbflask.checker")

#: One for all pools: what this process lacks, it lacks for all of them.
SHORTAGES = ShortageLog(log, "the check of a backend failed for it, and counts for nothing")

Probe = Callable[[Backend, HealthCheck], Awaitable[Observation]]
Answer = TypeVar("Answer")


class PoolChecker:
    """Checks one pool while it leads it. `run` does it all; `stop` ends the round and gives up the place.

    `check_of` says how a backend is checked, and `finding` which there are beside those of the pool. `on_flip` is told
    of changes of health, and must not wait for anything.
    """

    def __init__(
        self,
        pool: Pool,
        check_of: Callable[[Backend], HealthCheck],
        store: CheckerStore,
        probe: Probe,
        terms: LeaderSettings,
        finding: DiscoveryTask | None = None,
        on_flip: Callable[[HealthChange], None] | None = None,
    ) -> None:
        self._pool = pool
        self._check_of = check_of
        self._store = store
        self._probe = probe
        self._terms = terms
        self._finding = finding
        self._on_flip = on_flip
        self._members: dict[str, Backend] = {}
        self._states: dict[str, ActiveHealth] = {}
        self._outbox: dict[str, ActiveHealth] = {}
        self._journal = EventOutbox(pool.name, terms.holder)
        # Whether a health is another, and whether all is to be written: somebody is gone, whose record is to go too.
        self._flipped = self._rewrite = False
        self._writes = 0  # begun and ended: odd while one is under way
        self._restarts = Restarts(f"pool {pool.name}: the checks")
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._keeps_lead = False
        self._urls: dict[str, str] = {}  # of the predecessor's backends
        self._places: dict[str, float] = {}
        self._clock_offset = 0.0
        self._told = ""
        self._lateness = LagMonitor(pool.name, terms.interval)
        self._threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")

    def stop(self, *, keep_lead: bool = False) -> None:
        """End soon: probes under way are finished and published. The lead is kept for a successor, if there is one."""
        self._keeps_lead = keep_lead
        self._stopping.set()

    def succeed(self, before: PoolChecker) -> None:
        """Go on, in the same name, with what another one of this pool knew, which has ended and kept the lead."""
        self._states = before._states
        self._urls = {id_: backend.url for id_, backend in before._members.items()}
        self._told = before._told
        self._journal = before._journal

    async def run(self) -> None:
        """Lead whenever no other does, until stopped."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._lead_if_free()
                except Exception as error:  # noqa: BLE001 - it is logged, and ends nothing for good
                    await self._pause(self._restarts.failed(error))
            if self._keeps_lead:
                return
            with suppress(StoreUnavailable):
                await self._ask(self._store.drop_lease, self._pool.name, self._terms.holder)
        finally:
            self._threads.shutdown(wait=False)

    async def _lead_if_free(self) -> None:
        try:
            lease = await self._hold()
            if lease is None:
                self._states = {}  # the other one knows better
                self._say("standing by: another checker leads")
                await self._pause(self._terms.lease / KNOCKS)
                return
            self._say(f"leading, epoch {lease.epoch}")
            self._journal.leads(lease.epoch)
            await self._lead(lease.epoch)
        except StoreUnavailable as error:
            self._say(f"waiting for the store: {error}")
            await self._pause(RETRY_EVERY)
        except LeaseLost as lost:
            self._say(f"no longer leading: {lost}")

    async def _lead(self, epoch: int) -> None:
        """Check until stopped. Raises LeaseLost, or StoreUnavailable before the first word is published."""
        # The lease is kept from the start: probes of the first round may take longer than it lasts.
        async with Together() as tasks:
            keeping = tasks.start(self._keep(epoch))
            known = await self._ask(self._store.read_snapshot, self._pool.name, NOTHING_KNOWN)
            known = await self._settle_found(epoch, known)
            self._take_up(known)
            suspects = partial(self._store.watch_suspects, [self._pool.name])
            rounds = ProbeScheduler(self._members.values(), self._check, most=self._terms.most)
            listening = tasks.start(hear(self._ask, suspects, 0.2, partial(self._nudge, rounds)))
            following = tasks.start(self._follow_members(epoch, known, rounds))
            looking = tasks.start(rounds.run())
            publishing = tasks.start(self._publish(epoch, known, rounds, looking))
            stopped = tasks.start(self._stopping.wait())
            working = [keeping, listening, following, looking, publishing, stopped]
            if self._finding is not None:
                working.append(tasks.start(self._finding.run(partial(self._tell_found, epoch))))
            await tasks.first_of(*working)
            rounds.stop()
            await tasks.first_of(keeping, publishing)
            looking.result()

    def _take_up(self, known: Snapshot) -> None:
        """Go on from what is known; or from what we saw since, if we could not tell it before the lease ran out.

        What nobody has spoken of for longer than a change of leaders takes counts for nothing, as it does for workers.
        """
        fresh = max(SILENT_INTERVALS * known.interval, 2 * self._terms.lease)
        stale = known.heartbeat is None or known.heartbeat > fresh
        states = {}
        self._members = {backend.id: backend for backend in members(self._pool, known)}
        for backend in self._members.values():
            ours = self._states.get(backend.id, ActiveHealth(Health.CHECKING))
            theirs = None if stale else known.active.get(backend.id)
            # The store's record of a change is rounded to milliseconds.
            states[backend.id] = ours if theirs is None or ours.since > theirs.since + 0.001 else theirs
            if self._urls.get(backend.id, backend.url) != backend.url:  # another server by this name
                states[backend.id] = ActiveHealth(Health.CHECKING)
        self._states, self._urls = states, {}
        self._outbox, self._flipped, self._rewrite = {}, False, False
        count = len(self._members)
        self._places = {id_: place / count for place, id_ in enumerate(self._members, start=1)}

    async def _settle_found(self, epoch: int, known: Snapshot) -> Snapshot:
        """What is known, with the backends that were found before this lead: none, if no source is configured any more;
        those that we remember, if the store has forgotten all. They come before any word that workers could go by.
        """
        if self._finding is not None and (known.heartbeat is not None or not self._finding.backends):
            return known
        found = () if self._finding is None else self._finding.backends
        if found != known.discovered:
            await self._tell_found(epoch, found)
        return replace(known, discovered=found)

    async def _tell_found(self, epoch: int, backends: tuple[Backend, ...]) -> None:
        """Tell the fleet who was found; it comes back to us as it comes to all."""
        if not await self._ask(self._store.write_discovered, self._pool.name, epoch, backends):
            raise LeaseLost("a later epoch has begun")

    async def _follow_members(self, epoch: int, known: Snapshot, rounds: ProbeScheduler) -> None:
        """Look at those who come into the pool, and no more at those who leave it. Now and then, compare what the store
        holds of them with what was written.
        """
        compared = time.monotonic()

        async def settle(_: Collection[str]) -> None:
            nonlocal known, compared
            before, known = known, await self._ask(self._store.read_snapshot, self._pool.name, known)
            self._journal.finds(before.discovered, known.discovered)
            self._settle_members(members(self._pool, known), rounds)
            if time.monotonic() - compared >= COMPARE_EVERY:
                compared = time.monotonic()
                await self._compare(epoch)

        await hear(self._ask, partial(self._store.watch_changes, [self._pool.name]), MEMBERS_EVERY, settle)

    async def _compare(self, epoch: int) -> None:
        """Write anew what somebody else has written over, or damaged. Moments that are ahead of the store's clock, as
        after it was set back, are those of now.
        """
        writes = self._writes
        held = await self._ask(self._store.read_snapshot, self._pool.name, NOTHING_KNOWN)
        if self._finding is not None and self._finding.found and held.discovered != self._finding.backends:
            await self._tell_found(epoch, self._finding.backends)
        if not writes or writes % 2 or writes != self._writes or self._outbox:
            return  # they may differ because of what is being written
        self._states = rebased(self._states, held.now)
        if differs(self._states, held.active):
            log.warning("pool %s: the store holds other health than was written: writing it anew", self._pool.name)
            self._rewrite = self._flipped = True
            self._news.set()

    def _settle_members(self, found: Iterable[Backend], rounds: ProbeScheduler) -> None:
        now, before = {backend.id: backend for backend in found}, self._members
        self._members = now
        for id_ in before.keys() - now.keys():
            rounds.drop(id_)
            del self._states[id_]
            self._outbox.pop(id_, None)
            self._rewrite = True
        for id_, backend in now.items():
            if id_ not in before or before[id_].url != backend.url:
                self._states[id_] = ActiveHealth(Health.CHECKING)
                rounds.add(backend)
                if id_ in before:  # another server by this name: what was known of the old one is to be forgotten
                    self._rewrite = self._flipped = True
        if self._rewrite:
            self._news.set()

    async def _check(self, backend: Backend, late: float) -> float:
        """One look at the backend; seconds to the next. After the first, backends are spread over their interval."""
        found = self._finding.check_of(backend) if self._finding is not None else None
        check = found or self._check_of(backend)
        self._lateness.note(late)
        try:
            seen = await self._probe(backend, check)
        except Shortage as shortage:  # proves nothing about the backend
            SHORTAGES.note(shortage)
            return min(check.soon, check.interval)
        before = self._states.get(backend.id)
        if before is None or self._members[backend.id].url != backend.url:
            return check.interval  # it has left the pool meanwhile
        after = observe(before, seen, check.thresholds, time.monotonic() + self._clock_offset)
        if after != before:
            self._states[backend.id] = self._outbox[backend.id] = after
            self._news.set()
        if after.health is not before.health:
            self._flipped = True
            self._journal.flips(backend.id, before, after)
            level = logging.WARNING if after.health is Health.DOWN else logging.INFO
            change = HealthChange(self._pool.name, backend.id, after.health.value, before.health.value, after.reason)
            log.log(level, "pool %s: backend %s is %s, was %s: %s", *astuple(change))
            if self._on_flip is not None:
                self._on_flip(change)
        place = self._places.pop(backend.id, 1.0)
        pause = check.pause(after, random.uniform(-1, 1))
        return pause if in_transition(after) else pause * place

    async def _publish(self, epoch: int, known: Snapshot, rounds: ProbeScheduler, looking: asyncio.Task[None]) -> None:
        """Write what changes as it comes, until the last look has ended; keep it while the store is gone.

        A successor speaks at once, and its first word is what was known. Where nothing is known, the first word is the
        whole first round: until then all backends may serve, and after it those that are up.

        A word is due in every interval, whether or not a state has changed: no news is no silence.
        """
        words = {key: state for key, state in self._states.items() if state.health is not Health.CHECKING}
        if not words:
            await rounds.first.wait()
            if not rounds.whole:
                return
            words = self._states
        self._outbox, self._flipped = {}, False
        before = {key: state.health for key, state in known.active.items()}
        changed = {key: state.health for key, state in words.items()} != before
        await self._write(epoch, dict(words), replace=True, announce=changed)
        while not looking.done() or self._outbox:
            await self._await_news(looking)
            batch, flipped, rewrite = self._outbox, self._flipped, self._rewrite
            self._outbox, self._flipped, self._rewrite = {}, False, False
            try:
                await self._write(epoch, dict(self._states) if rewrite else batch, replace=rewrite, announce=flipped)
            except StoreUnavailable as error:
                self._say(f"waiting for the store: {error}")
                if looking.done():
                    return
                self._outbox = batch | self._outbox
                self._flipped, self._rewrite = self._flipped or flipped, self._rewrite or rewrite
                await asyncio.sleep(RETRY_EVERY)
                self._news.set()
            else:
                self._say(f"leading, epoch {epoch}")

    async def _await_news(self, looking: asyncio.Task[None]) -> None:
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait([news, looking], timeout=self._terms.interval, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if not looking.done():
            await asyncio.sleep(max(GATHER_FOR, GATHER_EACH * len(self._members)))
        self._news.clear()

    async def _write(
        self, epoch: int, states: dict[str, ActiveHealth], *, replace: bool = False, announce: bool = False
    ) -> None:
        self._writes |= 1
        written = await self._ask(
            self._store.write_active, self._pool.name, epoch, states,
            interval=self._terms.interval, replace=replace, announce=announce,
        )  # fmt: skip
        self._writes += 1
        if not written:
            raise LeaseLost("a later epoch has begun")
        with suppress(StoreUnavailable):
            await self._journal.tell(partial(self._ask, self._store.record))

    async def _keep(self, epoch: int) -> None:
        """Renew the lease; a store that is gone for a while may still know us when it is back."""
        while True:
            await asyncio.sleep(self._terms.lease / RENEWALS)
            with suppress(StoreUnavailable):
                lease = await self._hold()
                if lease is None:
                    raise LeaseLost("another checker leads")
                if lease.epoch != epoch:
                    raise LeaseLost("the lease had run out, or the store was emptied")

    async def _hold(self) -> Lease | None:
        lease = await self._ask(self._store.hold_lease, self._pool.name, self._terms.holder, self._terms.lease)
        if lease is not None:
            self._clock_offset = lease.now - time.monotonic()
        return lease

    async def _nudge(self, rounds: ProbeScheduler, suspects: Collection[str]) -> None:
        """Look at once at backends that workers could not reach."""
        for backend in (suspect.partition("/")[2] for suspect in suspects):
            state = self._states.get(backend)
            if state is not None and state.health is Health.UP and not in_transition(state):
                rounds.hurry(backend)

    async def _ask(self, method: Callable[..., Answer], *arguments: object, **named: object) -> Answer:
        """Call the store, on a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(method, *arguments, **named))

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _say(self, what: str) -> None:
        """Log a change of role, once."""
        if what != self._told:
            self._told = what
            log.info("pool %s: %s", self._pool.name, what)
