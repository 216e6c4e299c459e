"""Clients that are banned are refused, and answers that rules are about are counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_network

import pytest

from lbflask.core.access_list import AccessList, network_list
from lbflask.core.bans import Ban, BanList, BanRule
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.direct_response import DirectResponse, ErrorPage
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import Route, RouteTable
from lbflask.proxy.admission import AdmissionHandler
from lbflask.proxy.bans import BanCheck, OffenceCounter
from lbflask.proxy.local_replies import DirectResponseRoute
from lbflask.proxy.router import Router
from lbflask.proxy.settings import ProxySettings
from tests.proxy.test_router import Place, Rig, request, taken


def bans(by_client: Mapping[str, Ban]) -> Callable[[str, Collection[str]], Ban | None]:
    """Finds these bans."""
    return lambda client, _: by_client.get(client)


NOBODY = AccessList([network_list([])], [])


@pytest.mark.parametrize(
    ("ban", "log"),
    [
        (Ban("192.0.2.0/24", 9.0, actor="alice"), "192.0.2.0/24 is banned by alice"),
        (Ban("192.0.2.1", 9.0, actor="web1", rule="login"), "192.0.2.1 is banned by the rule login"),
    ],
)
def test_a_banned_client_gets_403_and_not_the_reason(ban: Ban, log: str) -> None:
    rig, place = Rig(), Place()
    handler = AdmissionHandler(place, [BanCheck(bans({"192.0.2.1": ban}))], rig.answers)
    status, _, body = taken(handler.dispatch(request(peer="192.0.2.1")))
    assert (status, body) == ("403 Forbidden", b"403 Forbidden: requests from this address are not allowed\n")
    (event,) = rig.events
    assert (event.cause, event.cut, place.got) == ("ban", log, [])
    handler.dispatch(request(peer="192.0.2.2"))
    assert len(place.got) == 1


def test_a_ban_of_a_network_by_a_rule_is_none_of_the_addresses_in_it_that_are_exempt() -> None:
    """A rule bans the /64 network of an attacker, where a trusted proxy may be a neighbour."""
    known = BanList()
    known.put(Ban("2001:db8::/64", 9.0, rule="login"), 0.0)
    exempt = AccessList([network_list(["2001:db8::1"])], [])
    rig, place = Rig(), Place()
    check = BanCheck(lambda client, rules: known.find(client, 1.0, rules), [rule("login", 401, exempt=exempt)])
    handler = AdmissionHandler(place, [check], rig.answers)
    for peer in ("2001:db8::1", "2001:db8::2"):
        handler.dispatch(request(peer=peer))
    assert [got.peer for got in place.got] == ["2001:db8::1"]
    known.put(Ban("2001:db8::/48", 9.0, actor="alice"), 0.0)
    handler.dispatch(request(peer="2001:db8::1"))
    assert len(place.got) == 1, "the ban of an operator counts"


def counter(rig: Rig, status: int, *rules: BanRule) -> tuple[OffenceCounter, list[tuple[str, str]]]:
    route = DirectResponseRoute(DirectResponse(status, ErrorPage("", b"")), rig.answers, None, None)
    router = Router(RouteTable([Route("a", RouteMatch())]), [route], None, rig.answers)
    counted: list[tuple[str, str]] = []
    return OffenceCounter(
        router, rules, rig.house.hops, lambda rule, client: counted.append((rule.name, client))
    ), counted


def rule(name: str, *statuses: int, exempt: AccessList = NOBODY) -> BanRule:
    return BanRule(name, frozenset(statuses), 3, 60.0, 600, exempt)


def test_each_rule_counts_the_answers_with_its_statuses_before_the_client_gets_them() -> None:
    login, scan = rule("login", 401, 403), rule("scan", 404, 403)
    for status, names in ((200, []), (401, ["login"]), (404, ["scan"]), (403, ["login", "scan"]), (429, [])):
        handler, counted = counter(Rig(), status, login, scan)
        response = handler.dispatch(request())
        assert counted == [(name, "192.0.2.1") for name in names]
        assert taken(response)[0][:3] == str(status)


@pytest.mark.parametrize(
    ("peer", "claim", "client"),
    [
        ("192.0.2.1", "203.0.113.9", "203.0.113.9"),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("192.0.2.1", "unknown", None),
        ("unix:", "", None),
        ("10.0.0.1", "", None),
    ],
)
def test_the_client_counts_that_is_behind_trusted_proxies_unless_it_is_exempt_or_unknown(
    peer: str, claim: str, client: str | None
) -> None:
    rig = Rig(ProxySettings(is_trusted=TrustedProxies([ip_network("192.0.2.1")])))
    exempt = AccessList([network_list(["10.0.0.0/8"])], [])
    handler, counted = counter(rig, 401, rule("login", 401, exempt=exempt))
    handler.dispatch(request(fields=[("X-Forwarded-For", claim)] if claim else [], peer=peer))
    assert counted == ([] if client is None else [("login", client)])


def test_a_tunnel_and_what_could_not_be_read_do_not_count() -> None:
    rig = Rig()
    router = rig.router([], [], Place())
    counted: list[str] = []
    handler = OffenceCounter(router, [rule("bad", 400)], rig.house.hops, lambda rule, _: counted.append(rule.name))
    assert handler.dispatch(request()) is None
    fault = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
    assert taken(handler.refuse(fault, "GET", "/", "HTTP/1.1", "192.0.2.1", ""))[0] == "400 Bad Request"
    handler.record_refusal("192.0.2.1", 408, "too late", 7)
    assert [event.status for event in rig.events] == [400, 408]
    assert counted == []
