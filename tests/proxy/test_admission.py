"""Checks before a handler: what they admit goes on, and what they refuse is a local reply."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, NotAdmitted, Stage
from lbflask.core.http.direct_response import DirectResponse, ErrorPage
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.proxy.admission import AdmissionHandler
from lbflask.proxy.admitted_request import AdmittedRequest
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.settings import ProxySettings
from tests.proxy.test_router import Place, Rig, request, taken

REFUSAL = NotAdmitted(401, "no credentials", AnswerCause.ACCESS, [("WWW-Authenticate", "Basic")], "user unknown")


class Door:
    """A check that notes whom it sees, and adds a field or raises."""

    def __init__(self, name: str, error: Fault | None = None) -> None:
        self.name, self.error = name, error
        self.seen: list[str] = []

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        self.seen.append(origin.client)
        if self.error is not None:
            raise self.error
        return request.with_fields([*request.fields, ("X-Passed", self.name)])


def test_a_request_passes_all_checks_in_their_order_and_goes_on_as_they_left_it() -> None:
    rig, place = Rig(), Place()
    asked = request("/x", [("A", "b")])
    assert AdmissionHandler(place, [Door("one"), Door("two")], rig.answers).dispatch(asked) is None
    (got,) = place.got
    assert got.fields == [("A", "b"), ("X-Passed", "one"), ("X-Passed", "two")]
    assert asked.fields == [("A", "b")]
    assert (got.raw_target, got.host, got.peer, got.body) == (asked.raw_target, asked.host, asked.peer, asked.body)


@pytest.mark.parametrize(
    ("error", "status", "cause", "log", "field"),
    [
        (REFUSAL, "401 Unauthorized", "access", "user unknown", ("WWW-Authenticate", "Basic")),
        (NotAdmitted(403, "not from here", AnswerCause.ACCESS), "403 Forbidden", "access", "not from here", None),
        (
            Fault(Blame.SELF, Stage.CHOOSE, 503, "the authority is away"),
            "503 Service Unavailable",
            "internal",
            "the authority is away",
            None,
        ),
    ],
)
def test_a_refused_request_goes_no_further(
    error: Fault, status: str, cause: str, log: str, field: tuple[str, str] | None
) -> None:
    rig, place, later = Rig(), Place(), Door("later")
    response = AdmissionHandler(place, [Door("one", error), later], rig.answers).dispatch(request())
    found, fields, body = taken(response)
    assert (found, place.got, later.seen) == (status, [], [])
    assert field is None or field in fields
    assert b"user unknown" not in body
    (event,) = rig.events
    assert (event.status, event.cause, event.cut, event.client) == (int(status[:3]), cause, log, "192.0.2.1")


def test_a_refusal_has_the_error_page_of_its_status() -> None:
    rig = Rig(ProxySettings(pages={401: ErrorPage("text/html", b"<p>who?")}))
    assert taken(AdmissionHandler(Place(), [Door("", REFUSAL)], rig.answers).dispatch(request()))[2] == b"<p>who?"


@pytest.mark.parametrize(("trusted", "client"), [(True, "203.0.113.9"), (False, "192.0.2.1")])
def test_checks_get_the_client_behind_trusted_proxies_only(trusted: bool, client: str) -> None:
    rig = Rig(ProxySettings(is_trusted=TrustedProxies([ip_network("192.0.2.1")] if trusted else [])))
    door = Door("one")
    AdmissionHandler(Place(), [door], rig.answers).dispatch(request(fields=[("X-Forwarded-For", "203.0.113.9")]))
    assert door.seen == [client]


def test_what_could_not_be_read_is_answered_as_elsewhere() -> None:
    rig = Rig()
    handler = AdmissionHandler(Place(), [Door("one")], rig.answers)
    fault = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
    assert taken(handler.refuse(fault, "GET", "/", "HTTP/1.1", "192.0.2.1", ""))[0] == "400 Bad Request"
    handler.record_refusal("192.0.2.1", 408, "too late", 7)
    assert [event.status for event in rig.events] == [400, 408]


class Cookies:
    """A check that sets a cookie of the client."""

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        return AdmittedRequest(request, request.fields, "alice", [("Set-Cookie", "session=renewed")])


@pytest.mark.parametrize(("control", "added"), [("public, max-age=60", ["private"]), ("no-store", [])])
def test_a_response_with_the_cookie_of_a_check_is_kept_from_shared_caches(control: str, added: list[str]) -> None:
    """RFC 9111 §7.3: Set-Cookie alone keeps it from none, and its next client would be the user."""
    rig = Rig()
    edited = LocalReplies(rig.house, ProxySettings(response_edits=Edits(set_=[("Cache-Control", control)])))
    page = DirectResponseRoute(DirectResponse(200, ErrorPage("text/css", b"p {}")), edited, None, None)
    _, fields, _ = taken(AdmissionHandler(page, [Cookies()], rig.answers).dispatch(request()))
    assert ("Set-Cookie", "session=renewed") in fields
    assert [value for name, value in fields if name == "Cache-Control"] == [control, *added]
