"""The fleet as one worker sees it: snapshots, tickets and traffic, with the store or without it.

No request reads health from the store, and none fails because of it. While the store is out of reach the last snapshot
holds, tickets are local, and backends are ejected by what this worker sees.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TypeVar

from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import Fallback
from lbflask.core.model import Snapshot
from lbflask.fleet.follower import SnapshotFollower
from lbflask.fleet.local_pool import LocalPool
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.reporter import FleetReporter
from lbflask.fleet.store_link import StoreLink
from lbflask.fleet.ticket_source import TicketSource
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import StoreUnavailable, StoreWatch, WorkerStore

_FALLBACKS = {
    Fallback.NONE: "serving without a fallback again",
    Fallback.EJECTED: "all healthy backends are ejected, so all of them serve",
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
        wake = threading.Event()
        self._wake = wake.set
        self._worker = worker or LocalWorker()
        self._report = report
        self._link = StoreLink(store=store, report=report, on_lost=self._keep_ejections, wake=wake.set)
        self._local_store = MemoryStore(self._link.now)
        policies = policies or {}
        self._pools = {pool: self._local_pool(pool, policies.get(pool, EjectionPolicy()), strict) for pool in pools}
        self._follower = SnapshotFollower(link=self._link, pools=self._configured)
        self._reporter = FleetReporter(
            link=self._link,
            local_store=self._local_store,
            pools=lambda: self._pools,
            read=self._follower.read,
            wake=wake,
        )

    def __repr__(self) -> str:
        return f"<Fleet {self._worker} {self._link} {list(self._pools.values())}>"

    @property
    def pools(self) -> Mapping[str, LocalPool]:
        """The pools by name, also those that have left the configuration and still serve requests."""
        return self._pools

    @property
    def degraded(self) -> bool:
        """Whether the store is out of reach, or refuses what workers do."""
        return self._link.degraded

    @property
    def why(self) -> str:
        """Why the store is out of reach; empty while it is not."""
        return self._link.reason

    @property
    def worker_id(self) -> str:
        """The id of this worker in the store."""
        return self._worker.id

    @property
    def workers(self) -> int:
        """How many workers share the store, as last read: at least this one."""
        return max(pool.traffic.heartbeat.workers for pool in self._pools.values())

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
                for pool in self._pools.values():
                    pool.traffic.heartbeat.leave(self._link.store)
        self._link.close()
        self._follower.stop()

    def set_pools(self, policies: Mapping[str, EjectionPolicy], *, strict: bool, config: str = "") -> None:
        """From now on these are the pools, with their policies of ejection. Those that stay keep their state.

        `config` names the configuration, for operators. A pool that leaves still serves the requests that were given
        to it; when none is in flight there any more, this worker's beat is removed from it.
        """
        self._worker.set_config(config)
        kept = {name: pool for name, pool in self._pools.items() if name in policies or not pool.is_disposable}
        for name, pool in kept.items():
            if name in policies:
                pool.reinstate(policies[name], strict=strict)
            else:
                pool.retire()
        new = {name: self._local_pool(name, rule, strict) for name, rule in policies.items() if name not in kept}
        self._pools = kept | new

    def refresh(self) -> None:
        """Read the store now, so that the next request is served by the latest facts."""
        self._follower.refresh()

    def flush(self) -> None:
        """Report to the store now what is due."""
        self._reporter.flush()

    def degrade(self, reason: str) -> None:
        """Go on without the store until the follower finds it again."""
        self._link.lost(StoreUnavailable(reason))

    def recover(self) -> None:
        """Use the store again."""
        self._link.restored()

    def now(self) -> float:
        """The store's clock, in seconds since the epoch, as last read; the machine's until it was read once."""
        return self._link.now()

    def report_unreachable(self, pool: str, backend: str) -> None:
        """Report to the checker, in the background, that the backend could not be reached."""
        self._reporter.report_unreachable(pool, backend)

    def announce_reload(self) -> None:
        """Ask the checkers, in the background, to read their configuration, which may have changed."""
        self._reporter.announce_reload()

    def query(self, ask: Callable[[WorkerStore], Result]) -> Result | None:
        """The store's answer, at once; None while it is out of reach."""
        return self._link.query(ask)

    def watch_slots(self, pools: Collection[str]) -> StoreWatch | None:
        """A subscription to slots of backends that became free; None while the store is out of reach."""
        return self._link.query(lambda store: store.watch_slots(pools))

    def snapshot(self, pool: str) -> Snapshot:
        """The latest snapshot of the pool; the same object until the store was read again."""
        return self._pools[pool].snapshot

    def tickets(self, pool: str) -> TicketSource:
        """The tickets of the pool."""
        return self._pools[pool].tickets

    def traffic(self, pool: str) -> Traffic:
        """The object to which this worker's attempts at the backends of the pool report."""
        return self._pools[pool].traffic

    def loads(self, pool: str) -> Mapping[str, int]:
        """The fleet's requests in flight at each backend of the pool. No trip.

        This worker's are exact; those of others are a tenth of a second old while they are read regularly, and vanish
        within three seconds after their worker.
        """
        return self._pools[pool].traffic.in_flight.total()

    def record_fallback(self, pool: str, fallback: Fallback) -> None:
        """Note by which fallback the pool serves; a change is reported."""
        if self._pools[pool].record_fallback(fallback):
            self._report(f"pool {pool}: {_FALLBACKS[fallback]}")

    def fallback_count(self, pool: str) -> int:
        """How often the pool has begun to serve by a fallback."""
        return self._pools[pool].fallback_count

    def agree_on_secret(self, pool: str) -> None:
        """From the next reading on, the snapshots of the pool have a secret, the same for the whole fleet."""
        self._pools[pool].require_secret()

    def _local_pool(self, pool: str, policy: EjectionPolicy, strict: bool) -> LocalPool:
        return LocalPool(pool=pool, policy=policy, worker=self._worker, link=self._link, wake=self._wake, strict=strict)

    def _configured(self) -> Mapping[str, LocalPool]:
        return {name: pool for name, pool in self._pools.items() if not pool.is_retired}

    def _keep_ejections(self) -> None:
        for name, pool in self._pools.items():
            self._local_store.adopt(name, pool.snapshot.ejected)
