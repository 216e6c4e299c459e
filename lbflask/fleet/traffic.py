"""One pool's requests at one worker: the object that attempts report to."""

from __future__ import annotations

from lbflask.core.ejection import EjectionPolicy
from lbflask.core.faults import Fault
from lbflask.core.model import Snapshot
from lbflask.fleet.ejection_reporter import EjectionReporter
from lbflask.fleet.heartbeat import Heartbeat
from lbflask.fleet.in_flight_counts import PoolInFlightCounts
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.recent_stats import SlidingStats
from lbflask.fleet.retry_budgets import RetryBudgets
from lbflask.store.ports import WorkerStore


class Traffic:
    """Threads and greenlets may share it; `report` is for one of them."""

    def __init__(self, pool: str, policy: EjectionPolicy, worker: LocalWorker) -> None:
        stats = SlidingStats(worker.clock())
        self.in_flight = in_flight = PoolInFlightCounts(worker.clock)
        self.ejections = ejections = EjectionReporter(pool, policy, worker, stats)
        # What only one part needs to know is a call to that part: several come with each request.
        self.began = in_flight.began
        self.ended = in_flight.ended
        self.live_loads = in_flight.live
        self.answered = ejections.answered
        self.probe = ejections.probe
        self.passed_over = ejections.passed_over
        self.has_members = ejections.set_members
        #: Takes an attempt that brought a response: its backend, and the seconds until the head was received.
        self.sample = stats.sample
        self.hedge_delay = stats.hedge_delay
        self.retry_budgets = RetryBudgets(lambda: stats.attempts + ejections.unreported, worker.clock)
        self.heartbeat = Heartbeat(pool, worker, in_flight, ejections, stats)

    def __repr__(self) -> str:
        return f"<Traffic {self.in_flight} {self.ejections}>"

    def failed(self, backend: str, fault: Fault) -> None:
        """The attempt has ended without a response."""
        self.in_flight.ended(backend)
        self.ejections.failed(backend, fault)

    def broke_off(self, backend: str, fault: Fault) -> None:
        """The attempt has ended with a fault, after the head of its response."""
        self.in_flight.ended(backend)
        self.ejections.broke_off(backend, fault)

    def abandoned(self, backend: str) -> None:
        """The attempt was given up before it had an outcome."""
        self.in_flight.ended(backend)
        self.ejections.passed_over(backend)

    def report(self, store: WorkerStore, snapshot: Snapshot, now: float) -> bool:
        """Report to the store all that is due; True if the snapshot has to be read again. `now` is the store's clock.

        Raises StoreUnavailable; what could not be reported is kept for the next call.
        """
        changed = self.ejections.report(store, snapshot, now)
        self.heartbeat.beat(store)
        return changed
