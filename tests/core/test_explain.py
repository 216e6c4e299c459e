"""An explanation says what the data plane would do, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lbflask.core.explain import Explanation, LeftOutView, RequestQuery, explain
from lbflask.core.http.direct_response import DirectResponse, ErrorPage
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.types import Fields
from lbflask.core.model import ActiveHealth, Backend, Ejection, Health, Mode, Override, Pool, Snapshot, StickyCookie
from lbflask.core.routing import Route, RouteMatch
from lbflask.core.sticky_cookie import Affinity
from lbflask.core.traffic_split import WeightedSplit
from tests.support.pools import backend

POOLS = {
    "default": Pool("default", (backend("a", 2), backend("b"))),
    "other": Pool("other", tuple(backend(name) for name in "cde")),
}
NOBODY_CHECKS = Snapshot(1)


def asked(target: str = "/", fields: Fields | None = None, method: str = "GET") -> RequestQuery:
    return RequestQuery(method, "shop.example", target, fields or [], "192.0.2.1")


def explained(
    request: RequestQuery | None = None,
    routes: Sequence[Route] = (),
    pools: dict[str, Pool] = POOLS,
    default: str | None = "default",
    snapshot: Snapshot = NOBODY_CHECKS,
    ticket: int = 0,
) -> Explanation:
    return explain(request or asked(), routes, pools, default, lambda _: (snapshot, ticket))


def test_without_routes_the_default_pool_serves_by_turns() -> None:
    found = explained(ticket=7)
    (view,) = found.pools
    assert (found.route, found.answer, found.target, view.pool, view.share) == ("", "", "/", "default", 100.0)
    assert [(one.backend, one.weight, one.backup) for one in view.candidates] == [("a", 2, False), ("b", 1, False)]
    assert len(view.plans) == 3
    again = explained(ticket=8).pools[0]
    assert again.plans[:2] == view.plans[1:]


def test_a_route_leads_to_its_pool_with_the_target_that_backends_get() -> None:
    routes = [Route("api", RouteMatch(path="/api"), {"other": 100.0}, prefix="/v2")]
    found = explained(asked("/api/x?y"), routes)
    assert (found.route, found.target, [view.pool for view in found.pools]) == ("api", "/v2/x?y", ["other"])
    assert [view.pool for view in explained(asked("/x"), routes).pools] == ["default"]


def test_what_no_backend_sees_is_told() -> None:
    routes = [
        Route("no", RouteMatch(path="/no"), direct=DirectResponse(403, ErrorPage("", b""))),
        Route("api", RouteMatch(path="/api"), {"other": 100.0}),
    ]
    assert (explained(asked("/no"), routes).route, explained(asked("/no"), routes).answer) == ("no", "403")
    assert explained(asked("//api"), routes).answer == "400: the path can be read as that of another route"
    assert explained(asked("/x"), routes, default=None).answer == "404: no route leads there"
    assert explained(asked("/no"), routes).pools == ()


def test_a_split_with_a_key_has_one_pool_and_without_one_all_by_chance() -> None:
    shares = {"default": 70.0, "other": 30.0}
    routes = [Route("r", RouteMatch(), shares, RequestKey("header", "x-user"))]
    for user in "abcdefgh":
        found = explained(asked(fields=[("X-User", user)]), routes)
        assert (found.split_key, [view.pool for view in found.pools]) == (user, [WeightedSplit("r", shares).pool(user)])
    by_chance = explained(routes=routes)
    assert (by_chance.split_key, [(view.pool, view.share) for view in by_chance.pools]) == (None, [*shares.items()])


def test_a_hash_has_its_key_and_one_plan() -> None:
    pool = replace(POOLS["other"], strategy="consistent_hash", hash_key="client")
    (view,) = explained(pools={"default": pool}, ticket=3).pools
    assert (view.key, len(view.plans), sorted(view.plans[0])) == ("192.0.2.1", 1, ["c", "d", "e"])
    keyless = replace(pool, hash_key="cookie:s")
    (view,) = explained(pools={"default": keyless}).pools
    assert (view.key, len(view.plans)) == (None, 3)


def test_a_backup_stands_ready_behind_all_others() -> None:
    pool = Pool("p", (backend("a", backup=True), backend("b"), backend("c")))
    (view,) = explained(pools={"default": pool}).pools
    assert [one.backup for one in view.candidates] == [True, False, False]
    assert [plan[-1] for plan in view.plans] == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("one", "snapshot", "why"),
    [
        (backend("x", 0), Snapshot(1), "its weight is 0"),
        (backend("x"), Snapshot(1, {"x": ActiveHealth(Health.DOWN, reason="refused")}, 0.0, 1.0), "down: refused"),
        (backend("x"), Snapshot(1, {}, 0.0, 1.0), "checking: no check has ended yet"),
        (backend("x"), Snapshot(1, ejected={"x": Ejection(True, 1, 90.0, 130.0)}, now=100.0), "ejected, for 30 s more"),
        (
            backend("x"),
            Snapshot(1, ejected={"x": Ejection(True, 1, 60.0, 90.0)}, now=100.0),
            "ejected, until a request has tried it",
        ),
        (backend("x"), Snapshot(1, overrides={"x": Override(Mode.OFF)}), "an operator has set it to off"),
        (backend("x"), Snapshot(1, overrides={"x": Override(removed=True)}), "an operator has removed it"),
        (
            backend("x"),
            Snapshot(1, {"x": ActiveHealth(Health.DOWN)}, 0.0, 1.0, overrides={"x": Override(Mode.DRAINING, weight=0)}),
            "an operator has set it to draining, and it keeps its sessions; its weight is 0; down",
        ),
    ],
)
def test_whoever_is_left_out_has_a_reason(one: Backend, snapshot: Snapshot, why: str) -> None:
    ready = {"y": ActiveHealth(Health.UP)}
    pool = Pool("p", (one, backend("y")))
    (view,) = explained(pools={"default": pool}, snapshot=replace(snapshot, active={**snapshot.active, **ready})).pools
    assert [candidate.backend for candidate in view.candidates] == ["y"]
    assert view.left_out == (LeftOutView("x", why),)


def test_a_session_comes_first_in_every_plan_even_at_a_backend_that_drains() -> None:
    pool = replace(POOLS["other"], sticky=StickyCookie("S"))
    secret = "0123456789abcdef"
    draining = Snapshot(1, overrides={"d": Override(Mode.DRAINING)}, secret=secret)
    cookie = Affinity("other", [secret]).cookie("d", 0.0)
    request = asked(fields=[("Cookie", f"a=1; S={cookie}")])
    (view,) = explained(request, pools={"default": pool}, snapshot=draining).pools
    assert (view.home, {plan[0] for plan in view.plans}) == ("d", {"d"})
    assert [sorted(plan) for plan in view.plans] == [["c", "d", "e"]] * 3
    (view,) = explained(asked(fields=[("Cookie", "S=forged")]), pools={"default": pool}, snapshot=draining).pools
    assert (view.home, view.plans[0]) == ("", ("c", "e"))
    assert explained(request, pools={"default": pool}).pools[0].home == ""  # no secret is known


def test_a_backend_that_warms_up_says_how_far_it_is() -> None:
    pool = replace(POOLS["default"], slow_start=100.0)
    up = {"a": ActiveHealth(Health.UP, since=970.0), "b": ActiveHealth(Health.UP, since=1.0)}
    (view,) = explained(pools={"default": pool}, snapshot=Snapshot(1, up, 0.0, 1.0, now=1000.0)).pools
    assert [(one.weight, one.warm_percent) for one in view.candidates] == [(2, 40), (1, 100)]


def test_a_pool_in_which_nobody_can_serve_has_empty_plans() -> None:
    (view,) = explained(snapshot=Snapshot(1, {}, 0.0, 1.0)).pools
    assert (view.candidates, set(view.plans), len(view.left_out)) == ((), {()}, 2)


def test_what_is_overlooked_is_told() -> None:
    pool = replace(POOLS["default"], fails_open=True)
    (view,) = explained(pools={"default": pool}, snapshot=Snapshot(1, {}, 0.0, 1.0)).pools
    assert (view.overlooked, len(view.candidates)) == ("all", 2)
