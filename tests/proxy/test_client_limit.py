"""A client has only so many requests in flight."""

from __future__ import annotations

import pytest

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.proxy.client_limit import ClientLimit
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.router import Router
from tests.proxy.test_router import Place, Rig, request, taken


class Slow:
    """A destination whose responses end when the test says so, or which fails."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.error = rig, False

    def dispatch(self, request: ClientRequest) -> ClientResponse:
        if self.error:
            raise RuntimeError("broken")
        return self.rig.answers.respond(request, "200 OK", [], b"slow")


def limited(rig: Rig, place: Slow | Place, limit: int = 2) -> ClientLimit:
    router = Router(rig.router([], [])._table, [], place, rig.answers)
    return ClientLimit(router, limit, rig.answers)


def opened(handler: ClientLimit, peer: str = "192.0.2.1") -> ClientResponse:
    response = handler.dispatch(request(peer=peer))
    assert response is not None
    return response


def test_requests_beyond_the_limit_get_429_until_others_have_ended() -> None:
    rig = Rig()
    handler = limited(rig, Slow(rig))
    one, two = opened(handler), opened(handler)
    status, fields, _ = taken(opened(handler))
    assert (status, ("Retry-After", "1") in fields) == ("429 Too Many Requests", True)
    assert rig.events[-1].cause == "client_limit"
    assert taken(opened(handler, "192.0.2.2"))[0] == "200 OK"
    taken(one)
    one.close()  # ends once
    three = opened(handler)
    assert three.status == "200 OK"
    assert opened(handler).status.startswith("429")
    for response in (two, three):
        response.close()
    assert rig.house.in_flight.by_client == {}


def test_an_ipv6_client_is_its_network_and_others_have_no_limit() -> None:
    rig = Rig()
    handler = limited(rig, Slow(rig), 1)
    opened(handler, "2001:db8::1")
    assert opened(handler, "2001:db8::2").status.startswith("429")
    assert opened(handler, "2001:db8:0:1::2").status == "200 OK"
    assert [opened(handler, "unix:").status for _ in range(3)] == ["200 OK"] * 3


def test_a_tunnel_that_has_ended_and_a_request_that_failed_count_no_more() -> None:
    rig = Rig()
    assert [limited(rig, Place(), 1).dispatch(request()) for _ in range(3)] == [None] * 3
    broken = Slow(rig)
    handler = limited(rig, broken, 1)
    broken.error = True
    for _ in range(3):
        with pytest.raises(RuntimeError):
            handler.dispatch(request())
    assert rig.house.in_flight.by_client == {}


def test_another_configuration_goes_on_with_the_counts() -> None:
    rig = Rig()
    opened(limited(rig, Slow(rig), 1))
    assert opened(limited(rig, Slow(rig), 1)).status.startswith("429")
    assert opened(limited(rig, Slow(rig), 2)).status == "200 OK"


def test_what_could_not_be_read_is_answered_as_elsewhere() -> None:
    rig = Rig()
    handler = limited(rig, Place())
    fault = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
    assert taken(handler.refuse(fault, "GET", "/", "HTTP/1.1", "192.0.2.1", ""))[0] == "400 Bad Request"
    handler.record_refusal("192.0.2.1", 408, "too late", 7)
    assert [event.status for event in rig.events] == [400, 408]
