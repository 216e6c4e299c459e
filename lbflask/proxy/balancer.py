"""The plans of one pool in a worker: the choices of core/planning.py, by the facts of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lbflask.core.eligibility import Selection
from lbflask.core.membership import takers
from lbflask.core.model import Backend, Pool, Snapshot
from lbflask.core.planning import PoolPlanner
from lbflask.core.sticky_cookie import CookieRefusal
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.sticky import StickyCookies


class PoolBalancer(PoolPlanner):
    """Plans the requests of a pool. Threads and greenlets may share it.

    Plans may take a ticket, which may cost a round trip to the store, unless the strategy has no turns and the request
    has its key.
    """

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        super().__init__(pool, _FleetFacts(pool.name, fleet))
        self.cookies = None if self.sessions is None else StickyCookies(self.sessions, fleet.now)
        if pool.sticky is not None and not pool.sticky.secrets:
            fleet.agree_on_secret(pool.name)


class _FleetFacts:
    """The facts that a worker's fleet has about a pool. Each request asks for some, so that no call is in between."""

    def __init__(self, pool: str, fleet: Fleet) -> None:
        self._pool = pool
        self._fleet = fleet
        self._traffic = traffic = fleet.traffic(pool)
        local = fleet.pools[pool]
        self._refused_cookies = local.refused_cookies
        self.snapshot: Callable[[], Snapshot] = partial(getattr, local, "snapshot")
        self.ticket: Callable[[], int] = local.tickets.next
        self.probe: Callable[[bool], str | None] = traffic.probe
        self._selection: Selection | None = None
        self._takers: tuple[str, ...] = ()

    def now(self) -> float:
        return self._fleet.now()

    def cookie_refused(self, refusal: CookieRefusal) -> None:
        self._refused_cookies[refusal] += 1

    def loads(self) -> Mapping[str, int]:
        return self._traffic.live_loads()

    def selected(self, pool_members: Sequence[Backend], snapshot: Snapshot, selection: Selection) -> None:
        if selection is not self._selection:
            self._selection, self._takers = selection, takers(pool_members, snapshot)
        # With every snapshot, since the planner of another configuration may have set other members meanwhile.
        self._traffic.has_members(self._takers)
        self._fleet.record_fallback(self._pool, selection.resort)
