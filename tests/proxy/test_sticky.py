"""A session keeps its backend while that may go on with it, and its client is told when it does not."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import pytest

from lbflask.config.schema import Config
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.http.types import Fields
from lbflask.core.model import ActiveHealth, Backend, Ejection, Health, Mode, Override, Pool, Snapshot, StickyCookie
from lbflask.core.sticky_cookie import CookieRefusal
from lbflask.core.strategies import STRATEGIES
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.store.memory import MemoryStore
from lbflask.telemetry.metrics import definitions
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.dialer import Dialer
from lbflask.wiring.backend_connections import BackendConnections
from lbflask.wiring.gauges import worker_gauges
from tests.proxy.test_balancer import BACKENDS
from tests.proxy.test_dispatcher import FakeResponse, ScriptedTransport, inbound

REFUSED = Fault(Blame.BACKEND, Stage.CONNECT, 502, "connection refused")
SECRET = "s" * 16
UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)
ALL_UP = dict.fromkeys("abc", UP)


class Answers(ScriptedTransport):
    """Every attempt is answered, but at those backends that are dead; `fields` are in each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[str] = set()
        self.fields: Fields = []

    def send(self, request: BackendRequest, timeouts: object) -> BackendResponse:
        name = request.url.removeprefix("http://")[0]
        self.outcomes.append(REFUSED if name in self.dead else name.encode())
        response = super().send(request, timeouts)
        cast("FakeResponse", response).fields += self.fields
        return response


class Town:
    """A pool with sticky sessions, in front of backends that are always well unless told."""

    def __init__(
        self,
        strategy: str = "round_robin",
        store: MemoryStore | None = None,
        backends: tuple[Backend, ...] = BACKENDS,
        trusted: str = "198.51.100.0/24",
        edits: tuple[Edits, Edits] | None = None,
        **cookie: Any,
    ) -> None:
        self.store = store or MemoryStore(lambda: 1000.0)
        self.fleet = Fleet(self.store, ["p"], policies={"p": EjectionPolicy(("a", "b", "c"))})
        self.transport = Answers()
        sticky = StickyCookie(**{"name": "LB", "secrets": (SECRET,), **cookie})
        self.balancer = PoolBalancer(Pool("p", backends, strategy, sticky=sticky), self.fleet)
        of_requests, of_responses = edits or (None, None)
        rules = ProxySettings(
            is_trusted=TrustedProxies([ip_network(trusted)]), request_edits=of_requests, response_edits=of_responses
        )
        ticks = itertools.count()
        house = SharedServices(
            in_flight=InFlight(),
            hops=HopCache(rules.is_trusted, rules.via, forwarded=False),
            clock=lambda: float(next(ticks)),
            new_request_id=lambda: "id",
        )
        attempts = Attempts("p", self.fleet, self.transport, rules, house)
        self.dispatcher = Dispatcher(self.balancer, attempts, rules, house)
        self.know()

    def know(self, active: dict[str, ActiveHealth] | None = None, **more: Any) -> None:
        known = {**ALL_UP, **(active or {})}
        secret = self.fleet.snapshot("p").secret
        self.fleet.pools["p"].set_snapshot(Snapshot(1, known, 0.0, 10.0, secret=secret, **more))

    def ask(
        self, *cookies: str, fields: Sequence[tuple[str, str]] = (), **request: Any
    ) -> tuple[str, list[str], Fields]:
        """Who answered, the cookies that were set, and all fields."""
        sent = [("Cookie", "; ".join(cookies))] if cookies else []
        reply = self.dispatcher.dispatch(inbound(fields=[*sent, *fields], **request))
        assert reply is not None
        body = b"".join(reply).decode()
        reply.close()
        return body, [value for name, value in reply.fields if name == "Set-Cookie"], reply.fields

    def session(self) -> tuple[str, str]:
        """The backend of a new session, and its cookie as a client sends it."""
        backend, (told,), _ = self.ask()
        return backend, told.partition(";")[0]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_session_stays_over_any_strategy_and_is_told_once(strategy: str) -> None:
    town = Town(strategy)
    for _ in range(6):
        home, cookie = town.session()
        for _ in range(5):
            town.ask()  # others take turns meanwhile
            assert town.ask(cookie)[:2] == (home, [])


def test_refused_cookies_are_counted_by_reason_and_valid_ones_are_not() -> None:
    town = Town(max_age=60.0)
    home, cookie = town.session()
    town.ask(cookie)
    town.ask("LB=forged")
    town.ask(Town(secrets=("other" * 4,)).session()[1])
    town.know({home: DOWN})
    town.ask(cookie)
    refused = town.fleet.pools["p"].refused_cookies
    assert refused == {CookieRefusal.SIGNATURE: 2, CookieRefusal.BACKEND: 1}
    config = Config.model_validate({"backends": ["http://a:1"]})
    connections = BackendConnections(config, lambda *_: Dialer(), time.monotonic)
    samples = worker_gauges(town.fleet, connections, InFlight())()
    shown = {labels: value for metric, labels, value in samples if metric is definitions.STICKY_REFUSED}
    assert shown == {("p", "signature"): 2, ("p", "backend"): 1}


def test_a_route_that_takes_cookies_out_leaves_the_session_its_own() -> None:
    town = Town(edits=(Edits(remove=["Cookie"]), Edits(remove=["Set-Cookie"])))
    town.transport.fields = [("Set-Cookie", "theirs=1")]
    home, (told,), _ = town.ask()
    assert told.startswith("LB=")
    for _ in range(3):
        assert town.ask(told.partition(";")[0])[:2] == (home, [])


def test_new_sessions_are_spread_by_the_strategy_however_old_ones_ask() -> None:
    town = Town()
    _, cookie = town.session()
    homes = []
    for _ in range(30):
        homes.append(town.session()[0])
        town.ask(cookie)
    assert Counter(homes) == {"a": 10, "b": 10, "c": 10}


def test_a_request_of_a_session_takes_no_ticket() -> None:
    town = Town()
    _, cookie = town.session()
    before = town.store.take_tickets("p", 1)
    for _ in range(10):
        town.ask(cookie)
    assert town.store.take_tickets("p", 1) == before + 1


def test_the_cookie_says_what_it_is_told_to() -> None:
    town = Town(path="/a", max_age=60.0, same_site="strict")
    _, (told,), fields = town.ask()
    assert told.partition(";")[2] == " Path=/a; Max-Age=60; HttpOnly; SameSite=Strict"
    assert ("Cache-Control", "private") in fields


@pytest.mark.parametrize(
    ("scheme", "forwarded", "trusted", "secure"),
    [
        ("http", None, False, False),
        ("https", None, False, True),
        ("http", "https", True, True),
        ("http", "https", False, False),
        ("https", "http", True, False),
    ],
)
def test_it_is_secure_where_the_client_speaks_tls(
    scheme: str, forwarded: str | None, trusted: bool, secure: bool
) -> None:
    town = Town(trusted="0.0.0.0/0" if trusted else "198.51.100.0/24")
    fields = [("X-Forwarded-Proto", forwarded)] if forwarded else []
    request = inbound(fields=fields)
    request.scheme = scheme
    reply = town.dispatcher.dispatch(request)
    assert reply is not None
    (told,) = [value for name, value in reply.fields if name == "Set-Cookie"]
    assert ("; Secure" in told) is secure
    reply.close()


@pytest.mark.parametrize("secure", [True, False])
def test_or_as_it_is_configured(secure: bool) -> None:
    assert ("; Secure" in Town(secure=secure).ask()[1][0]) is secure


def test_what_the_backend_sets_is_left_alone() -> None:
    town = Town()
    town.transport.fields = [("Set-Cookie", "a=1"), ("Set-Cookie", "LB=x; Path=/y"), ("Cache-Control", "no-store")]
    _, told, fields = town.ask()
    assert told[:2] == ["a=1", "LB=x; Path=/y"]
    assert len(told) == 3
    assert [value for name, value in fields if name == "Cache-Control"] == ["no-store"]


def test_only_answers_that_could_be_cached_are_marked_as_private() -> None:
    for method, marked in (("GET", True), ("HEAD", True), ("POST", False)):
        assert (("Cache-Control", "private") in Town().ask(method=method)[2]) is marked


def test_the_backend_sees_all_cookies_but_ours() -> None:
    town = Town()
    _, cookie = town.session()
    town.ask("a=1", cookie, "LB=forged", "b=2")
    assert dict(town.transport.requests[-1][0])["Cookie"] == "a=1; b=2"
    town.ask(cookie)
    assert "Cookie" not in dict(town.transport.requests[-1][0])


@pytest.mark.parametrize("value", ["LB=", "LB=forged", "LB=a.b.c", "LB=" + "x" * 500, "LB=\xff\xfe"])
def test_a_forged_cookie_steers_nothing_and_is_replaced(value: str) -> None:
    town = Town()
    homes = [town.ask(value) for _ in range(6)]
    assert [home for home, _, _ in homes] == ["a", "b", "c"] * 2
    assert all(len(told) == 1 for _, told, _ in homes)


def test_a_forged_cookie_before_ours_hides_it_from_nobody() -> None:
    town = Town()
    home, cookie = town.session()
    assert [town.ask("LB=forged", cookie)[:2] for _ in range(3)] == [(home, [])] * 3


def test_an_expired_cookie_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(max_age=60.0)
    now = 5000.0
    monkeypatch.setattr(town.fleet, "now", lambda: now)
    monkeypatch.setattr(town.balancer.cookies, "_now", lambda: now)
    home, cookie = town.session()
    now += 59
    assert town.ask(cookie)[:2] == (home, [])
    now += 2
    assert len(town.ask(cookie)[1]) == 1


def lost(town: Town, home: str, how: str) -> None:
    """The backend is gone, one way or another."""
    if how == "down":
        town.know({home: DOWN})
    elif how == "ejected":
        town.know(ejected={home: Ejection(True, 1, 10.0, 1e9)})
    elif how == "refuses":
        town.transport.dead = {home}
    else:
        override = Override(removed=True) if how == "removed" else Override(Mode.OFF)
        town.know(overrides={home: override})


@pytest.mark.parametrize("how", ["down", "ejected", "off", "removed", "refuses"])
def test_a_session_whose_backend_is_lost_moves_once_and_stays(how: str) -> None:
    town = Town()
    home, cookie = town.session()
    lost(town, home, how)
    other, (told,), _ = town.ask(cookie)
    assert other != home
    moved = told.partition(";")[0]
    assert [town.ask(moved)[:2] for _ in range(5)] == [(other, [])] * 5
    town.transport.dead.clear()
    town.know()
    assert [town.ask(moved)[:2] for _ in range(5)] == [(other, [])] * 5


def test_sessions_of_a_lost_backend_are_spread_over_the_others() -> None:
    town = Town()
    sessions = [town.session() for _ in range(60)]
    town.know({"a": DOWN})
    moved = Counter(town.ask(cookie)[0] for home, cookie in sessions if home == "a")
    assert moved == {"b": 10, "c": 10}


def test_a_draining_backend_keeps_its_sessions_and_gets_no_others() -> None:
    town = Town()
    sessions = [town.session() for _ in range(9)]
    town.know(overrides={"a": Override(Mode.DRAINING)})
    for home, cookie in sessions:
        assert town.ask(cookie)[:2] == (home, [])
    assert {town.session()[0] for _ in range(12)} == {"b", "c"}


@pytest.mark.parametrize("how", ["down", "ejected"])
def test_a_draining_backend_that_fails_loses_them_even_where_all_are_down(how: str) -> None:
    town = Town()
    home, cookie = town.session()
    draining = {home: Override(Mode.DRAINING)}
    if how == "down":
        town.know(dict.fromkeys("abc", DOWN), overrides=draining)
    else:
        town.know(ejected={home: Ejection(True, 1, 10.0, 1e9)}, overrides=draining)
    assert town.balancer.sticky_backend([cookie.removeprefix("LB=")]) is None


def test_a_session_at_a_backup_stays_when_the_others_are_back() -> None:
    town = Town(backends=(*BACKENDS[:2], replace(BACKENDS[2], backup=True)))
    town.know({"a": DOWN, "b": DOWN})
    home, cookie = town.session()
    town.know()
    assert home == "c"
    assert {town.session()[0] for _ in range(6)} == {"a", "b"}
    assert town.ask(cookie)[:2] == ("c", [])


def test_a_request_of_a_session_probes_no_ejected_backend() -> None:
    town = Town()
    home, cookie = town.session()
    other = next(name for name in "abc" if name != home)
    town.know(ejected={other: Ejection(True, 1, 10.0, 20.0)})
    for _ in range(4):
        assert town.ask(cookie)[:2] == (home, [])
        town.fleet.traffic("p").report(town.store, town.fleet.snapshot("p"), 1000.0)
    new = []
    for _ in range(6):
        new.append(town.ask()[0])
        town.fleet.traffic("p").report(town.store, town.fleet.snapshot("p"), 1000.0)
    assert other in new


def test_our_own_refusals_set_no_cookie() -> None:
    town = Town()
    town.transport.dead = set("abc")
    reply = town.dispatcher.dispatch(inbound())
    assert reply is not None
    assert reply.status.startswith("502")
    assert "Set-Cookie" not in dict(reply.fields)
    reply.close()


# The secret of the fleet


def test_instances_that_agree_by_the_store_know_each_others_sessions() -> None:
    store = MemoryStore(lambda: 1000.0)
    one, two = (Town(store=store, secrets=()) for _ in range(2))
    for town in (one, two):
        town.fleet.refresh()
        town.know()
    home, cookie = one.session()
    assert [town.ask(cookie)[:2] for town in (one, two) * 3] == [(home, [])] * 6


def test_without_a_secret_no_cookie_is_believed_or_set() -> None:
    town, elsewhere = Town(secrets=()), Town()
    home, cookie = elsewhere.session()
    answers = [town.ask(cookie) for _ in range(3)]
    assert {answer[0] for answer in answers} == {"a", "b", "c"}
    assert [answer[1] for answer in answers] == [[], [], []]
    assert "Cookie" not in dict(town.transport.requests[-1][0])
    town.fleet.refresh()
    town.know()
    home, cookie = town.session()
    assert town.ask(cookie)[:2] == (home, [])


def test_a_session_may_be_in_a_header_field() -> None:
    town = Town(name="X-Session", in_header=True)
    home, cookies, fields = town.ask()
    assert cookies == []
    (value,) = [value for name, value in fields if name == "X-Session"]
    assert ("Cache-Control", "private") in fields
    for _ in range(5):
        town.ask()  # others take turns meanwhile
        again, _, fields = town.ask(fields=[("x-session", value)])
        assert again == home
        assert not [name for name, _ in fields if name == "X-Session"]
    assert "session" not in str(town.transport.requests[-1]).lower()
    _, _, fields = town.ask(fields=[("x-session", "forged")])
    assert [name for name, _ in fields if name == "X-Session"]
