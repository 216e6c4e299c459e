"""Requests find their destinations, and what becomes of those that no backend sees is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from lbflask.core.answers import AnswerKey
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect
from lbflask.core.http.framing import NO_BODY
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.rewrites import PrefixRewrite
from lbflask.core.http.target import Target
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.http.types import Fields
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import Route, RouteTable
from lbflask.core.traffic_split import WeightedSplit
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.router import Router, TrafficSplitter
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.telemetry.events import RequestEvent

RULES = ProxySettings(is_trusted=TrustedProxies())


class Place:
    """A destination that notes what comes."""

    def __init__(self) -> None:
        self.got: list[ClientRequest] = []

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        self.got.append(request)
        return None


class Rig:
    """What answers of our own need: a clock that ticks, ids, and somebody who listens."""

    def __init__(
        self, rules: ProxySettings = RULES, note: Callable[[tuple[int | AnswerKey, str]], None] | None = None
    ) -> None:
        self.rules = rules
        self.events: list[RequestEvent] = []
        ticks, numbers = itertools.count(), itertools.count()
        self.house = SharedServices(
            in_flight=InFlight(),
            hops=HopCache(rules.is_trusted, rules.via, forwarded=False),
            clock=lambda: float(next(ticks)),
            new_request_id=lambda: f"id-{next(numbers)}",
            listeners=(self.events.append,),
            note_answer=note,
        )
        self.answers = LocalReplies(self.house, rules)

    def router(self, routes: Sequence[Route], places: Sequence[Place], otherwise: Place | None = None) -> Router:
        return Router(RouteTable(routes), places, otherwise, self.answers)


def request(
    target: str = "/", fields: Fields | None = None, host: str = "shop", peer: str = "192.0.2.1"
) -> ClientRequest:
    return ClientRequest(
        method="GET",
        raw_target=target,
        target=Target(target),
        protocol="HTTP/1.1",
        fields=fields or [],
        host=host,
        peer=peer,
        scheme="http",
        framing=NO_BODY,
        body=None,
    )


def taken(reply: ClientResponse | None) -> tuple[str, Fields, bytes]:
    assert reply is not None
    body = b"".join(reply)
    reply.close()
    return reply.status, reply.fields, body


def test_each_request_goes_to_the_destination_of_its_route() -> None:
    a, b, otherwise = places = [Place() for _ in range(3)]
    router = Rig().router(
        [Route("a", RouteMatch(paths=("/a",))), Route("b", RouteMatch(paths=("/b",)))], [a, b], otherwise
    )
    for target in ("/a/x", "/b", "/c"):
        router.dispatch(request(target))
    assert [[one.raw_target for one in place.got] for place in places] == [["/a/x"], ["/b"], ["/c"]]


def test_what_takes_no_route_and_has_no_other_place_is_not_found() -> None:
    rig = Rig()
    status, _, body = taken(rig.router([Route("a", RouteMatch(paths=("/a",)))], [Place()]).dispatch(request("/c")))
    assert (status, body) == ("404 Not Found", b"404 Not Found: no route leads there\n")
    (event,) = rig.events
    assert (event.status, event.pool, event.route, event.cut) == (404, "", "", "no route leads there")


def test_an_answer_is_noted_without_an_event_where_nothing_consumes_events() -> None:
    noted: list[tuple[int | AnswerKey, str]] = []
    rig = Rig(note=noted.append)
    taken(rig.answers.respond(request(), "403 Forbidden", [], b"no"))
    taken(rig.router([Route("a", RouteMatch(paths=("/a",)))], [Place()]).dispatch(request("/c")))
    keys = AnswerKey("403", "direct_response"), AnswerKey("404", "no_route")
    assert noted == [(key, "192.0.2.1") for key in keys]
    assert not rig.events


def test_a_path_with_two_readings_reaches_no_destination() -> None:
    rig, places = Rig(), [Place(), Place()]
    status, _, _ = taken(
        rig.router([Route("a", RouteMatch(paths=("/a",)))], places[:1], places[1]).dispatch(request("//a"))
    )
    assert (status, [place.got for place in places]) == ("400 Bad Request", [[], []])


def test_what_could_not_be_read_is_refused_with_the_page_of_the_pool() -> None:
    rig = Rig(ProxySettings(pages={413: ErrorPage("text/html", b"<p>large")}))
    router = rig.router([Route("a", RouteMatch())], [Place()])
    fault = Fault(Blame.CLIENT, Stage.SEND, 413, "too large")
    status, _, body = taken(router.refuse(fault, "POST", "/x", "HTTP/1.1", "192.0.2.1", "text/html"))
    assert (status, body) == ("413 Content Too Large", b"<p>large")
    (event,) = rig.events
    assert (event.client, event.method, event.target, event.protocol) == ("192.0.2.1", "POST", "/x", "HTTP/1.1")
    assert (event.pool, event.status) == ("", 413)


# Splits


def splitting(rig: Rig, key: str, chances: Sequence[float] = ()) -> tuple[TrafficSplitter, dict[str, Place]]:
    places = {"a": Place(), "b": Place()}
    split = WeightedSplit("r", {"a": 50, "b": 50})
    chance = iter(chances).__next__
    return TrafficSplitter(split, RequestKey.parse(key), places, rig.house.hops, chance), places


def test_a_client_stays_in_its_pool() -> None:
    split, places = splitting(Rig(), "client")
    for number in range(20):
        for _ in range(3):
            split.dispatch(request(peer=f"192.0.2.{number}"))
    homes = [{one.peer for one in place.got} for place in places.values()]
    assert all(homes)
    assert homes[0].isdisjoint(homes[1])


@pytest.mark.parametrize("trusted", [True, False])
def test_behind_a_proxy_the_client_is_who_it_says_if_it_is_trusted(trusted: bool) -> None:
    rig = Rig(ProxySettings(is_trusted=TrustedProxies([ip_network("192.0.2.1")] if trusted else [])))
    split, places = splitting(rig, "client")
    for number in range(20):
        split.dispatch(request(fields=[("X-Forwarded-For", f"203.0.113.{number}")]))
    assert all(place.got for place in places.values()) is trusted


def test_a_request_without_the_key_goes_where_chance_wants() -> None:
    split, places = splitting(Rig(), "cookie:user", [number / 40 for number in range(40)])
    for _ in range(40):
        split.dispatch(request())
    assert all(len(place.got) > 5 for place in places.values())


def test_a_request_with_the_key_takes_no_chance() -> None:
    split, places = splitting(Rig(), "header:X-User")
    for user in "abcabc":
        split.dispatch(request(fields=[("X-User", user)]))
    assert sum(len(place.got) for place in places.values()) == 6


# Answers of our own


def test_a_fixed_answer_is_edited_and_told_with_the_name_of_its_route() -> None:
    rig = Rig()
    answers = LocalReplies(
        rig.house, replace(rig.rules, response_edits=Edits(set_=[("Retry-After", "9")])), route="closed"
    )
    route = DirectResponseRoute(DirectResponse(503, ErrorPage("text/plain", b"later")), answers, "lb", None)
    status, fields, body = taken(route.dispatch(request("/x", [("X-Request-ID", "mine")])))
    assert (status, body) == ("503 Service Unavailable", b"later")
    assert fields == [("Content-Type", "text/plain"), ("Content-Length", "5"), ("Via", "1.1 lb"), ("Retry-After", "9")]
    (event,) = rig.events
    assert (event.client, event.target, event.status, event.sent) == ("192.0.2.1", "/x", 503, 5)
    assert (event.route, event.pool, event.request_id, list(event.attempts), event.cut) == (
        "closed",
        "",
        "mine",
        [],
        "",
    )


def test_a_fixed_answer_that_nobody_takes_is_told_once() -> None:
    rig = Rig()
    reply = DirectResponseRoute(DirectResponse(200, ErrorPage("a/b", b"x")), rig.answers, None, None).dispatch(
        request()
    )
    reply.close()
    reply.close()
    assert [event.sent for event in rig.events] == [0]


def test_a_redirection_goes_by_the_rewritten_path() -> None:
    rig = Rig()
    route = DirectResponseRoute(
        Redirect(307, "https://{host}{path}{query}"), rig.answers, None, PrefixRewrite(1, "/new")
    )
    status, fields, _ = taken(route.dispatch(request("/old/x?y", host="Shop:80")))
    assert (status, fields[0]) == ("307 Temporary Redirect", ("Location", "https://shop/new/x?y"))


def test_a_status_without_a_usual_phrase_has_none() -> None:
    route = DirectResponseRoute(DirectResponse(299, ErrorPage("", b"")), Rig().answers, None, None)
    assert taken(route.dispatch(request()))[0] == "299 "
