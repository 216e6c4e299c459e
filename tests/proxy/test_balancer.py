"""The facts that a strategy goes by are gathered for it, and for no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.explain import RequestQuery, explain
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import NO_BODY
from lbflask.core.http.target import Target
from lbflask.core.http.types import Fields
from lbflask.core.model import (
    ActiveHealth,
    Backend,
    Ejection,
    Health,
    Mode,
    Override,
    Pool,
    Snapshot,
    StickyCookie,
)
from lbflask.core.retry import RetryPolicy
from lbflask.core.sticky_cookie import Affinity
from lbflask.core.strategies import STRATEGIES
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.store.memory import MemoryStore
from lbflask.telemetry.events import RequestEvent
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport
from tests.support.selection import examples

BACKENDS = tuple(Backend(name, name, 80, f"http://{name}:80") for name in ("a", "b", "c"))


def request(target: str = "/", fields: Fields | None = None) -> ClientRequest:
    return ClientRequest(
        method="GET",
        raw_target=target,
        target=Target(target),
        protocol="HTTP/1.1",
        fields=fields or [],
        host="shop",
        peer="192.0.2.1",
        scheme="http",
        framing=NO_BODY,
        body=None,
    )


class Rig:
    """A pool before a fleet that has no store, and needs none."""

    def __init__(self, strategy: str, backends: tuple[Backend, ...] = BACKENDS, **settings: Any) -> None:
        self.store = MemoryStore(lambda: 1000.0)
        self.fleet = Fleet(self.store, ["p"], strict=True)
        self.traffic = self.fleet.traffic("p")
        self.balancer = PoolBalancer(Pool("p", backends, strategy, **settings), self.fleet)

    def order(self, inbound: ClientRequest | None = None, client: str = "192.0.2.1") -> list[str]:
        inbound = inbound or request()
        plan = self.balancer.plan(self.balancer.key(client, inbound.target.text, inbound.fields), safe=True)
        return [backend.id for backend in plan.backends]

    def firsts(self, count: int, inbound: ClientRequest | None = None, client: str = "192.0.2.1") -> set[str]:
        return {self.order(inbound, client)[0] for _ in range(count)}

    def know(self, **healths: Health) -> None:
        active = {name: ActiveHealth(health) for name, health in healths.items()}
        self.fleet.pools["p"].set_snapshot(Snapshot(1, active, 0.0, 10.0))


@pytest.mark.parametrize("strategy", ["least_connections", "random_two"])
def test_requests_in_flight_count_from_their_beginning_to_their_end(strategy: str) -> None:
    rig = Rig(strategy, BACKENDS[:2])
    rig.traffic.began("a")
    assert rig.firsts(20) == {"b"}
    rig.traffic.began("b")
    rig.traffic.began("b")
    assert rig.firsts(20) == {"a"}
    rig.traffic.ended("b")
    rig.traffic.failed("b", Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused"))
    assert rig.firsts(20) == {"b"}
    rig.traffic.ended("a")
    assert rig.firsts(20) == {"a", "b"}


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_only_strategies_that_go_by_loads_have_the_fleet_read_them(strategy: str) -> None:
    rig = Rig(strategy)
    usual = rig.traffic.heartbeat.interval
    rig.order()
    assert (rig.traffic.heartbeat.interval < usual) == STRATEGIES[strategy].by_loads


@pytest.mark.parametrize(
    ("strategy", "key", "tickets"),
    [
        *((strategy, "client", 5) for strategy in ("round_robin", "least_connections", "random_two")),
        ("first", "client", 0),
        ("consistent_hash", "client", 0),
        ("consistent_hash", "cookie:none", 5),
    ],
)
def test_a_ticket_is_taken_only_by_those_that_have_turns(strategy: str, key: str, tickets: int) -> None:
    rig = Rig(strategy, hash_key=key)
    before = rig.store.take_tickets("p", 1)
    rig.firsts(5)
    assert rig.store.take_tickets("p", 1) - before - 1 == tickets


@pytest.mark.parametrize(
    ("key", "vary"),
    [
        ("client", lambda number: (None, f"192.0.2.{number}")),
        ("uri", lambda number: (request(f"/{number}"), "")),
        ("header:X-Tenant", lambda number: (request(fields=[("x-tenant", f"t{number}")]), "")),
        ("cookie:session", lambda number: (request(fields=[("Cookie", f"a=1; session=s{number}")]), "")),
        ("query:user", lambda number: (request(f"/?user=u{number}"), "")),
    ],
)
def test_a_key_has_one_backend_and_keys_have_all(key: str, vary: Any) -> None:
    rig = Rig("consistent_hash", hash_key=key)
    homes = [rig.firsts(4, *vary(number)) for number in range(30)]
    assert {len(home) for home in homes} == {1}
    assert set().union(*homes) == {"a", "b", "c"}


def test_requests_without_the_key_go_in_turn() -> None:
    rig = Rig("consistent_hash", hash_key="cookie:session")
    assert [rig.order()[0] for _ in range(6)] == ["a", "b", "c"] * 2


def test_keys_of_a_backend_that_is_down_go_to_the_next_and_come_back() -> None:
    rig = Rig("consistent_hash")
    home, following, _ = rig.order()
    rig.know(**dict.fromkeys("abc", Health.UP) | {home: Health.DOWN})
    assert rig.firsts(5) == {following}
    rig.know(**dict.fromkeys("abc", Health.UP))
    assert rig.firsts(5) == {home}


def test_a_load_factor_sends_what_is_too_much_for_one_backend_to_the_next_of_the_key() -> None:
    rig = Rig("consistent_hash", load_factor=1.25)
    home, following, _ = rig.order()
    rig.traffic.began(home)
    assert rig.firsts(5) == {following}
    rig.traffic.ended(home)
    assert rig.firsts(5) == {home}


def test_the_first_that_is_configured_serves_while_it_can() -> None:
    rig = Rig("first", tuple(reversed(BACKENDS)))
    assert rig.order() == ["c", "b", "a"]
    rig.know(a=Health.UP, b=Health.UP, c=Health.DOWN)
    assert rig.order() == ["b", "a"]


def test_backups_serve_when_no_other_can() -> None:
    spare = Backend("0", "s", 80, "http://s:80", backup=True)
    rig = Rig("round_robin", (spare, *BACKENDS))
    assert [rig.order()[0] for _ in range(6)] == ["a", "b", "c"] * 2
    assert rig.order()[-1] == "0"
    rig.know(a=Health.DOWN, b=Health.DOWN, c=Health.UP, **{"0": Health.UP})
    assert rig.order() == ["c", "0"]
    rig.know(a=Health.DOWN, b=Health.DOWN, c=Health.DOWN, **{"0": Health.UP})
    assert rig.order() == ["0"]


def test_a_backend_that_came_up_gets_its_share_in_steps_of_the_stores_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("round_robin", BACKENDS[:2], slow_start=10.0)
    now = 5000.0
    monkeypatch.setattr(rig.fleet, "now", lambda: now)
    active = {"a": ActiveHealth(Health.UP, since=10.0), "b": ActiveHealth(Health.UP, since=5000.0)}
    rig.fleet.pools["p"].set_snapshot(Snapshot(1, active, 0.0, 10.0))
    shares = []
    for tenth in (0, 4, 8.999, 9):
        now = 5000.0 + tenth
        rig.fleet.pools["p"].tickets.next()  # which begins another cycle, so that none is cut in two
        firsts = [rig.order()[0] for _ in range(110)]
        shares.append(firsts.count("b") / firsts.count("a"))
    assert shares == pytest.approx([0.1, 0.5, 0.9, 1.0], abs=0.04)


def test_an_ejected_backend_is_probed_only_while_it_is_in_service() -> None:
    for mode in Mode:
        rig = Rig("round_robin")
        ejected = {"a": Ejection(True, 1, 10.0, 20.0)}
        rig.fleet.pools["p"].set_snapshot(Snapshot(1, ejected=ejected, overrides={"a": Override(mode)}))
        firsts = []
        for _ in range(4):  # a worker sees that a probe is due, asks for the right to it, and gets it
            firsts.append(rig.order()[0])
            rig.traffic.report(rig.store, rig.fleet.snapshot("p"), 1000.0)
        assert ("a" in firsts) == (mode is Mode.SERVING)


NOW = 5000.0
SECRET = "0123456789abcdef"
NAMES = ("a", "b", "c", "d")


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """A pool of up to four backends, of any strategy and with any settings."""
    names = NAMES[: draw(st.integers(1, 4))]
    backends = tuple(
        Backend(name, name, 80, f"http://{name}:80", draw(st.integers(0, 3)), backup=draw(st.booleans()))
        for name in names
    )
    return Pool(
        "p",
        backends,
        draw(st.sampled_from(sorted(STRATEGIES))),
        fails_open=draw(st.booleans()),
        hash_key=draw(st.sampled_from(["client", "uri", "header:x-user", "cookie:user", "query:user"])),
        load_factor=draw(st.sampled_from([None, 1.25])),
        slow_start=draw(st.sampled_from([0.0, 100.0])),
        sticky=draw(st.sampled_from([None, StickyCookie("S"), StickyCookie("S", secrets=(SECRET,))])),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """What the fleet may know of it."""
    healths = st.builds(ActiveHealth, st.sampled_from(Health), since=st.sampled_from([0.0, NOW - 30, NOW - 500]))
    modes = st.builds(
        Override, st.sampled_from(Mode), weight=st.sampled_from([None, 0, 2]), removed=st.booleans(), added=st.none()
    )
    new = Override(added=Backend("e", "e", 80, "http://e:80"))
    return Snapshot(
        1,
        draw(st.dictionaries(st.sampled_from(NAMES), healths)),
        draw(st.sampled_from([None, 0.0, 1e6])),
        10.0,
        draw(st.dictionaries(st.sampled_from(NAMES), st.just(Ejection(True, 1, NOW - 10, NOW + 10)), max_size=2)),
        NOW,
        draw(st.dictionaries(st.sampled_from(NAMES), modes, max_size=2)) | ({"e": new} if draw(st.booleans()) else {}),
        secret=draw(st.sampled_from(["", SECRET])),
    )


@given(
    pool=pools(),
    snapshot=snapshots(),
    session=st.sampled_from(["", *NAMES]),
    user=st.sampled_from(["", "ann", "bob"]),
    ticket=st.integers(0, 30),
)
@settings(max_examples=examples(300), deadline=None)
def test_explain_says_what_a_worker_does(pool: Pool, snapshot: Snapshot, session: str, user: str, ticket: int) -> None:
    """The explained plans are the backends that a worker tries, in their order, when all of them refuse."""
    store = MemoryStore(lambda: NOW)
    store.take_tickets("p", ticket)
    fleet = Fleet(store, ["p"], strict=True)
    fleet.now = lambda: NOW  # type: ignore[method-assign]
    fleet.pools["p"].set_snapshot(snapshot)
    balancer = PoolBalancer(pool, fleet)
    fields = [("X-User", user), ("Cookie", f"user={user}")] if user else []
    if session:
        fields = [*fields, ("Cookie", f"S={Affinity('p', [SECRET]).cookie(session, NOW)}")]
    target = f"/x?user={user}" if user else "/x"
    query = RequestQuery("GET", "shop", target, fields, "192.0.2.1")
    explanation = explain(query, [], {"p": pool}, "p", lambda _: (snapshot, store.take_tickets("p", 0)))
    (view,) = explanation.pools
    events: list[RequestEvent] = []
    proxy_settings = ProxySettings(retries=RetryPolicy(attempts=9))
    services = SharedServices(
        in_flight=InFlight(),
        hops=HopCache(proxy_settings.is_trusted, None, forwarded=False),
        clock=lambda: 0.0,
        new_request_id=lambda: "id",
        listeners=(events.append,),
    )
    attempts = Attempts("p", fleet, Refusing(), proxy_settings, services)
    dispatcher = Dispatcher(balancer, attempts, proxy_settings, services)
    for _ in view.plans:
        response = dispatcher.dispatch(request(target, fields))
        assert response is not None
        response.close()
    assert tuple(tuple(attempt.backend for attempt in event.attempts) for event in events) == view.plans
    assert {event.why == "sticky" for event in events} == {bool(view.home)}


class Refusing(BackendTransport):
    """A transport whose backends all refuse connections."""

    def __init__(self) -> None:
        pass

    def send(self, request: object, timeouts: object) -> BackendResponse:
        raise Fault(Blame.BACKEND, Stage.CONNECT, 502, "connection refused")


def test_a_balancer_shows_its_pool() -> None:
    rig = Rig("first")
    rig.order()
    assert repr(rig.balancer) == "PoolBalancer(p: first, 3 candidates)"
