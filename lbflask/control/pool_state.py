"""The state of a pool at one moment, as operators see it, and what a change of an override would leave of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lbflask.core import eligibility
from lbflask.core.eligibility import Fallback
from lbflask.core.fleet_stats import Roster
from lbflask.core.membership import members
from lbflask.core.model import Backend, Override, Pool, Snapshot


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool at one moment. While the store is unreachable `roster` is the last one that was read, with `now` 0 if
    there is none, and `local` has the worker that answers, with its figures. `forgotten` has the overrides that the
    store has lost, at `forgotten_at`, and that no operator has set again.
    """

    pool: Pool
    snapshot: Snapshot
    roster: Roster
    local: Roster | None = None
    forgotten: Mapping[str, Override] = field(default_factory=dict)
    forgotten_at: float = 0.0

    def __repr__(self) -> str:
        return f"<PoolState {self.pool.name}: {len(members(self.pool, self.snapshot))} backends, stale={self.stale}>"

    @property
    def stale(self) -> bool:
        """Whether it is the last state before the store became unreachable."""
        return self.local is not None

    @property
    def now(self) -> float:
        """The present time by the store's clock."""
        return self.roster.now if self.local is None else self.local.now

    @property
    def figures(self) -> Roster:
        """The workers whose figures are current: all, or the one that answers while the store is unreachable."""
        return self.local or self.roster

    def takes_last(self, backend: str, after: Override | None) -> str:
        """What clients get without another backend, if this override takes the last one out that serves regularly;
        else empty.
        """
        snapshot = self.snapshot
        before = eligibility.select(self.pool, snapshot)
        if all(candidate.backend.id != backend for candidate in before.candidates):
            return ""
        others = {id_: override for id_, override in snapshot.overrides.items() if id_ != backend}
        changed = replace(snapshot, overrides=others if after is None else {**others, backend: after})
        left = eligibility.select(self.pool, changed)
        if not left.candidates:
            return "serves: clients would get 503"
        worse = left.resort is not before.resort and left.resort is not Fallback.NONE
        return "is sound: clients would get one that failed or is unchecked" if worse else ""

    def configured(self, backend: str) -> Backend | None:
        """The backend without overrides: as configured or discovered."""
        return next((one for one in (*self.pool.backends, *self.snapshot.discovered) if one.id == backend), None)
