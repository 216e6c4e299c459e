"""Checks the backends of one pool while it leads the pool.

Any number of checkers may run; one leads by a lease and alone writes `active`. Its writes carry the epoch of its lease,
and the store refuses those of an earlier epoch: a leader that was suspended and resumes cannot overwrite its successor.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial

from lbflask.checker.answer_watch import AnswerWatch
from lbflask.checker.candidacy import Candidacy
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.event_outbox import EventOutbox
from lbflask.checker.leadership import LeaderSettings, Leadership
from lbflask.checker.probe_scheduler import LagMonitor, ProbeScheduler
from lbflask.checker.publisher import CheckerState, HealthPublisher
from lbflask.checker.store_calls import StoreCalls, follow_messages
from lbflask.core.answer_shares import ShareChange
from lbflask.core.checks import HealthCheck
from lbflask.core.eligibility import SILENT_INTERVALS
from lbflask.core.faults import Shortage
from lbflask.core.health import Observation, in_transition, observe
from lbflask.core.hook_api import HealthChange
from lbflask.core.membership import members
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool, Snapshot
from lbflask.store.ports import CheckerStore
from lbflask.telemetry.shortage_log import ShortageLog

#: Seconds between two polls of the members of the pool, when no message arrives.
MEMBERS_POLL_INTERVAL = 1.0
#: Seconds between two polls of suspected backends.
SUSPECTS_POLL_INTERVAL = 0.2
#: Seconds between two comparisons of the store with what was written.
VERIFY_INTERVAL = 5.0
#: Threads for the store: two subscriptions, the lease, the publisher, discovery, and the watch of answers. Names are
#: resolved elsewhere.
STORE_THREADS = 6

log = logging.getLogger("lbflask.checker")

#: One for all pools: a resource that this process lacks, it lacks for all of them.
SHORTAGES = ShortageLog(log, "the check of a backend failed for it, and counts for nothing")


@dataclass(frozen=True, slots=True)
class CheckedPool:
    """A pool and how it is checked.

    `check_for` gives the check of a backend, `probe` carries it out, `discovery` finds further backends.
    `on_health_change` is called on the event loop and must not block. With `watches_answers` its leader judges the
    answers to clients, for the whole fleet.
    """

    pool: Pool
    check_for: Callable[[Backend], HealthCheck]
    probe: Callable[[Backend, HealthCheck], Awaitable[Observation]]
    discovery: DiscoveryTask | None = None
    on_health_change: Callable[[HealthChange], None] | None = None
    watches_answers: bool = False

    def check_of(self, backend: Backend) -> HealthCheck:
        """The check that discovery gives for the backend, else the configured one."""
        discovered = None if self.discovery is None else self.discovery.check_for(backend)
        return discovered or self.check_for(backend)


class PoolChecker:
    """The checker of one pool. A `predecessor` is the state of an earlier checker of the pool, with the same holder,
    that has ended and kept its lead.
    """

    def __init__(
        self,
        checked: CheckedPool,
        store: CheckerStore,
        settings: LeaderSettings,
        predecessor: CheckerState | None = None,
    ) -> None:
        name = checked.pool.name
        state = predecessor or CheckerState(EventOutbox(name, settings.holder))
        self._checked = checked
        self._store = store
        self._settings = settings
        self._call = StoreCalls(STORE_THREADS)
        self._leadership = Leadership(name, store, self._call, settings, state.role)
        self._events = state.events
        self._publisher = HealthPublisher(self._leadership, state)
        self._predecessor_urls = state.urls
        self._members: dict[str, Backend] = {}
        self._first_pauses: dict[str, float] = {}  # part of the interval by which the second check is spread
        self._lag = LagMonitor(name, settings.interval)
        self._candidacy = Candidacy(
            f"pool {name}: the checks",
            self._leadership,
            self._lead,
            self._publisher.clear,  # the leader has later observations
        )

    def __repr__(self) -> str:
        return f"<PoolChecker {self._checked.pool.name}: {self.role or 'new'}, {len(self._members)} backends>"

    @property
    def role(self) -> str:
        """What the checker does, as it is logged."""
        return self._leadership.role

    @property
    def state(self) -> CheckerState:
        """What a successor needs, after `run` has ended."""
        urls = {id_: backend.url for id_, backend in self._members.items()}
        return CheckerState(self._events, dict(self._publisher.health), urls, self.role)

    def stop(self, *, keep_lead: bool = False) -> None:
        """End `run` soon: probes in progress finish and are published. `keep_lead` keeps the lease for a successor."""
        self._candidacy.stop(keep_lead=keep_lead)

    async def run(self) -> None:
        """Lead whenever no other checker does, until stopped."""
        try:
            await self._candidacy.run()
        finally:
            self._call.close()

    async def _lead(self, epoch: int) -> None:
        """Check until stopped. Raises LeaseLost, or StoreUnavailable before the first write."""
        self._events.lead_began(epoch)
        try:
            async with asyncio.TaskGroup() as tasks:
                # The lease is renewed from the start: probes of the first round may take longer than it lasts.
                keeping = tasks.create_task(self._leadership.keep(epoch))
                known = await self._call(self._store.read_snapshot, self._checked.pool.name, NOTHING_KNOWN)
                known = await self._restore_discovered(epoch, known)
                self._take_over(epoch, known)
                scheduler = ProbeScheduler(self._members.values(), self._check, limit=self._settings.limit)
                followers = [
                    tasks.create_task(self._follow_suspects(scheduler)),
                    tasks.create_task(self._follow_members(epoch, known, scheduler)),
                ]
                if self._checked.discovery is not None:
                    publish = partial(self._publisher.write_discovered, epoch)
                    publish_failure = partial(self._publisher.write_source, epoch)
                    discovering = self._checked.discovery.run(publish, publish_failure, self._leadership.store_time)
                    followers.append(tasks.create_task(discovering))
                if self._checked.watches_answers:
                    watch = AnswerWatch(self._checked.pool.name, self._store, self._call)
                    followers.append(tasks.create_task(watch.run(self._answers_changed)))
                probing = tasks.create_task(scheduler.run())
                publishing = tasks.create_task(self._publisher.run(known, scheduler, probing))
                await self._candidacy.stopping.wait()
                scheduler.stop()
                for follower in followers:
                    follower.cancel()
                await publishing
                keeping.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _take_over(self, epoch: int, known: Snapshot) -> None:
        """Start from what is known, or from later observations of this checker that it could not write in time.

        States that were not confirmed for longer than a change of leaders takes are ignored, as workers ignore them.
        """
        max_age = max(SILENT_INTERVALS * known.interval, 2 * self._settings.lease)
        stale = known.heartbeat is None or known.heartbeat > max_age
        health = {}
        self._members = {backend.id: backend for backend in members(self._checked.pool, known)}
        for id_, backend in self._members.items():
            ours = self._publisher.health.get(id_, ActiveHealth(Health.CHECKING))
            theirs = None if stale else known.active.get(id_)
            # The store's record of a change is rounded to milliseconds.
            health[id_] = ours if theirs is None or ours.since > theirs.since + 0.001 else theirs
            if self._predecessor_urls.get(id_, backend.url) != backend.url:  # another server with this id
                health[id_] = ActiveHealth(Health.CHECKING)
        self._predecessor_urls = {}
        self._publisher.begin(epoch, health)
        count = len(self._members)
        self._first_pauses = {id_: number / count for number, id_ in enumerate(self._members, start=1)}

    async def _restore_discovered(self, epoch: int, known: Snapshot) -> Snapshot:
        """What is known, with the latest result of discovery: empty without a source, this checker's own if the store
        has lost all. It is written before any health by which workers could choose.
        """
        discovery = self._checked.discovery
        if discovery is None:
            await self._publisher.write_source(epoch, None)
        if discovery is not None and (known.heartbeat is not None or not discovery.backends):
            return known
        backends = () if discovery is None else discovery.backends
        if backends != known.discovered:
            await self._publisher.write_discovered(epoch, backends)
        return replace(known, discovered=backends)

    async def _follow_members(self, epoch: int, known: Snapshot, scheduler: ProbeScheduler) -> None:
        """Start checks of backends that join the pool, end those of backends that leave it, and verify the store."""
        pool, verified = self._checked.pool, time.monotonic()

        async def refresh(_: Collection[str]) -> None:
            nonlocal known, verified
            before, known = known, await self._call(self._store.read_snapshot, pool.name, known)
            self._events.members_discovered(before.discovered, known.discovered)
            self._set_members(members(pool, known), scheduler)
            if time.monotonic() - verified >= VERIFY_INTERVAL:
                verified = time.monotonic()
                await self._verify(epoch)

        watch = partial(self._store.watch_changes, [pool.name])
        await follow_messages(self._call, watch, MEMBERS_POLL_INTERVAL, refresh)

    async def _verify(self, epoch: int) -> None:
        """Write again what the store has lost or others have changed."""
        stored, discovery = await self._publisher.verify(), self._checked.discovery
        if discovery is not None and discovery.has_result and stored.discovered != discovery.backends:
            await self._publisher.write_discovered(epoch, discovery.backends)

    def _set_members(self, backends: Iterable[Backend], scheduler: ProbeScheduler) -> None:
        before, self._members = self._members, {backend.id: backend for backend in backends}
        for id_ in before.keys() - self._members.keys():
            scheduler.discard(id_)
            self._publisher.remove(id_)
        for id_, backend in self._members.items():
            if id_ not in before:
                self._publisher.add(id_)
            elif before[id_].url != backend.url:  # another server with this id
                self._publisher.reset(id_)
            else:
                continue
            scheduler.add(backend)

    async def _follow_suspects(self, scheduler: ProbeScheduler) -> None:
        """Check backends at once that workers could not reach."""

        async def expedite(suspects: Collection[str]) -> None:
            for backend in (suspect.partition("/")[2] for suspect in suspects):
                state = self._publisher.health.get(backend)
                if state is not None and state.health is Health.UP and not in_transition(state):
                    scheduler.expedite(backend)

        watch = partial(self._store.watch_suspects, [self._checked.pool.name])
        await follow_messages(self._call, watch, SUSPECTS_POLL_INTERVAL, expedite)

    async def _check(self, backend: Backend, delay: float) -> float:
        """Check the backend once; returns the seconds to the next check."""
        check = self._checked.check_of(backend)
        self._lag.observe(delay)
        try:
            observation = await self._checked.probe(backend, check)
        except Shortage as shortage:  # proves nothing about the backend
            SHORTAGES.note(shortage)
            return min(check.soon, check.interval)
        before = self._publisher.health.get(backend.id)
        if before is None or self._members[backend.id].url != backend.url:
            return check.interval  # it has left the pool meanwhile
        after = observe(before, observation, check.thresholds, self._leadership.store_time())
        self._publisher.update(backend.id, after)
        if after.health is not before.health:
            states = after.health.value, before.health.value
            self._report(HealthChange(self._checked.pool.name, backend.id, *states, after.reason))
        pause = check.pause(after, random.uniform(-1, 1))
        # After the first check, backends are spread evenly over the interval.
        share = self._first_pauses.pop(backend.id, 1.0)
        return pause if in_transition(after) else pause * share

    def _answers_changed(self, change: ShareChange) -> None:
        level, state = (logging.WARNING, "unusual") if change.unusual else (logging.INFO, "as usual again")
        log.log(level, "what clients get is %s: %s", state, change)
        self._events.answers_changed(change)
        self._publisher.hurry()

    def _report(self, change: HealthChange) -> None:
        level = logging.WARNING if change.health == Health.DOWN.value else logging.INFO
        log.log(level, "pool %s: backend %s is %s, was %s: %s", *astuple(change))
        if self._checked.on_health_change is not None:
            self._checked.on_health_change(change)
