"""What is known of a pool, as the order in which its backends are to be tried."""

from __future__ import annotations

from lbflask.core import eligibility
from lbflask.core.model import Candidate, Pool, Snapshot
from lbflask.core.strategies import STRATEGIES, Schedule
from lbflask.state.fleet import Fleet


class Balancing:
    """A pool's schedule over the backends that may serve now; compiled anew only when these change."""

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.pool = pool
        self._fleet = fleet
        self._snapshot: Snapshot | None = None
        self._candidates: tuple[Candidate, ...] | None = None
        self._schedule: Schedule = STRATEGIES[pool.strategy](())

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot."""
        snapshot = self._fleet.snapshot(self.pool.name)
        if snapshot is not self._snapshot:
            candidates = eligibility.candidates(self.pool, snapshot)
            if candidates != self._candidates:
                self._candidates = candidates
                self._schedule = STRATEGIES[self.pool.strategy](candidates)
            self._snapshot = snapshot
        return self._schedule
