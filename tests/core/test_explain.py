"""An explanation says what the data plane would do, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from pydantic import TypeAdapter

from lbflask.core.explain import (
    Explanation,
    LeftOutView,
    PlanView,
    RequestQuery,
    StandingView,
    explain,
    match_summary,
    names,
)
from lbflask.core.http.direct_response import DirectResponse, ErrorPage
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.rewrites import PrefixRewrite
from lbflask.core.http.static_files import StaticFiles
from lbflask.core.http.types import Fields
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.model import ActiveHealth, Backend, Ejection, Health, Mode, Override, Pool, Snapshot, StickyCookie
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import Route
from lbflask.core.sticky_cookie import Affinity
from lbflask.core.traffic_split import WeightedSplit
from tests.support.pools import backend

POOLS = {
    "default": Pool("default", (backend("a", 2), backend("b"))),
    "other": Pool("other", tuple(backend(name) for name in "cde")),
}
NOBODY_CHECKS = Snapshot(1)
ALL_DOWN = {name: ActiveHealth(Health.DOWN) for name in "ab"}


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
    routes = [Route("api", RouteMatch(paths=("/api",)), {"other": 100.0}, rewrite=PrefixRewrite(1, "/v2"))]
    found = explained(asked("/api/x?y"), routes)
    assert (found.route, found.target, [view.pool for view in found.pools]) == ("api", "/v2/x?y", ["other"])
    assert (found.answer, found.split_key) == ("", None)
    assert [view.pool for view in explained(asked("/x"), routes).pools] == ["default"]


def test_what_no_backend_sees_is_told() -> None:
    routes = [
        Route("no", RouteMatch(paths=("/no",)), direct=DirectResponse(403, ErrorPage("", b""))),
        Route("api", RouteMatch(paths=("/api",)), {"other": 100.0}),
    ]
    assert (explained(asked("/no"), routes).route, explained(asked("/no"), routes).answer) == ("no", "403")
    files = (Route("files", RouteMatch(paths=("/static",)), files=StaticFiles(root="/srv")),)
    assert explained(asked("/static/a.css"), files).answer == "file /srv/a.css"
    ambiguous, lost = explained(asked("//api"), routes), explained(asked("/x"), routes, default=None)
    assert (ambiguous.route, ambiguous.answer) == ("", "400: the path can be read as that of another route")
    assert (lost.route, lost.answer) == ("", "404: no route leads there")
    assert explained(asked("/no"), routes).pools == ()


def test_a_split_with_a_key_has_one_pool_and_without_one_all_by_chance() -> None:
    shares = {"default": 70.0, "other": 30.0}
    routes = [Route("r", RouteMatch(), shares, RequestKey("header", "x-user"))]
    for user in "abcdefgh":
        found = explained(asked(fields=[("X-User", user)]), routes)
        (view,) = found.pools
        assert (found.split_key, view.pool, view.share) == (user, WeightedSplit("r", shares).pool(user), 100.0)
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
        (
            backend("x"),
            Snapshot(1, ejected={"x": Ejection(True, 1, 70.0, 100.0)}, now=100.0),
            "ejected, until a request has tried it",
        ),
        (backend("x"), Snapshot(1, ejected={"x": Ejection(True, 1, 71.0, 101.0)}, now=100.0), "ejected, for 1 s more"),
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
    (view,) = explained(snapshot=Snapshot(1, ALL_DOWN, 0.0, 1.0)).pools
    assert (view.candidates, set(view.plans), len(view.left_out)) == ((), {()}, 2)


@pytest.mark.parametrize(("active", "overlooked"), [({}, "unchecked"), (ALL_DOWN, "all")])
def test_what_is_overlooked_is_told(active: dict[str, ActiveHealth], overlooked: str) -> None:
    pool = replace(POOLS["default"], fails_open=True)
    (view,) = explained(pools={"default": pool}, snapshot=Snapshot(1, active, 0.0, 1.0)).pools
    assert (view.overlooked, len(view.candidates)) == (overlooked, 2)


@pytest.mark.parametrize(
    ("view", "name", "description"),
    [
        (PlanView, "key", "The value that is hashed; null for strategies without a key."),
        (StandingView, "warm_percent", "Percent of the weight in effect during slow start."),
    ],
)
def test_the_schema_of_a_view_describes_its_fields_and_allows_no_others(
    view: type, name: str, description: str
) -> None:
    schema = TypeAdapter(view).json_schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"][name]["description"] == description


@pytest.mark.parametrize(
    ("match", "summary"),
    [
        (RouteMatch(), "all requests"),
        (RouteMatch(("a", "b"), ("", "/x")), "host a or b, path / or /x"),
        (RouteMatch(exact=("/x",), methods=frozenset({"PUT", "GET"})), "exactly /x, method GET or PUT"),
        (
            RouteMatch(suffixes=(".a",), expression=LinearExpression("^/b"), headers=(("x-a", "5ecret"),)),
            "suffix .a, regex ^/b, header x-a",
        ),
        (
            RouteMatch(query=(("q", "5ecret"),), cookies=(("c", None),), networks=(ip_network("10.0.0.0/8"),)),
            "parameter q, cookie c, client 10.0.0.0/8",
        ),
        (
            RouteMatch(scheme="https", listeners=frozenset({"web"}), excluded=(RouteMatch(paths=("/a",)),)),
            "scheme https, listener web, not (path /a)",
        ),
    ],
)
def test_a_match_is_told_in_words_without_values_that_may_be_secret(match: RouteMatch, summary: str) -> None:
    assert match_summary(match) == summary
    found = explained(asked(), [Route("r", RouteMatch(excluded=(match,)), {"other": 100.0})])
    assert found.match in ("", f"not ({summary})")


@pytest.mark.parametrize(
    ("target", "named"),
    [("/health?x", True), ("/live", False), ("/health/x", False), ("/x", False), ("//health", False)],
)
def test_a_route_may_name_the_path_of_a_request(target: str, named: bool) -> None:
    routes = [
        Route("h", RouteMatch(paths=("/health",)), {"default": 100.0}),
        Route("x", RouteMatch(paths=("/live/x",))),
    ]
    assert names(RequestQuery("GET", "a", target, [], "192.0.2.1"), routes) is named


def test_a_route_may_ask_where_a_request_came_from() -> None:
    routes = [
        Route("s", RouteMatch(scheme="https"), direct=DirectResponse(403, ErrorPage("", b""))),
        Route("l", RouteMatch(listeners=frozenset({"web"})), direct=DirectResponse(410, ErrorPage("", b""))),
    ]
    for scheme, listener, answer in (("https", "tls", "403"), ("http", "web", "410"), ("http", "tls", "404")):
        query = RequestQuery("GET", "a", "/", [], "192.0.2.1", scheme, listener)
        assert explain(query, routes, {}, None, lambda _: (NOBODY_CHECKS, 0)).answer.startswith(answer)
