"""What the settings of a pool and a route do to requests and responses, with real backends that play scripts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from devtools.scripted_backend import (
    OK,
    Peer,
    Script,
    ScriptedBackend,
    answering,
    answering_always,
    answering_and_closing,
)
from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Stage
from lbflask.core.http.cors import CorsPolicy
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.framing import Framing
from lbflask.core.http.types import Fields
from lbflask.core.model import Backend
from lbflask.core.retry import RetryPolicy
from lbflask.proxy.attempts import MAX_ASIDE
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from tests.proxy.test_dispatcher import Balancer, Street, inbound

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-From: first\r\n\r\nbusy"
RETRIED = RetryPolicy(2, statuses=frozenset({502, 503, 504}))
SHOP = "https://shop.example"
PAGE = ErrorPage("text/html", b"<p>Sorry.</p>")


def silent(peer: Peer) -> None:
    """Never answers."""
    peer.read_to_end()


def slowly(head: bytes, *pieces: bytes) -> Script:
    """Sends the head, and the rest only when the head has arrived: in packets of their own."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(head)
        for piece in pieces:
            time.sleep(0)  # another packet
            peer.send(piece)

    return play


def attempts(balancer: Balancer) -> list[tuple[str, bool]]:
    """The backends that the one request tried, each with whether it failed."""
    (event,) = balancer.events
    return [(attempt.backend, attempt.fault is not None) for attempt in event.attempts]


# Host


@pytest.mark.parametrize("preserve", [True, False])
def test_backends_get_the_host_of_the_settings(street: Street, preserve: bool) -> None:
    balancer = street.balancer(answering(OK), host="inner.example:8080", preserve_host=preserve)
    balancer.ask(inbound(host="shop.example"))
    head = street.houses[0].received
    assert b"\r\nHost: inner.example:8080\r\n" in head
    assert b"\r\nX-Forwarded-Host: shop.example\r\n" in head


# The limit of bodies


def test_a_body_that_is_known_to_be_too_large_is_refused_before_any_backend_is_tried(street: Street) -> None:
    balancer = street.balancer(answering(OK), body_limit=4)
    assert balancer.ask(inbound("POST", body=[b"hello"]))[0] == 413
    assert balancer.tried == []
    assert balancer.events[0].cut == "the body is larger than 4 bytes"


def test_a_body_within_the_limit_passes(street: Street) -> None:
    balancer = street.balancer(answering(OK), body_limit=5)
    assert balancer.ask(inbound("POST", body=[b"hello"]))[0] == 200


# The time of one attempt


def timed(street: Street, *scripts: Script, per_attempt: float, **rules: Any) -> Balancer:
    session = street.stack.enter_context(
        forwarding_session(ConnectionPool(time.monotonic), between_bytes=PATIENCE, per_attempt=per_attempt)
    )
    houses = [street.stack.enter_context(ScriptedBackend(script)) for script in scripts]
    street.houses += houses
    backends = [
        Backend(f"b{number}", "127.0.0.1", house.port, f"http://127.0.0.1:{house.port}")
        for number, house in enumerate(houses)
    ]
    return Balancer(backends, cast("BackendAdapter", session.get_adapter("http://")).transport, **rules)


def test_a_backend_without_a_response_gives_way_to_the_next_one(street: Street) -> None:
    balancer = timed(street, silent, answering(OK), per_attempt=0.2)
    assert balancer.ask(inbound())[0] == 200
    assert attempts(balancer) == [("b0", True), ("b1", False)]
    fault = balancer.events[0].attempts[0].fault
    assert str(fault) == "no response within 0.2 s, the time of one attempt"


def test_a_request_that_may_not_be_repeated_gets_504(street: Street) -> None:
    balancer = timed(street, silent, answering(OK), per_attempt=0.2)
    body = inbound("POST", body=[b"x"])
    assert body.body is not None
    body.body.whole = b"x"
    assert balancer.ask(body)[0] == 504
    assert balancer.tried == ["b0"]


def test_a_body_of_a_response_may_take_longer_than_its_attempt(street: Street) -> None:
    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        eventually(lambda: time.monotonic() > began + 0.6, "the time of an attempt to be over")
        peer.send(b"cd")

    began = time.monotonic()
    balancer = timed(street, play, per_attempt=0.2)
    assert balancer.ask(inbound())[::2] == (200, b"abcd")


def test_an_upload_that_is_still_arriving_is_not_limited(street: Street) -> None:
    began = time.monotonic()

    def pieces() -> Iterator[bytes]:
        yield b"a"
        eventually(lambda: time.monotonic() > began + 0.6, "the time of an attempt to be over")
        yield b"b"

    balancer = timed(street, answering(OK), per_attempt=0.2)
    request = inbound("PUT", body=cast("Sequence[bytes]", [b"a", b"b"]))
    arriving = pieces()
    assert request.body is not None
    request.body._read = lambda: next(arriving, b"")
    assert balancer.ask(request)[0] == 200
    assert street.houses[0].received.endswith(b"ab")


# Retried statuses


def test_another_backend_is_tried_after_such_a_status(street: Street) -> None:
    balancer = street.balancer(answering(BUSY), answering(OK), retries=RETRIED)
    assert balancer.ask(inbound())[::2] == (200, b"ok")
    assert attempts(balancer) == [("b0", True), ("b1", False)]
    assert str(balancer.events[0].attempts[0].fault) == "responded 503, which is retried"


def test_by_default_no_status_is_retried(street: Street) -> None:
    balancer = street.balancer(answering(BUSY), answering(OK))
    assert balancer.ask(inbound())[0] == 503
    assert balancer.tried == ["b0"]


def test_a_status_that_is_not_named_is_passed_on(street: Street) -> None:
    balancer = street.balancer(answering(BUSY.replace(b"503", b"500")), answering(OK), retries=RETRIED)
    assert balancer.ask(inbound())[0] == 500


@pytest.mark.parametrize("last", [None, BUSY])
def test_a_response_is_passed_on_if_no_backend_does_better(street: Street, last: bytes | None) -> None:
    balancer = street.balancer(answering(BUSY), None if last is None else answering(last), retries=RETRIED)
    status, fields, body = balancer.ask(inbound())
    assert (status, body) == (503, b"busy")
    assert ("X-From", "first") in fields
    assert attempts(balancer) == [("b0", False), ("b1", True)], "the first one stays the client's"
    served = balancer.events[0].served
    assert served is not None
    assert served.backend == "b0"
    assert balancer.fleet.traffic("default").in_flight.local() == {}


def test_a_response_whose_body_comes_later_is_kept_too(street: Street) -> None:
    script = slowly(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nbu\r\n", b"2\r\nsy\r\n0\r\n\r\n")
    balancer = street.balancer(script, None, retries=RETRIED)
    assert balancer.ask(inbound())[::2] == (503, b"busy")


@pytest.mark.parametrize("later", [b"500 Oops", b"502 Bad", b"429 Slow down"])
def test_another_failure_replaces_no_response(street: Street, later: bytes) -> None:
    policy = RetryPolicy(2, statuses=frozenset({429, 503}))
    worse = BUSY.replace(b"503 Busy", later).replace(b"first", b"later")
    balancer = street.balancer(answering(BUSY), answering(worse), answering(worse), retries=policy)
    status, fields, body = balancer.ask(inbound())
    assert (status, body) == (503, b"busy")
    assert ("X-From", "first") in fields
    assert balancer.tried == ["b0", "b1", "b2"]
    assert balancer.fleet.traffic("default").in_flight.local() == {}


def test_the_last_backend_may_do_better(street: Street) -> None:
    balancer = street.balancer(answering(BUSY), answering(BUSY), answering(OK), retries=RETRIED)
    assert balancer.ask(inbound())[::2] == (200, b"ok")
    assert attempts(balancer) == [("b0", True), ("b1", True), ("b2", False)]


def test_a_large_response_is_passed_on_at_once(street: Street) -> None:
    size = MAX_ASIDE + 100_000
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % size
    balancer = street.balancer(slowly(head, b"x" * size), answering(OK), retries=RETRIED)
    status, _, body = balancer.ask(inbound())
    assert (status, len(body)) == (503, size)
    assert balancer.tried == ["b0"]


def test_a_response_that_breaks_off_is_a_failure(street: Street) -> None:
    balancer = street.balancer(
        answering_and_closing(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nbusy"), answering(OK), retries=RETRIED
    )
    assert balancer.ask(inbound())[0] == 502
    fault = balancer.events[0].attempts[0].fault
    assert getattr(fault, "stage", None) is Stage.BODY
    assert balancer.fleet.traffic("default").in_flight.local() == {}


@pytest.mark.parametrize(
    ("method", "whole", "expected"), [("POST", True, 503), ("PUT", True, 200), ("PUT", False, 503)]
)
def test_only_what_can_be_repeated_is_retried(street: Street, method: str, whole: bool, expected: int) -> None:
    balancer = street.balancer(answering(BUSY), answering(OK), retries=RETRIED)
    request = inbound(method, body=[b"hello"], framing=Framing(5))
    assert request.body is not None
    if whole:
        request.body.whole = b"hello"
    assert balancer.ask(request)[0] == expected


def test_the_number_of_retries_bounds_them(street: Street) -> None:
    balancer = street.balancer(*[answering(BUSY)] * 3, retries=RetryPolicy(1, statuses=frozenset({503})))
    assert balancer.ask(inbound())[0] == 503
    assert balancer.tried == ["b0", "b1"]


def test_the_budget_bounds_them(street: Street) -> None:
    policy = RetryPolicy(2, 0.0, 0, statuses=frozenset({503}))
    balancer = street.balancer(answering(BUSY), answering(OK), retries=policy)
    assert balancer.ask(inbound())[0] == 503


# Error pages for responses of backends


def failing(fields: bytes = b"", body: bytes = b"trace") -> Script:
    head = b'HTTP/1.1 500 Oops\r\nContent-Type: text/x\r\nETag: "1"\r\nSet-Cookie: a=1\r\n'
    return answering_always(head + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_a_page_replaces_the_body_of_a_backend(street: Street) -> None:
    balancer = street.balancer(failing(b"Content-Encoding: gzip\r\n"), pages={500: PAGE}, pages_for_all=True)
    reply = balancer.start(inbound())
    body = b"".join(reply)
    reply.close()
    assert (reply.status, body) == ("500 Oops", PAGE.body)
    assert reply.fields == [
        ("Set-Cookie", "a=1"),
        ("Via", "1.1 lbflask"),
        ("Content-Type", "text/html"),
        ("Content-Length", str(len(PAGE.body))),
    ]
    assert balancer.tried == ["b0"]
    assert balancer.fleet.traffic("default").in_flight.local() == {}


def test_the_connection_of_a_replaced_response_is_kept(street: Street) -> None:
    balancer = street.balancer(failing(), pages={500: PAGE}, pages_for_all=True)
    for _ in range(3):
        assert balancer.ask(inbound())[2] == PAGE.body
    assert len(street.houses[0].connections) == 1


def test_head_gets_the_page_without_its_body(street: Street) -> None:
    script = answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\n")
    balancer = street.balancer(script, pages={500: PAGE}, pages_for_all=True)
    status, fields, body = balancer.ask(inbound("HEAD"))
    assert (status, body) == (500, b"")
    assert dict(fields)["Content-Length"] == str(len(PAGE.body))


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        ({"pages": {500: PAGE}}, []),
        ({"pages": {502: PAGE}, "pages_for_all": True}, []),
        ({"pages": {500: PAGE}, "pages_for_all": True}, [("Accept", "application/json")]),
    ],
)
def test_all_other_responses_pass_unchanged(street: Street, rules: dict[str, Any], fields: Fields) -> None:
    balancer = street.balancer(failing(), **rules)
    assert balancer.ask(inbound(fields=fields))[2] == b"trace"


def test_a_response_that_breaks_off_gets_its_page_all_the_same(street: Street) -> None:
    script = answering_and_closing(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\noops")
    balancer = street.balancer(script, pages={500: PAGE}, pages_for_all=True)
    assert balancer.ask(inbound())[::2] == (500, PAGE.body)


# Cross-origin requests


CORS = CorsPolicy((SHOP,), ("GET", "PUT"), ("X-Token",), True, 60)


def test_a_preflight_request_is_answered_without_a_backend(street: Street) -> None:
    balancer = street.balancer(None, cors=CORS)
    asked = [("Origin", SHOP), ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-token")]
    status, fields, body = balancer.ask(inbound("OPTIONS", fields=asked))
    assert (status, body) == (204, b"")
    assert fields == [
        ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ("Access-Control-Allow-Origin", SHOP),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "X-Token"),
        ("Access-Control-Max-Age", "60"),
        ("Via", "1.1 lbflask"),
    ]
    assert balancer.tried == []


def test_another_options_request_reaches_the_backend(street: Street) -> None:
    balancer = street.balancer(answering(OK), cors=CORS)
    assert balancer.ask(inbound("OPTIONS", fields=[("Origin", SHOP)]))[0] == 200
    assert balancer.tried == ["b0"]


def test_responses_name_the_origin_that_may_read_them(street: Street) -> None:
    theirs = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok"
    balancer = street.balancer(answering_always(theirs), cors=CORS)
    allowed = balancer.ask(inbound(fields=[("Origin", SHOP)]))[1]
    assert [value for name, value in allowed if name == "Access-Control-Allow-Origin"] == [SHOP]
    others = dict(balancer.ask(inbound(fields=[("Origin", "https://evil.example")]))[1])
    assert "Access-Control-Allow-Origin" not in others
    assert others["Vary"] == "Origin"


def test_errors_of_the_balancer_can_be_read_too(street: Street) -> None:
    status, fields, _ = street.balancer(None, cors=CORS).ask(inbound(fields=[("Origin", SHOP)]))
    assert status == 502
    assert ("Access-Control-Allow-Origin", SHOP) in fields
