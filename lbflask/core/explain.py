"""Explains where a request would go and why, by the routing and planning code of the data plane.

Loads are unknown here: strategies that depend on them are shown as if no request were in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lbflask.core import slow_start
from lbflask.core.eligibility import active_health, ejected
from lbflask.core.http.cookies import take_session
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Health, Mode, Pool, Snapshot
from lbflask.core.planning import PoolPlanner, StaticFacts
from lbflask.core.route_match import RequestSource, RouteMatch
from lbflask.core.routing import AmbiguousPath, Route, RouteTable
from lbflask.core.traffic_split import WeightedSplit

#: Plans that are shown of a pool whose plans depend on tickets.
MAX_PLANS = 3
#: Backends that are shown of a plan.
MAX_BACKENDS = 10

#: Gives the snapshot of a pool, and its next ticket.
PoolState = Callable[[str], tuple[Snapshot, int]]


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """A request to explain: `target` is in origin-form, `client` the address that the request came from first, `scheme`
    the one that the client uses, and `listener` the label of the listener.
    """

    method: str
    host: str
    target: str
    fields: Fields
    client: str
    scheme: str = "http"
    listener: str = ""


#: For the schemas of the admin API, which shows these views as they are: their docstrings are descriptions.
_SCHEMA = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class LeftOutView:
    """A backend that is not eligible."""

    __pydantic_config__ = _SCHEMA
    backend: str
    why: str


@dataclass(frozen=True, slots=True)
class StandingView:
    """A backend that is eligible for the request."""

    __pydantic_config__ = _SCHEMA
    backend: str
    url: str
    weight: int
    warm_percent: int
    """Percent of the weight in effect during slow start."""
    backup: bool


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a pool would do with the request."""

    __pydantic_config__ = _SCHEMA
    pool: str
    strategy: str
    share: float
    """Percent of the route's requests that the pool gets, where chance decides."""
    key: str | None
    """The value that is hashed; null for strategies without a key."""
    home: str
    """The backend of the request's session; empty for none."""
    overlooked: str
    """What the pool ignores to fail open: empty, `ejected` or `all`."""
    candidates: tuple[StandingView, ...]
    left_out: tuple[LeftOutView, ...]
    plans: tuple[tuple[str, ...], ...]
    """Orders of backends, best first; several where the strategy rotates."""


class CheckOutcome(StrEnum):
    """What a check does with the request."""

    PASSES = "passes"
    REFUSES = "refuses"
    DEPENDS = "depends"


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check of the request, before a backend or another action gets it."""

    __pydantic_config__ = _SCHEMA
    check: str
    """`ban`, `client_limit`, `access`, `client_certificate` or `auth`."""
    outcome: CheckOutcome
    """`depends`: on what is not known before the request is made."""
    why: str
    """Of a refusal it begins with the status."""
    pool: str = ""
    """The pool that it stands before; empty for all pools of the route."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a request would go: `route` is empty for none, `match` is what it matches, in words. `answer` is set when
    no backend would get the request.

    `target` is the one that backends would get. There are several `pools` when a random split decides between them.
    `checks` are those of the configuration, in their order, up to one that refuses the request.
    """

    route: str
    answer: str
    target: str
    split_key: str | None
    pools: tuple[PlanView, ...]
    match: str = ""
    checks: tuple[CheckView, ...] = ()


def explain(
    query: RequestQuery, routes: Sequence[Route], pools: Mapping[str, Pool], default: str | None, pool_state: PoolState
) -> Explanation:
    """The explanation of a request. Requests without a route go to the pool `default`, if there is one."""
    try:
        number = found(query, RouteTable(routes)) if routes else None
    except AmbiguousPath:
        return _local("400: the path can be read as that of another route", query.target)
    if number is None:
        if default is None:
            return _local("404: no route leads there", query.target)
        return Explanation("", "", query.target, None, (_pool_explanation(query, pools[default], 100.0, pool_state),))
    route = routes[number]
    target = query.target
    if route.rewrite is not None:
        target = route.rewrite.of(target)
    if route.direct is not None:
        return _local(route.direct.summary(_facts(query, target, route)), target, route)
    if route.files is not None:
        return _local(route.files.summary(query.target, route.match.segments), target, route)
    key, shares = None, dict(route.shares)
    if len(shares) > 1:
        key = route.split_by.of(query.client, query.target, query.fields)
        if key is not None:
            shares = {WeightedSplit(route.name, shares).pool(key): 100.0}
    explanations = (_pool_explanation(query, pools[pool], share, pool_state) for pool, share in shares.items() if share)
    return Explanation(route.name, "", target, key, tuple(explanations), match_summary(route.match))


def _facts(query: RequestQuery, target: str, route: Route) -> RequestFacts:
    return RequestFacts(
        query.client, query.scheme, query.host, query.method, target, "", query.fields, route=route.name
    )


def match_summary(match: RouteMatch) -> str:
    """What a route matches, in one line. Of header fields, parameters and cookies it has only the names, since their
    values can be secret.
    """
    named = (("header", match.headers), ("parameter", match.query), ("cookie", match.cookies))
    parts = [
        *_listed("host", match.hosts),
        *_listed("path", [path or "/" for path in match.paths]),
        *_listed("exactly", match.exact),
        *_listed("suffix", match.suffixes),
        *([] if match.expression is None else [f"regex {match.expression.pattern}"]),
        *_listed("method", sorted(match.methods)),
        *(f"{kind} {name}" for kind, pairs in named for name, _ in pairs),
        *_listed("client", [str(network) for network in match.networks]),
        *([f"scheme {match.scheme}"] if match.scheme else []),
        *_listed("listener", sorted(match.listeners)),
        *(f"not ({match_summary(inner)})" for inner in match.excluded),
    ]
    return ", ".join(parts) or "all requests"


def _listed(kind: str, values: Sequence[str]) -> list[str]:
    return [f"{kind} {' or '.join(values)}"] if values else []


def found(query: RequestQuery, table: RouteTable) -> int | None:
    """The number of the request's route, as of RouteTable.find."""
    source = RequestSource(query.client, query.scheme, query.listener)
    return table.find(query.host, query.target, query.method, query.fields, source)


def names(query: RequestQuery, routes: Sequence[Route]) -> bool:
    """Whether the request takes a route that names exactly its path."""
    table = RouteTable(routes)
    try:
        number = found(query, table)
    except AmbiguousPath:
        return False
    return number is not None and table.names(number, query.target)


def _local(answer: str, target: str, route: Route | None = None) -> Explanation:
    if route is None:
        return Explanation("", answer, target, None, ())
    return Explanation(route.name, answer, target, None, (), match_summary(route.match))


def _pool_explanation(query: RequestQuery, pool: Pool, share: float, pool_state: PoolState) -> PlanView:
    snapshot, ticket = pool_state(pool.name)
    planner = PoolPlanner(pool, StaticFacts(snapshot, ticket))
    key = planner.key(query.client, query.target, query.fields)
    cookies = [] if pool.sticky is None else take_session([*query.fields], pool.sticky)
    sticky_backend = planner.sticky_backend(cookies)
    count = MAX_PLANS if planner.takes_ticket(key) else 1
    plans = [planner.plan(key, safe=False, sticky_backend=sticky_backend) for _ in range(count)]
    orders = tuple(tuple([backend.id for backend in plan.backends][:MAX_BACKENDS]) for plan in plans)
    selection = planner.selection
    candidates = {candidate.backend.id for candidate in selection.candidates}
    return PlanView(
        pool=pool.name,
        strategy=pool.strategy,
        share=share,
        key=key,
        home="" if sticky_backend is None else sticky_backend.id,
        overlooked=selection.resort.value,
        candidates=tuple(_candidate_view(candidate.backend, pool, snapshot) for candidate in selection.candidates),
        left_out=tuple(
            LeftOutView(backend.id, why_not(backend, snapshot))
            for backend in _with_removed(pool, snapshot)
            if backend.id not in candidates
        ),
        plans=orders,
    )


def _candidate_view(backend: Backend, pool: Pool, snapshot: Snapshot) -> StandingView:
    warm = slow_start.percent(pool, backend, snapshot, snapshot.now)
    return StandingView(backend.id, backend.url, backend.weight, warm, backend.backup)


def _with_removed(pool: Pool, snapshot: Snapshot) -> Iterable[Backend]:
    """The members of the pool, and the backends that operators have removed."""
    all_backends = (*pool.backends, *snapshot.discovered, *members(pool, snapshot))
    return {backend.id: backend for backend in all_backends}.values()


def why_not(backend: Backend, snapshot: Snapshot) -> str:
    """All reasons why the backend can't serve; empty for none."""
    override, mode = snapshot.overrides.get(backend.id), mode_of(backend, snapshot)
    health = active_health(backend, snapshot)
    reasons = []
    if override is not None and override.removed:
        reasons.append("an operator has removed it")
    if mode is not Mode.SERVING:
        sessions = ", and it keeps its sessions" if mode is Mode.DRAINING else ""
        reasons.append(f"an operator has set it to {mode}{sessions}")
    if backend.weight == 0:
        reasons.append("its weight is 0")
    if health.health in (Health.DOWN, Health.CHECKING):
        reasons.append(f"{health.health}: {health.reason}" if health.reason else health.health.value)
    if ejected(backend, snapshot):
        left = snapshot.ejected[backend.id].until - snapshot.now
        reasons.append(f"ejected, for {left:.0f} s more" if left > 0 else "ejected, until a request has tried it")
    return "; ".join(reasons)
