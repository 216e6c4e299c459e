"""A worker's traffic, reported by hand to a store in memory, under a clock that is moved by hand."""

from __future__ import annotations

from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import NOTHING_KNOWN
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from tests.fleet.stores import NEVER, POOL, FlakyStore
from tests.store.stores import ManualClock

RULE = EjectionPolicy(("a", "b", "c", "d"), failures=3, duration=30)
SWIFT = EjectionPolicy(("a", "b", "c", "d"), failures=3, duration=0.01, max_duration=NEVER)
REFUSED = Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused")
DROPPED = Fault(Blame.BACKEND, Stage.WAIT, 502, "dropped")
STALE = Fault(Blame.BACKEND, Stage.WAIT, 502, "dropped", reused=True)
GONE = Fault(Blame.CLIENT, Stage.SEND, 499, "the client hung up")
BROKEN = Fault(Blame.BACKEND, Stage.BODY, 502, "short body")


class Desk:
    """A worker's traffic, reported by hand to a store in memory, under a clock that is moved by hand."""

    def __init__(
        self, rule: EjectionPolicy = RULE, facts: MemoryStore | None = None, clock: ManualClock | None = None
    ) -> None:
        self.clock = clock or ManualClock()
        self.facts = facts or MemoryStore(self.clock)
        self.store = FlakyStore(self.facts)
        self.worker = LocalWorker(WorkerIdentity("one", pid=7), id=f"worker-{id(self)}", clock=self.clock)
        self.traffic = Traffic(POOL, rule, self.worker)

    def serve(self, backend: str, status: int = 200) -> None:
        self.traffic.began(backend)
        self.traffic.answered(backend, status)
        self.traffic.ended(backend)

    def fail(self, backend: str, fault: Fault = REFUSED) -> None:
        self.traffic.began(backend)
        self.traffic.failed(backend, fault)

    def tell(self) -> bool:
        snapshot = self.facts.read_snapshot(POOL, NOTHING_KNOWN)
        return self.traffic.report(self.store, snapshot, self.clock())

    def counted_failures(self) -> list[tuple[str, FailureReport]]:
        return [(backend, report) for _, backend, report, _ in self.store.asked("count_failures")]

    def loads(self) -> dict[str, int]:
        """As they are counted for views; those kept for the data plane are the same whenever nobody has moved since."""
        counted, live = self.traffic.in_flight.total(), self.traffic.in_flight.live()
        assert live == counted or self.traffic.in_flight._others
        return counted

    def out(self) -> set[str]:
        ejected = self.facts.read_snapshot(POOL, NOTHING_KNOWN).ejected
        return {backend for backend, state in ejected.items() if state.out}
