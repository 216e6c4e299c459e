"""The one home of choosing: in which order the backends of a pool are tried for a request, and why.

Workers and `explain` share this module. It has no access to a store: snapshots, tickets, loads and probes are facts
that the caller provides, each asked for only when a plan needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from lbflask.core.eligibility import Fallback, Selection, select, selects_alike
from lbflask.core.http.request_key import joint_key, parse_keys
from lbflask.core.http.types import Fields
from lbflask.core.membership import members
from lbflask.core.model import NO_LOADS, Backend, Candidate, Pool, Snapshot, StickyCookie
from lbflask.core.sticky_cookie import Affinity, CookieRefusal
from lbflask.core.strategies import Schedule, strategy_of


@dataclass(slots=True, init=False)
class Plan:
    """The backends to try, best first, and the reason for the first one in one word (core/log_fields.py)."""

    backends: Iterable[Backend]
    reason: str

    def __init__(self, backends: Iterable[Backend], reason: str) -> None:
        self.backends = backends
        self.reason = reason


class PoolFacts(Protocol):
    """The facts about one pool that plans depend on."""

    def snapshot(self) -> Snapshot:
        """The latest snapshot; the same object while it is unchanged."""
        ...

    def now(self) -> float:
        """The store's clock, in seconds."""
        ...

    def ticket(self) -> int:
        """A new ticket, which may cost a round trip to the store."""
        ...

    def loads(self) -> Mapping[str, int]:
        """Requests in flight at each backend."""
        return NO_LOADS

    def probe(self, safe: bool, /) -> str | None:  # noqa: ARG002
        """The ejected backend that this request probes; `safe` requests can be sent again."""
        return None

    def selected(self, pool_members: Sequence[Backend], snapshot: Snapshot, selection: Selection) -> None:
        """Called with each new snapshot; the selection is the same object unless it was made anew."""
        ...

    def cookie_refused(self, refusal: CookieRefusal, /) -> None:
        """Called for each sticky cookie that names no backend."""
        ...


class StaticFacts(PoolFacts):
    """A snapshot and its next ticket, without loads and probes: the facts of an explanation. No ticket is consumed."""

    def __init__(self, snapshot: Snapshot, ticket: int = 0) -> None:
        self._snapshot = snapshot
        self._ticket = ticket

    def snapshot(self) -> Snapshot:
        """As of PoolFacts."""
        return self._snapshot

    def now(self) -> float:
        """The moment of the snapshot."""
        return self._snapshot.now

    def ticket(self) -> int:
        """The next tickets in turn."""
        self._ticket += 1
        return self._ticket - 1

    def selected(self, pool_members: Sequence[Backend], snapshot: Snapshot, selection: Selection) -> None:
        """As of PoolFacts."""

    def cookie_refused(self, refusal: CookieRefusal) -> None:
        """As of PoolFacts. An explanation counts nothing."""


class SessionTable:
    """The backends of a pool that may serve sessions, looked up by sticky cookie.

    Without a secret, which comes from the store unless it is configured, no cookie is accepted and none is set.
    """

    def __init__(self, pool: str, cookie: StickyCookie) -> None:
        self.cookie = cookie
        self.affinity: Affinity | None = None
        self._pool = pool
        self._secrets: tuple[str, ...] = ()
        self._backends: dict[str, Backend] = {}

    def __repr__(self) -> str:
        return f"SessionTable({self._pool}, {self.cookie.name}: {len(self._backends)} backends)"

    def update(self, shared_secret: str, backends: Iterable[Backend]) -> None:
        """Replace the secret of the store and the backends that may serve sessions."""
        secrets = self.cookie.secrets or ((shared_secret,) if shared_secret else ())
        by_id = {backend.id: backend for backend in backends}
        affinity = self.affinity
        if secrets != self._secrets:
            self._secrets = secrets
            affinity = Affinity(self._pool, secrets, self.cookie.max_age) if secrets else None
        elif by_id == self._backends:
            return
        if affinity is not None:
            affinity.know(by_id)
        self._backends, self.affinity = by_id, affinity

    def backend(self, cookies: Sequence[str], now: float, refused: Callable[[CookieRefusal], object]) -> Backend | None:
        """The backend of the session that one of the cookies names. `refused` is called for each that names none."""
        if not cookies or self.affinity is None:
            return None
        return self._backends.get(self.affinity.home(cookies, now, refused))


class PoolPlanner:
    """Plans requests of one pool. The schedule is compiled anew only when the candidates or their weights change."""

    def __init__(self, pool: Pool, facts: PoolFacts) -> None:
        self.pool = pool
        self.selection = Selection((), Fallback.NONE)
        self.sessions = None if pool.sticky is None else SessionTable(pool.name, pool.sticky)
        self._facts = facts
        strategy = strategy_of(pool)
        self.reason = strategy.reason
        self._compile = strategy.compile
        self._by_turn, self._by_loads = strategy.by_turn, strategy.by_loads
        self._keys = parse_keys(pool.hash_key) if strategy.by_key else ()
        self.has_key = bool(self._keys)  #: whether the strategy hashes keys
        self._snapshot: Snapshot | None = None
        self._members = pool.backends
        self._candidates: tuple[Candidate, ...] | None = None
        self._schedule: Schedule = self._compile(())
        self._until = inf  # when the weights change, by the store's clock

    def __repr__(self) -> str:
        candidates = len(self.selection.candidates)
        return f"{type(self).__name__}({self.pool.name}: {self.pool.strategy}, {candidates} candidates)"

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot, with the weights of this moment."""
        snapshot = self._facts.snapshot()
        if snapshot is not self._snapshot or (self._until != inf and self._facts.now() >= self._until):
            self._update(snapshot)
        return self._schedule

    def _update(self, snapshot: Snapshot) -> None:
        known, now = self._snapshot, self._facts.now()
        if known is None or now >= self._until or not selects_alike(known, snapshot):
            self._select(snapshot, now)
        self._facts.selected(self._members, snapshot, self.selection)
        self._snapshot = snapshot

    def _select(self, snapshot: Snapshot, now: float) -> None:
        self._members = members(self.pool, snapshot)
        selection = select(self.pool, snapshot, now)
        if selection.candidates != self._candidates:
            self._candidates = selection.candidates
            self._schedule = self._compile(selection.candidates)
        if self.sessions is not None:
            candidates = (candidate.backend for candidate in selection.candidates)
            self.sessions.update(snapshot.secret, (*candidates, *selection.keeping))
        self.selection, self._until = selection, selection.until

    def serving(self) -> list[Backend]:
        """The backends that may get requests now, those that keep sessions too."""
        self.schedule()
        return [*(candidate.backend for candidate in self.selection.candidates), *self.selection.keeping]

    def key(self, client: str, target: str, fields: Fields) -> str | None:
        """The value that the strategy hashes; None for a strategy without keys and for a request without the key.

        `client` is the address that the request came from first.
        """
        return joint_key(self._keys, client, target, fields) if self._keys else None

    def takes_ticket(self, key: str | None) -> bool:
        """Whether the place of a request with this key in the order depends on a ticket."""
        return self._by_turn or (self.has_key and key is None)

    def sticky_backend(self, cookies: Sequence[str]) -> Backend | None:
        """The backend of the session that the cookies name, if it may still serve that session."""
        self.schedule()
        return (
            None
            if self.sessions is None
            else self.sessions.backend(cookies, self._facts.now(), self._facts.cookie_refused)
        )

    def plan(self, key: str | None, safe: bool, sticky_backend: Backend | None = None, probes: bool = True) -> Plan:
        """The plan of one request: by the strategy, unless its session or a probe of an ejected backend goes first.

        A request with a session takes a ticket only when it leaves `sticky_backend`, and it never probes: either would
        move the session without need. `safe` requests are preferred for probes: if one fails, another backend serves
        them.
        """
        if sticky_backend is not None:
            return Plan(backends=self._sticky_first(sticky_backend, key), reason="sticky")
        facts = self._facts
        ticket = facts.ticket() if self._by_turn or self.takes_ticket(key) else 0
        loads = facts.loads() if self._by_loads else NO_LOADS
        order = self.schedule().order(ticket, key, loads)
        probed = facts.probe(safe) if probes else None
        if probed is None:
            return Plan(order, self.reason)
        first = (backend for backend in self._members if backend.id == probed)
        rest = (backend for backend in order if backend.id != probed)
        return Plan(backends=[*first, *rest], reason="probe")

    def _sticky_first(self, sticky_backend: Backend, key: str | None) -> Iterator[Backend]:
        yield sticky_backend
        for backend in self.plan(key, safe=False, probes=False).backends:
            if backend.id != sticky_backend.id:
                yield backend
