"""What is known of a pool, as the order in which its backends are to be tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from lbflask.core import eligibility
from lbflask.core.http.request_key import RequestKey
from lbflask.core.membership import members, takers
from lbflask.core.model import NO_LOADS, Backend, Candidate, Pool, Snapshot
from lbflask.core.strategies import Schedule, strategy_of
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.sticky import Sticky

#: Why a backend is chosen, in one word, where nothing else decides than the strategy.
WHY = {
    "round_robin": "turn",
    "least_connections": "least",
    "random_two": "random",
    "consistent_hash": "hash",
    "first": "first",
}


class Preferred(list[Backend]):
    """An order whose first is there for another reason than the strategy, told in one word."""

    def __init__(self, backends: Iterable[Backend], why: str) -> None:
        super().__init__(backends)
        self.why = why


class PoolBalancer:
    """A pool's schedule over the backends that may serve now; compiled anew only when these change."""

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.pool = pool
        self.why = WHY.get(pool.strategy, pool.strategy)
        self._fleet = fleet
        self._traffic = fleet.traffic(pool.name)
        self._snapshot: Snapshot | None = None
        self._members = pool.backends
        self._candidates: tuple[Candidate, ...] | None = None
        self._until: float | None = None  # when the weights change, by the store's clock
        self._strategy = strategy_of(pool)
        self._key = RequestKey.parse(pool.hash_key) if self._strategy.by_key else None
        self._by_turn, self._by_loads = self._strategy.by_turn, self._strategy.by_loads
        self._schedule: Schedule = self._strategy.compile(())
        self.sticky = None if pool.sticky is None else Sticky(pool.name, pool.sticky, fleet.now)
        if pool.sticky is not None and not pool.sticky.secrets:
            fleet.agree_on_secret(pool.name)

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot, with the weights of this moment."""
        snapshot = self._fleet.snapshot(self.pool.name)
        if snapshot is not self._snapshot or (self._until is not None and self._fleet.now() >= self._until):
            self._revise(snapshot)
        return self._schedule

    def _revise(self, snapshot: Snapshot) -> None:
        self._members = members(self.pool, snapshot)
        # Said each time, since another configuration may have said otherwise meanwhile.
        self._traffic.has_members(takers(self._members, snapshot))
        selection = eligibility.select(self.pool, snapshot, self._fleet.now())
        self._fleet.record_fallback(self.pool.name, selection.resort)
        if selection.candidates != self._candidates:
            self._candidates = selection.candidates
            self._schedule = self._strategy.compile(selection.candidates)
        if self.sticky is not None:
            candidates = (candidate.backend for candidate in selection.candidates)
            self.sticky.revise(snapshot.secret, (*candidates, *selection.keeping))
        self._until = None if selection.until == inf else selection.until
        self._snapshot = snapshot

    def home(self, cookies: Sequence[str]) -> Backend | None:
        """The backend that has the session of a request with these cookies, if it may go on with it."""
        self.schedule()
        return None if self.sticky is None else self.sticky.home(cookies)

    def order(
        self, inbound: ClientRequest, client: str, *, safe: bool, home: Backend | None = None, probes: bool = True
    ) -> Iterable[Backend]:
        """The backends to try, best first, by the strategy, unless an ejected one is to be probed by this request.

        First of all comes `home`, which has the session. Such a request takes no ticket unless it has to leave, and
        probes nobody: that would be a move for nothing.

        Takes a ticket, which may cost a trip, unless the strategy has no turns and the request has its key.
        `client` is the address that the request came from first. `safe` requests are preferred for probes: if one
        fails, another backend serves them.
        """
        if home is not None:
            return self._from_home(home, inbound, client)
        key, by_turn = None, self._by_turn
        if self._key is not None:
            key = self._key.of(client, inbound.target.text, inbound.fields)
            by_turn = by_turn or key is None
        ticket = self._fleet.ticket(self.pool.name) if by_turn else 0
        loads = self._traffic.live_loads() if self._by_loads else NO_LOADS
        plan = self.schedule().order(ticket, key, loads)
        probed = self._traffic.probe(safe) if probes else None
        if probed is None:
            return plan
        first = (backend for backend in self._members if backend.id == probed)
        return Preferred([*first, *(backend for backend in plan if backend.id != probed)], "probe")

    def _from_home(self, home: Backend, inbound: ClientRequest, client: str) -> Iterator[Backend]:
        yield home
        for backend in self.order(inbound, client, safe=False, probes=False):
            if backend.id != home.id:
                yield backend
