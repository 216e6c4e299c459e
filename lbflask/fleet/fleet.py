"""The fleet as one worker sees it: snapshots, tickets and traffic, with the store or without it.

No request reads health from the store, and none fails because of it. While the store is out of reach the last snapshot
holds, tickets are local, and backends are ejected by what this worker sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TypeVar

from lbflask.core.answers import Answers
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import Roster
from lbflask.core.forgotten import ForgottenOverrides
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.model import Snapshot
from lbflask.fleet.bans import FleetBans
from lbflask.fleet.follower import SnapshotFollower
from lbflask.fleet.local_pool import LocalPool
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.published_settings import PublishedSettings
from lbflask.fleet.reporter import FleetReporter
from lbflask.fleet.store_link import StoreLink
from lbflask.fleet.traffic import Traffic
from lbflask.store.ports import StoreUnavailable, WorkerStore

_FALLBACKS = {
    Fallback.NONE: "serving without a fallback again",
    Fallback.EJECTED: "all healthy backends are ejected, so all of them serve",
    Fallback.UNCHECKED: "no backend has passed an active check, so those without a result yet serve",
    Fallback.ALL: "active checks leave no backend: failing open, all backends serve",
}

Result = TypeVar("Result")


class Fleet:
    """Threads and greenlets may share it. `report` gets a line for operators for each change of the store's state."""

    def __init__(
        self,
        store: WorkerStore,
        pools: Collection[str],
        *,
        strict: bool = False,
        report: Callable[[str], None] = lambda _: None,
        policies: Mapping[str, EjectionPolicy] | None = None,
        worker: LocalWorker | None = None,
    ) -> None:
        self._worker = worker or LocalWorker()
        self._report, wake = report, self._worker.wake
        self._link = link = StoreLink(store, report, on_lost=self._part_from_store, wake=wake.set)
        policies = policies or {}
        #: The pools by name, also those that have left the configuration and still serve requests.
        self.pools = {pool: self._local_pool(pool, policies.get(pool, EjectionPolicy()), strict) for pool in pools}
        #: The banned addresses.
        self.bans = FleetBans(link, self._worker)
        self._follower = SnapshotFollower(
            link,
            lambda: {name: pool for name, pool in self.pools.items() if not pool.is_retired},
            self.bans.refresh,
        )
        published = PublishedSettings(self._worker, link)
        self._reporter = FleetReporter(link, lambda: list(self.pools.values()), wake, published.publish)
        #: The store's clock, the store's answers, and going on with it; see StoreLink.
        self.now, self.query, self.recover = link.now, link.query, link.restored
        #: Read the store now, so that the next request is served by the latest facts.
        self.refresh = self._follower.refresh
        #: In the background, or now with `flush`; see FleetReporter.
        self.report_unreachable = self._reporter.report_unreachable
        self.announce_reload = self._reporter.announce_reload
        self.flush = self._reporter.flush

    def __repr__(self) -> str:
        return f"<Fleet {self._worker} {self._link} {list(self.pools.values())}>"

    @property
    def degraded(self) -> bool:
        """Whether the store is out of reach, or refuses what workers do."""
        return self._link.degraded

    @property
    def why(self) -> str:
        """Why the store is out of reach; empty while it is not."""
        return self._link.reason

    @property
    def cause(self) -> FailureCause:
        """The cause of `why`."""
        return self._link.cause

    @property
    def drains(self) -> Mapping[str, InstanceDrain]:
        """The drained instances, as last read."""
        return self._follower.drains

    @property
    def drain(self) -> InstanceDrain | None:
        """The drain of this worker's instance; None for none."""
        drain = self.drains.get(self._worker.identity.instance)
        return drain if drain is not None and drain.until > self.now() else None

    @property
    def answers(self) -> Answers:
        """What the clients of this worker got in the last seconds."""
        return self._worker.answers.latest()

    @property
    def worker_id(self) -> str:
        """The id of this worker in the store."""
        return self._worker.id

    @property
    def workers(self) -> int:
        """How many workers share the store, as last read: at least this one."""
        return max(pool.traffic.heartbeat.workers for pool in self.pools.values())

    def start(self) -> None:
        """Read the store once, so that the first request has a snapshot; then follow it and report to it."""
        self._worker.start()
        self._follower.start()
        self._reporter.start()

    def stop(self) -> None:
        """Stop following and reporting, remove this worker from the fleet, and close the store."""
        self._follower.begin_stop()
        self._reporter.stop()
        if not self._link.degraded:
            with suppress(StoreUnavailable):
                for pool in self.pools.values():
                    pool.traffic.heartbeat.leave(self._link.store)
        self._link.close()
        self._follower.stop()

    def set_pools(
        self, policies: Mapping[str, EjectionPolicy], *, strict: bool, config: str = "", settings: str = ""
    ) -> None:
        """From now on these are the pools, with their policies of ejection. Those that stay keep their state.

        `config` names the configuration, for operators, `settings` is its JSON without secrets. A pool that leaves
        still serves the requests that were given to it; when none is in flight there any more, this worker's beat is
        removed from it.
        """
        self._worker.set_config(config, settings)
        kept = {name: pool for name, pool in self.pools.items() if name in policies or not pool.is_disposable}
        for name in self.pools.keys() - kept.keys():
            self.pools[name].dispose()
        for name, pool in kept.items():
            if name in policies:
                pool.reinstate(policies[name], strict=strict)
            else:
                pool.retire()
        new = {name: self._local_pool(name, rule, strict) for name, rule in policies.items() if name not in kept}
        self.pools = kept | new
        for pool in self.pools.values():
            pool.traffic.heartbeat.hasten()
        self._worker.wake.set()

    def degrade(self, reason: str, cause: FailureCause = FailureCause.UNKNOWN) -> None:
        """Go on without the store until the follower finds it again."""
        self._link.lost(StoreUnavailable(reason, cause))

    def snapshot(self, pool: str) -> Snapshot:
        """The latest snapshot of the pool; the same object until the store was read again."""
        return self.pools[pool].snapshot

    def forgotten(self, pool: str) -> ForgottenOverrides | None:
        """What operators had set in the pool when its store was found empty last; None if it never was."""
        return self.pools[pool].forgotten

    def local_roster(self, pool: str) -> Roster:
        """The local worker alone, with its figures in the pool since the store was lost."""
        return self.pools[pool].local_roster()

    def traffic(self, pool: str) -> Traffic:
        """The object to which this worker's attempts at the backends of the pool report."""
        return self.pools[pool].traffic

    def loads(self, pool: str) -> Mapping[str, int]:
        """The fleet's requests in flight at each backend of the pool. No trip.

        This worker's are exact; those of others are a tenth of a second old while they are read regularly, and vanish
        within three seconds after their worker.
        """
        return self.pools[pool].traffic.in_flight.total()

    def record_fallback(self, pool: str, fallback: Fallback) -> None:
        """Note by which fallback the pool serves; a change is reported."""
        if self.pools[pool].record_fallback(fallback):
            self._report(f"pool {pool}: {_FALLBACKS[fallback]}")

    def agree_on_secret(self, pool: str) -> None:
        """From the next reading on, the snapshots of the pool have a secret, the same for the whole fleet."""
        self.pools[pool].require_secret()

    def _local_pool(self, pool: str, policy: EjectionPolicy, strict: bool) -> LocalPool:
        return LocalPool(pool, policy, self._worker, self._link, strict=strict)

    def _part_from_store(self) -> None:
        for pool in self.pools.values():
            pool.keep_ejections()
            pool.tickets.expire()
