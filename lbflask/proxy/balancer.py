"""The plans of one pool in a worker: the choices of core/planning.py, by the facts of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lbflask.core.eligibility import Selection
from lbflask.core.membership import takers
from lbflask.core.model import Backend, Pool, Snapshot
from lbflask.core.planning import Plan, PoolPlanner
from lbflask.core.strategies import Schedule
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.sticky import StickyCookies


class PoolBalancer:
    """Plans the requests of a pool. Threads and greenlets may share it.

    Plans may take a ticket, which may cost a round trip to the store, unless the strategy has no turns and the request
    has its key.
    """

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.pool = pool
        self._planner = PoolPlanner(pool, _FleetFacts(pool.name, fleet))
        #: The reason for a choice that only the strategy makes.
        self.reason = self._planner.reason
        sessions = self._planner.sessions
        self.cookies = None if sessions is None else StickyCookies(sessions, fleet.now)
        if pool.sticky is not None and not pool.sticky.secrets:
            fleet.agree_on_secret(pool.name)

    def __repr__(self) -> str:
        return f"PoolBalancer({self._planner!r})"

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot, with the weights of this moment."""
        return self._planner.schedule()

    def sticky_backend(self, cookies: Sequence[str]) -> Backend | None:
        """The backend of the session that the cookies name, if it may still serve that session."""
        return self._planner.sticky_backend(cookies)

    def plan(self, request: ClientRequest, client: str, *, safe: bool, sticky_backend: Backend | None = None) -> Plan:
        """The plan of a request from the address `client`; see PoolPlanner.plan."""
        planner = self._planner
        key = planner.key(client, request.target.text, request.fields) if planner.has_key else None
        return planner.plan(key, safe=safe, sticky_backend=sticky_backend)


class _FleetFacts:
    """The facts that a worker's fleet has about a pool. Each request asks for some, so that no call is in between."""

    def __init__(self, pool: str, fleet: Fleet) -> None:
        self._pool = pool
        self._fleet = fleet
        self._traffic = traffic = fleet.traffic(pool)
        self.snapshot: Callable[[], Snapshot] = partial(fleet.snapshot, pool)
        self.ticket: Callable[[], int] = fleet.tickets(pool).next
        self.probe: Callable[[bool], str | None] = traffic.probe

    def now(self) -> float:
        return self._fleet.now()

    def loads(self) -> Mapping[str, int]:
        return self._traffic.live_loads()

    def selected(self, pool_members: Sequence[Backend], snapshot: Snapshot, selection: Selection) -> None:
        # With every selection, since the planner of another configuration may have set other members meanwhile.
        self._traffic.has_members(takers(pool_members, snapshot))
        self._fleet.record_fallback(self._pool, selection.resort)
