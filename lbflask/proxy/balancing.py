"""What is known of a pool, as the order in which its backends are to be tried."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.core import eligibility
from lbflask.core.model import Backend, Candidate, Pool, Snapshot
from lbflask.core.strategies import STRATEGIES, Schedule
from lbflask.state.fleet import Fleet


class Balancing:
    """A pool's schedule over the backends that may serve now; compiled anew only when these change."""

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.pool = pool
        self._fleet = fleet
        self._traffic = fleet.traffic(pool.name)
        self._snapshot: Snapshot | None = None
        self._candidates: tuple[Candidate, ...] | None = None
        self._schedule: Schedule = STRATEGIES[pool.strategy](())

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot."""
        snapshot = self._fleet.snapshot(self.pool.name)
        if snapshot is not self._snapshot:
            candidates, resort = eligibility.select(self.pool, snapshot)
            self._fleet.overlooks(self.pool.name, resort)
            if candidates != self._candidates:
                self._candidates = candidates
                self._schedule = STRATEGIES[self.pool.strategy](candidates)
            self._snapshot = snapshot
        return self._schedule

    def order(self, ticket: int, *, safe: bool) -> Sequence[Backend]:
        """The backends to try, best first: in their turn, unless an ejected one is to be probed by this request.

        `safe` requests are preferred for that: if it fails, another backend serves them.
        """
        plan = self.schedule().order(ticket)
        probed = self._traffic.probe(safe)
        if probed is None:
            return plan
        return [
            *(backend for backend in self.pool.backends if backend.id == probed),
            *(backend for backend in plan if backend.id != probed),
        ]
