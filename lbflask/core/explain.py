"""Why a request would go where it goes: the decisions of the data plane, made for looking at and not for acting.

Loads are not known here: strategies that go by them are shown as if no request were in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lbflask.core import slow_start
from lbflask.core.eligibility import Selection, active_health, ejected, select
from lbflask.core.http.cookies import take
from lbflask.core.http.fields import Fields
from lbflask.core.http.paths import segments_of, with_prefix
from lbflask.core.http.request_key import RequestKey
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Health, Mode, Pool, Snapshot
from lbflask.core.routing import AmbiguousPath, Route, RouteTable
from lbflask.core.sticky_cookie import Affinity
from lbflask.core.strategies import strategy_of
from lbflask.core.traffic_split import WeightedSplit

#: Plans that are shown of a pool whose requests take turns.
TURNS = 3
#: Backends that are shown of a plan.
TRIES = 10


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """A request to explain: `target` in origin-form, `client` the address that it came from first."""

    method: str
    host: str
    target: str
    fields: Fields
    client: str


@dataclass(frozen=True, slots=True)
class ExcludedBackend:
    """A backend that can't serve, and why."""

    backend: str
    why: str


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A backend that may serve; of its weight it has so many percent while it warms up."""

    backend: str
    url: str
    weight: int
    warm_percent: int
    backup: bool


@dataclass(frozen=True, slots=True)
class PoolExplanation:
    """What a pool would do: `key` is what it hashes by, None for a turn; `plans` are orders of ids, best first.

    `share` is the percentage of the route's requests that the pool gets, where chance decides. `home` has the session
    of the request's cookie; it is empty for none.
    """

    pool: str
    strategy: str
    share: float
    key: str | None
    home: str
    overlooked: str
    candidates: tuple[CandidateView, ...]
    left_out: tuple[ExcludedBackend, ...]
    plans: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a request would go: `route` is empty for none. `answer` is set when no backend would see it.

    `target` is what backends would be asked for; there are several `pools` when chance decides between them.
    """

    route: str
    answer: str
    target: str
    split_key: str | None
    pools: tuple[PoolExplanation, ...]


def explain(
    asked: RequestQuery,
    routes: Sequence[Route],
    pools: Mapping[str, Pool],
    default: str | None,
    known: Callable[[str], tuple[Snapshot, int]],
) -> Explanation:
    """The explanation of a request. `known` gives the snapshot of a pool, and its next ticket."""
    try:
        number = RouteTable(routes).find(asked.host, asked.target, asked.method, asked.fields) if routes else None
    except AmbiguousPath:
        return Explanation("", "400: the path can be read as that of another route", asked.target, None, ())
    if number is None:
        if default is None:
            return Explanation("", "404: no route leads there", asked.target, None, ())
        return Explanation("", "", asked.target, None, (_view(asked, pools[default], 100.0, known),))
    route = routes[number]
    target = asked.target
    if route.prefix is not None:
        target = with_prefix(target, segments_of(route.match.path), route.prefix)
    if route.direct is not None:
        return Explanation(route.name, route.direct.summary(asked.host, target), target, None, ())
    key, shares = None, dict(route.shares)
    if len(shares) > 1:
        key = _key(route.split_by, asked)
        if key is not None:
            shares = {WeightedSplit(route.name, shares).pool(key): 100.0}
    views = tuple(_view(asked, pools[pool], share, known) for pool, share in shares.items() if share)
    return Explanation(route.name, "", target, key, views)


def _key(key: RequestKey, asked: RequestQuery) -> str | None:
    return key.of(asked.client, asked.target, asked.fields)


def _view(
    asked: RequestQuery, pool: Pool, share: float, known: Callable[[str], tuple[Snapshot, int]]
) -> PoolExplanation:
    snapshot, ticket = known(pool.name)
    selection = select(pool, snapshot)
    candidates, home = selection.candidates, _home(asked, pool, snapshot, selection)
    strategy = strategy_of(pool)
    key = _key(RequestKey.parse(pool.hash_key), asked) if strategy.by_key else None
    schedule = strategy.compile(candidates)
    turns = TURNS if strategy.by_turn or (strategy.by_key and key is None) else 1
    orders = ([backend.id for backend in schedule.order(ticket + turn, key)] for turn in range(turns))
    plans = ([home, *(id_ for id_ in order if id_ != home)] if home else order for order in orders)
    able = {candidate.backend.id for candidate in candidates}
    return PoolExplanation(
        pool.name,
        pool.strategy,
        share,
        key,
        home,
        selection.resort.value,
        tuple(_standing(candidate.backend, pool, snapshot) for candidate in candidates),
        tuple(ExcludedBackend(b.id, why_not(b, snapshot)) for b in _all(pool, snapshot) if b.id not in able),
        tuple(tuple(plan[:TRIES]) for plan in plans),
    )


def _standing(backend: Backend, pool: Pool, snapshot: Snapshot) -> CandidateView:
    warm = slow_start.percent(pool, backend, snapshot, snapshot.now)
    return CandidateView(backend.id, backend.url, backend.weight, warm, backend.backup)


def _home(asked: RequestQuery, pool: Pool, snapshot: Snapshot, selection: Selection) -> str:
    """The backend that has the session of the request; empty if none has."""
    if pool.sticky is None:
        return ""
    secrets = pool.sticky.secrets or ((snapshot.secret,) if snapshot.secret else ())
    if not secrets:
        return ""
    affinity = Affinity(pool.name, secrets, pool.sticky.max_age)
    affinity.know([*(one.backend.id for one in selection.candidates), *(one.id for one in selection.keeping)])
    return affinity.home(take([*asked.fields], pool.sticky.name), snapshot.now)


def _all(pool: Pool, snapshot: Snapshot) -> Iterable[Backend]:
    """The members of the pool, with those that operators have removed."""
    found = {backend.id: backend for backend in (*pool.backends, *snapshot.discovered)}
    return (found | {backend.id: backend for backend in members(pool, snapshot)}).values()


def why_not(backend: Backend, snapshot: Snapshot) -> str:
    """All that keeps the backend from serving; empty for nothing."""
    override, mode = snapshot.overrides.get(backend.id), mode_of(backend, snapshot)
    health = active_health(backend, snapshot)
    reasons = []
    if override is not None and override.removed:
        reasons.append("an operator has removed it")
    if mode is not Mode.SERVING:
        kept = ", and it keeps its sessions" if mode is Mode.DRAINING else ""
        reasons.append(f"an operator has set it to {mode}{kept}")
    if backend.weight == 0:
        reasons.append("its weight is 0")
    if health.health in (Health.DOWN, Health.CHECKING):
        reasons.append(f"{health.health}: {health.reason}" if health.reason else health.health.value)
    if ejected(backend, snapshot):
        left = snapshot.ejected[backend.id].until - snapshot.now
        reasons.append(f"ejected, for {left:.0f} s more" if left > 0 else "ejected, until a request has tried it")
    return "; ".join(reasons)
