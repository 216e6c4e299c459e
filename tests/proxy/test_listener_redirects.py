"""Requests of a listener that redirects, and those that it passes on."""

from __future__ import annotations

import pytest

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.direct_response import Redirect
from lbflask.proxy.listener_redirects import ListenerRedirects
from lbflask.proxy.local_replies import DirectResponseRoute
from tests.proxy.test_router import Place, Rig, request, taken

CHALLENGE = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def redirects(rig: Rig, place: Place) -> ListenerRedirects:
    route = DirectResponseRoute(Redirect(308, "https://{host}:8443{path}{query}"), rig.answers, None, None)
    return ListenerRedirects(["plain"], route, rig.router([], [], place))


def test_its_requests_are_sent_to_the_same_host_and_target() -> None:
    rig, place = Rig(), Place()
    asked = request("/a%20b?c=d", host="shop.example:80")
    asked.listener = "plain"
    status, fields, _ = taken(redirects(rig, place).dispatch(asked))
    assert status == "308 Permanent Redirect"
    assert ("Location", "https://shop.example:8443/a%20b?c=d") in fields
    assert not place.got
    assert rig.events[0].status == 308


@pytest.mark.parametrize("host", ["", ":80", ".", ".:80"])
def test_without_a_name_there_is_no_url_to_redirect_to(host: str) -> None:
    asked = request("/evil.example/", host=host)
    asked.listener = "plain"
    status, fields, _ = taken(redirects(Rig(), Place()).dispatch(asked))
    assert (status, [name for name, _ in fields if name == "Location"]) == ("400 Bad Request", [])


@pytest.mark.parametrize(("target", "listener"), [("/", "public"), ("/", ""), (CHALLENGE, "plain")])
def test_those_of_others_and_challenges_are_passed_on(target: str, listener: str) -> None:
    place = Place()
    asked = request(target)
    asked.listener = listener
    assert redirects(Rig(), place).dispatch(asked) is None
    assert place.got == [asked]


@pytest.mark.parametrize(
    "target",
    [
        CHALLENGE[:-43], CHALLENGE + "/..", CHALLENGE + "?x", CHALLENGE + "%2e", "/x" + CHALLENGE, CHALLENGE + "/a",
        "/.well-known/acme-challenge", "/.well-known/acme-challenge/../../secret", CHALLENGE * 20, CHALLENGE + "\n",
    ],
)  # fmt: skip
def test_what_only_resembles_a_challenge_is_redirected(target: str) -> None:
    place = Place()
    asked = request(target)
    asked.listener = "plain"
    status, _, _ = taken(redirects(Rig(), place).dispatch(asked))
    assert (status[:3], place.got) == ("308", [])


def test_what_could_not_be_read_is_answered_as_elsewhere() -> None:
    rig = Rig()
    routes = redirects(rig, Place())
    fault = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
    status, _, _ = taken(routes.refuse(fault, "GET", "/", "HTTP/1.1", "192.0.2.1", ""))
    assert status == "400 Bad Request"
    routes.record_refusal("192.0.2.1", 408, "too late", 7)
    assert [event.status for event in rig.events] == [400, 408]
