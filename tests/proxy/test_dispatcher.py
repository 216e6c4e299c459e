"""The life of a request: which backends are tried, what the client is told, and what is noted."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
from devtools.wait import PATIENCE
from lbflask.build import Build, build
from lbflask.core.buffering import BufferBudget
from lbflask.core.faults import Blame, Fault, Resource, Shortage, Stage
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.rewrites import PrefixRewrite
from lbflask.core.http.target import Target
from lbflask.core.http.types import Fields
from lbflask.core.model import ActiveHealth, Backend, Health, Pool
from lbflask.core.retry import RetryPolicy
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.retry_budgets import RetryBudgets
from lbflask.proxy.admitted_request import AdmittedRequest
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientBody, ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import HealthWrite
from lbflask.telemetry.events import RequestEvent
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from lbflask.upstream.spool import BufferStore

REFUSED = Fault(Blame.BACKEND, Stage.CONNECT, 502, "connection refused")
DROPPED = Fault(Blame.BACKEND, Stage.WAIT, 502, "closed the connection before its response")
SILENT = Fault(Blame.BACKEND, Stage.WAIT, 504, "silent for 60 s")
STALE = Fault(Blame.BACKEND, Stage.WAIT, 502, "closed the connection before its response", reused=True)


def inbound(
    method: str = "GET",
    target: str = "/",
    fields: Fields | None = None,
    body: Sequence[bytes] | None = None,
    framing: Framing | None = None,
    host: str = "shop.example",
) -> ClientRequest:
    """A request from 192.0.2.1 that came through port 8080."""
    pieces = iter(body or ())
    length = sum(map(len, body or ()))
    framing = framing or (NO_BODY if body is None else Framing(length))
    client_body = None if body is None else ClientBody(lambda: next(pieces, b""), framing.length)
    return ClientRequest(
        method=method,
        raw_target=target,
        target=Target(target),
        protocol="HTTP/1.1",
        fields=[("Host", host), *(fields or [])],
        host=host,
        peer="192.0.2.1",
        scheme="http",
        framing=framing,
        body=client_body,
    )


class Balancer:
    """A dispatcher with all that it needs, over a store in memory."""

    def __init__(
        self,
        backends: Sequence[Backend],
        transport: BackendTransport,
        **rules: Any,
    ) -> None:
        self.pool = Pool("default", tuple(backends))
        self.store = MemoryStore(lambda: 1000.0)
        self.fleet = Fleet(self.store, ["default"])
        self.events: list[RequestEvent] = []
        ticks = itertools.count()
        forwarded = rules.pop("forwarded", False)
        actions = rules.pop("actions", None)
        buffers = rules.pop("buffers", BufferStore(BufferBudget(0, 0)))
        ruled = ProxySettings(**rules)
        house = SharedServices(
            in_flight=InFlight(),
            hops=HopCache(ruled.is_trusted, ruled.via, forwarded=forwarded),
            clock=lambda: float(next(ticks)),
            new_request_id=(f"id-{number}" for number in itertools.count()).__next__,
            listeners=(self.events.append,),
            buffers=buffers,
        )
        attempts = Attempts("default", self.fleet, transport, ruled, house, self.waiting())
        self.dispatcher = Dispatcher(
            PoolBalancer(self.pool, self.fleet), attempts, ruled, house, actions, self.rate_limits()
        )

    def waiting(self) -> SlotQueue | None:
        """What makes requests wait."""
        return None

    def rate_limits(self) -> RateLimits | None:
        """What refuses requests."""
        return None

    def start(self, request: ClientRequest) -> ClientResponse:
        return self.dispatcher.dispatch(request)

    def ask(self, request: ClientRequest) -> tuple[int, Fields, bytes]:
        """Status, fields and body, to the end."""
        reply = self.start(request)
        try:
            body = b"".join(reply)
        finally:
            reply.close()
        return int(reply.status[:3]), reply.fields, body

    @property
    def tried(self) -> list[str]:
        """The backends of the one request that has ended."""
        (event,) = self.events
        return [attempt.backend for attempt in event.attempts]


# With backends that play a script


class Street:
    """Real backends and a balancer before them."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.session = self.stack.enter_context(forwarding_session(ConnectionPool(time.monotonic), between_bytes=10.0))
        self.houses: list[ScriptedBackend] = []

    def balancer(self, *scripts: Script | None, **rules: Any) -> Balancer:
        """A backend for each script, in the order in which they are tried; None is one that refuses connections."""
        backends = []
        for number, script in enumerate(scripts):
            if script is None:
                bound = self.stack.enter_context(socket.socket())
                bound.bind(("127.0.0.1", 0))
                port: int = bound.getsockname()[1]
            else:
                house = self.stack.enter_context(ScriptedBackend(script))
                self.houses.append(house)
                port = house.port
            backends.append(Backend(f"b{number}", "127.0.0.1", port, f"http://127.0.0.1:{port}"))
        return Balancer(backends, cast("BackendAdapter", self.session.get_adapter("http://")).transport, **rules)


def test_a_request_is_forwarded_and_its_answer_passed_on(street: Street) -> None:
    response = (
        b"HTTP/1.1 201 Made\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\n"
        b"X-Hop: 1\r\nContent-Length: 2\r\n\r\nok"
    )
    balancer = street.balancer(answering(response))
    status, fields, body = balancer.ask(
        inbound("GET", "//a?b", [("x-a", "1"), ("Connection", "x-gone"), ("X-Gone", "2")])
    )
    assert (status, body) == (201, b"ok")
    assert fields == [("set-cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Length", "2"), ("Via", "1.1 lbflask")]
    assert street.houses[0].received.split(b"\r\n") == [
        b"GET //a?b HTTP/1.1",
        b"Host: shop.example",
        b"x-a: 1",
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: shop.example",
        b"X-Forwarded-Port: 80",
        b"X-Real-IP: 192.0.2.1",
        b"X-Request-ID: id-0",
        b"Via: 1.1 lbflask",
        b"",
        b"",
    ]


def test_a_status_without_a_reason_gets_the_usual_one(street: Street) -> None:
    balancer = street.balancer(answering(b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"))
    reply = balancer.start(inbound())
    reply.close()
    assert reply.status == "404 Not Found"


@pytest.mark.parametrize(
    ("preserve", "host", "expected"),
    [(True, "shop.example", b"shop.example"), (False, "shop.example", None), (True, "", None)],
)
def test_the_backend_gets_the_clients_host_or_its_own(
    street: Street, preserve: bool, host: str, expected: bytes | None
) -> None:
    """R20, RFC 9110 §7.2: exactly one Host, and the first field."""
    balancer = street.balancer(answering(OK), preserve_host=preserve)
    balancer.ask(inbound(host=host))
    (house,) = street.houses
    lines = house.received.split(b"\r\n")
    assert lines[1] == b"Host: " + (expected or f"127.0.0.1:{house.port}".encode())
    assert sum(line.lower().startswith(b"host:") for line in lines) == 1


def test_a_trace_that_ends_here_shows_what_was_received_only(street: Street) -> None:
    """RFC 9110 §9.3.8: what a check adds for backends, such as a token of the user, is not for scripts of a page."""
    request = inbound("TRACE", fields=[("Max-Forwards", "0"), ("X-A", "1")])
    granted = AdmittedRequest(request, [*request.fields, ("X-Token", "s3cret")], "alice")
    status, _, body = street.balancer(answering(OK)).ask(granted.with_fields([*granted.fields, ("X-B", "2")]))
    assert status == 200
    assert b"X-A: 1" in body
    assert b"s3cret" not in body


@pytest.mark.parametrize("asked", [False, True])
def test_forwarded_is_written_when_asked_for(street: Street, asked: bool) -> None:
    """RFC 7239."""
    balancer = street.balancer(answering(OK), forwarded=asked)
    balancer.ask(inbound())
    line = b"\r\nForwarded: for=192.0.2.1;host=shop.example;proto=http\r\n"
    assert (line in street.houses[0].received) is asked


@pytest.mark.parametrize(("protocol", "passed"), [("HTTP/1.1", True), ("HTTP/1.0", False)])
def test_only_a_client_of_http_1_1_is_said_to_take_trailers(street: Street, protocol: str, passed: bool) -> None:
    """RFC 9110 §10.1.4."""
    balancer = street.balancer(answering(OK))
    request = inbound(fields=[("TE", "gzip, trailers"), ("Connection", "TE")])
    request.protocol = protocol
    balancer.ask(request)
    assert (b"\r\nTE: trailers\r\nConnection: TE\r\n" in street.houses[0].received) is passed


def test_requests_go_to_the_backends_in_turn(street: Street) -> None:
    balancer = street.balancer(
        *[answering_always(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n) for n in range(3)]
    )
    assert [balancer.ask(inbound())[2] for _ in range(6)] == [b"0", b"1", b"2"] * 2


def test_a_backend_that_is_down_is_not_tried(street: Street) -> None:
    balancer = street.balancer(answering_always(), answering_always())
    lease = balancer.store.hold_lease("default", "checker", 10)
    assert lease is not None
    states = {"b0": ActiveHealth(Health.DOWN), "b1": ActiveHealth(Health.UP)}
    balancer.store.write_active("default", HealthWrite(lease.epoch, states, interval=10, announce=True))
    balancer.fleet.start()
    try:
        for _ in range(3):
            balancer.ask(inbound())
    finally:
        balancer.fleet.stop()
    assert [house.received.count(b"GET ") for house in street.houses] == [0, 3]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "BREW"])
def test_a_backend_that_refuses_connections_is_passed_by_with_any_method(street: Street, method: str) -> None:
    """R28: no byte was sent, so the body is untouched too."""
    balancer = street.balancer(None, answering(OK))
    assert balancer.ask(inbound(method, body=[b"hello"]))[::2] == (200, b"ok")
    assert balancer.tried == ["b0", "b1"]
    assert street.houses[0].received.endswith(b"\r\n\r\nhello")


def dropping(peer: Peer) -> None:
    peer.read_request()


def test_a_get_that_a_backend_drops_is_sent_to_the_next(street: Street) -> None:
    """RFC 9110 §9.2.2."""
    balancer = street.balancer(dropping, answering(OK))
    assert balancer.ask(inbound())[0] == 200
    assert balancer.tried == ["b0", "b1"]
    assert balancer.events[0].attempts[0].fault is not None
    assert balancer.events[0].attempts[1].fault is None


@pytest.mark.parametrize("body", [None, [b"hello"]])
def test_a_post_that_was_sent_is_never_sent_again(street: Street, body: list[bytes] | None) -> None:
    """RFC 9110 §9.2.2."""
    balancer = street.balancer(dropping, answering(OK))
    assert balancer.ask(inbound("POST", body=body))[0] == 502
    assert balancer.tried == ["b0"]
    assert street.houses[1].connections == []


def test_a_body_that_was_touched_is_never_sent_again(street: Street) -> None:
    """PUT is idempotent, but what was read of its body is gone."""
    balancer = street.balancer(dropping, answering(OK))
    assert balancer.ask(inbound("PUT", body=[b"he", b"llo"]))[0] == 502
    assert balancer.tried == ["b0"]


def test_a_connection_that_went_stale_is_replaced_on_the_same_backend(street: Street) -> None:
    """R15, RFC 9112 §9.3.1: one backend, no retry allowed, and still the request is answered."""
    balancer = street.balancer(answering_and_closing(OK), retries=RetryPolicy(attempts=0))
    balancer.ask(inbound())
    assert street.houses[0].connection(0).ended.wait(PATIENCE)
    assert balancer.ask(inbound())[0] == 200
    assert [attempt.backend for attempt in balancer.events[1].attempts] == ["b0", "b0"]
    assert len(street.houses[0].connections) == 2


def test_an_early_answer_to_an_upload_is_passed_on(street: Street) -> None:
    """R24."""

    def refusing(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    balancer = street.balancer(refusing)
    body = [b"x" * 65_536] * 500
    assert balancer.ask(inbound("POST", body=body))[0] == 413


def test_a_client_that_breaks_off_its_body_is_not_the_backends_failure(street: Street) -> None:
    """R6: no other attempt, no blame, and the backend sees that the request is incomplete."""

    def taking_all(peer: Peer) -> None:
        peer.read_to_end()

    balancer = street.balancer(taking_all, answering(OK))
    status, _, body = balancer.ask(inbound("POST", body=[b"he"], framing=Framing(5)))
    assert (status, body) == (400, b"400 Bad Request: the client hung up within its body\n")
    (event,) = balancer.events
    assert [attempt.backend for attempt in event.attempts] == ["b0"]
    assert event.cut == "the client hung up within its body"
    assert street.houses[0].connection(0).ended.wait(PATIENCE)
    assert street.houses[0].received.endswith(b"\r\n\r\nhe")


def test_a_chunked_upload_that_breaks_off_is_not_ended_for_the_backend(street: Street) -> None:
    """R6, RFC 9112 §8: the last chunk would make half a body a whole one."""

    def taking_all(peer: Peer) -> None:
        peer.read_to_end()

    def hang_up() -> bytes:
        raise ConnectionResetError(104, "reset")

    balancer = street.balancer(taking_all)
    request = inbound("POST", body=[], framing=CHUNKED)
    pieces = iter([b"he"])
    request.body = ClientBody(lambda: next(pieces, b"") or hang_up(), None)
    assert balancer.ask(request)[0] == 400
    assert street.houses[0].connection(0).ended.wait(PATIENCE)
    assert street.houses[0].received.endswith(b"\r\n\r\n2\r\nhe\r\n")


def test_a_request_is_told_once_when_its_response_has_been_written(street: Street) -> None:
    balancer = street.balancer(None, answering(OK))
    reply = balancer.start(inbound("GET", "/a?b", [("X-Request-ID", "mine")]))
    assert balancer.events == []
    assert list(reply) == [b"ok"]
    reply.close()
    reply.close()
    (event,) = balancer.events
    assert (event.client, event.method, event.target, event.protocol) == ("192.0.2.1", "GET", "/a?b", "HTTP/1.1")
    assert (event.pool, event.status, event.sent, event.request_id, event.cut) == ("default", 200, 2, "mine", "")
    assert [(attempt.backend, type(attempt.fault)) for attempt in event.attempts] == [("b0", Fault), ("b1", type(None))]


def test_a_client_that_hangs_up_is_told_once_too(street: Street) -> None:
    """R27: and the backend is told by the end of its connection."""

    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * 1000)

    balancer = street.balancer(endless)
    reply = balancer.start(inbound())
    assert next(piece for piece in reply if piece)
    reply.close()
    (event,) = balancer.events
    assert (event.status, event.cut) == (200, "the client hung up")
    assert event.answer == ("2xx", "client_left", "default")
    assert event.attempts[0].fault is None
    assert street.houses[0].connection(0).ended.wait(PATIENCE)


def test_a_backend_that_breaks_off_is_told_once_with_its_fault(street: Street) -> None:
    """G12, R13."""
    balancer = street.balancer(
        answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell"), answering(OK)
    )
    with pytest.raises(BrokenPipeError):
        balancer.ask(inbound())
    (event,) = balancer.events
    assert (event.status, event.sent) == (200, 4)
    assert "the backend closed the connection" in event.cut
    assert event.answer == ("2xx", "backend_failed", "default")
    (attempt,) = event.attempts
    assert isinstance(attempt.fault, Fault)
    assert attempt.fault.stage is Stage.BODY


def test_a_backend_that_cannot_be_reached_is_reported_as_a_suspect(street: Street) -> None:
    balancer = street.balancer(None, answering(OK))
    suspects = balancer.store.watch_suspects(["default"])
    balancer.fleet.start()
    try:
        balancer.ask(inbound())
        assert list(suspects.wait(PATIENCE)) == ["default/b0"]
    finally:
        balancer.fleet.stop()
        suspects.close()


def test_an_upload_reaches_the_backend_before_it_is_complete(street: Street) -> None:
    """G17, R23."""
    arrived = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_until(b"first")
        arrived.set()
        peer.read_until(b"0\r\n\r\n")
        peer.send(OK)

    def read_piece() -> bytes:
        if not sent:
            sent.append(b"first")
            return b"first"
        assert arrived.wait(PATIENCE)
        return b""

    sent: list[bytes] = []
    balancer = street.balancer(play)
    request = inbound("POST", body=[], framing=CHUNKED)
    request.body = ClientBody(read_piece, None)
    assert balancer.ask(request)[0] == 200


# With a transport that plays a script


class ScriptedTransport(BackendTransport):
    """Answers or fails as it was told, one outcome an attempt."""

    def __init__(self, *outcomes: Fault | bytes) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[tuple[Fields, bool]] = []  # fields, and whether on a fresh connection
        self.timeouts: list[object] = []
        self.before: Callable[[], None] = lambda: None

    def send(self, request: BackendRequest, timeouts: object) -> BackendResponse:
        self.requests.append((request.fields, request.fresh))  # the request is addressed anew for each attempt
        self.timeouts.append(timeouts)
        outcome = self.outcomes.pop(0)
        self.before()
        if isinstance(outcome, Fault):
            raise outcome
        return FakeResponse(outcome)


class FakeResponse(BackendResponse):
    """A whole response that is here already."""

    def __init__(self, body: bytes) -> None:
        self.answer = self
        self.status, self.reason, self.body = 200, "OK", body
        self.fields: Fields = [("Content-Length", str(len(body)))]
        self.framing = Framing(len(body))
        self.lines: FieldLines | None = None
        self.complete = True

    def whole(self) -> bytes:
        return self.body

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


FOUR = [Backend(f"b{number}", f"10.0.0.{number}", 80, f"http://10.0.0.{number}:80") for number in range(4)]


def scripted(*outcomes: Fault | bytes, **rules: Any) -> tuple[Balancer, ScriptedTransport]:
    transport = ScriptedTransport(*outcomes)
    return Balancer(FOUR, transport, **rules), transport


@pytest.mark.parametrize("attempts", [0, 1, 2, 3])
def test_no_more_than_so_many_extra_attempts_are_made(attempts: int) -> None:
    balancer, _ = scripted(*[REFUSED] * 4, retries=RetryPolicy(attempts))
    assert balancer.ask(inbound())[0] == 502
    assert balancer.tried == ["b0", "b1", "b2", "b3"][: 1 + attempts]


def test_no_backend_is_tried_twice() -> None:
    balancer, _ = scripted(*[REFUSED] * 4, retries=RetryPolicy(10))
    assert balancer.ask(inbound())[0] == 502
    assert balancer.tried == ["b0", "b1", "b2", "b3"]


def test_a_stale_connection_does_not_count_as_an_attempt() -> None:
    """R15."""
    balancer, transport = scripted(STALE, REFUSED, STALE, b"ok", retries=RetryPolicy(1))
    assert balancer.ask(inbound())[0] == 200
    assert balancer.tried == ["b0", "b0", "b1", "b1"]
    assert [fresh for _, fresh in transport.requests] == [False, True, False, True]


def test_a_stale_connection_is_no_leave_to_send_a_post_again() -> None:
    balancer, _ = scripted(STALE, b"ok")
    assert balancer.ask(inbound("POST"))[0] == 502
    assert balancer.tried == ["b0"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [(REFUSED, 502), (SILENT, 504), (Fault(Blame.BACKEND, Stage.CONNECT, 504, "no connection within 3 s"), 504)],
)
def test_the_client_is_told_of_the_last_fault(fault: Fault, status: int) -> None:
    balancer, _ = scripted(*[fault] * 3)
    assert balancer.ask(inbound())[0] == status
    assert balancer.events[0].status == status
    assert balancer.events[0].attempts[-1].fault is fault


def test_a_time_out_while_waiting_is_not_tried_again() -> None:
    """The client's patience is spent."""
    balancer, _ = scripted(SILENT, b"ok")
    assert balancer.ask(inbound())[0] == 504
    assert balancer.tried == ["b0"]


def test_the_retries_of_all_requests_together_stay_within_the_budget() -> None:
    """While the budget is one extra attempt, a second request gets none."""
    policy = RetryPolicy(attempts=2, budget_percent=0, budget_floor=1)
    balancer, transport = scripted(DROPPED, b"first", retries=policy)
    assert balancer.ask(inbound())[2] == b"first"
    transport.outcomes = [DROPPED, b"second"]
    assert balancer.ask(inbound())[0] == 502
    assert len(balancer.events[1].attempts) == 1


def test_requests_earn_a_budget_for_retries() -> None:
    policy = RetryPolicy(attempts=2, budget_percent=40, budget_floor=0)
    balancer, transport = scripted(DROPPED, retries=policy)
    assert balancer.ask(inbound())[0] == 502, "one request earns less than an attempt"
    transport.outcomes = [b"ok", DROPPED, b"retried"]
    balancer.ask(inbound())
    assert balancer.ask(inbound())[2] == b"retried"
    transport.outcomes = [DROPPED, b"retried"]
    assert balancer.ask(inbound())[0] == 502, "it is spent"


def test_a_budget_of_nothing_allows_no_retry() -> None:
    balancer, _ = scripted(DROPPED, b"ok", retries=RetryPolicy(attempts=2, budget_percent=0, budget_floor=0))
    assert balancer.ask(inbound())[0] == 502


def test_a_failed_connection_costs_no_budget() -> None:
    """When a backend dies, many are on their way to it at once, and the others can take them."""
    balancer, _ = scripted(REFUSED, b"ok", retries=RetryPolicy(attempts=2, budget_percent=0, budget_floor=0))
    assert balancer.ask(inbound())[2] == b"ok"


def test_every_attempt_gets_the_time_outs_of_the_rules() -> None:
    balancer, transport = scripted(REFUSED, b"ok", connect=1.5, first_byte=7.0)
    balancer.ask(inbound())
    assert transport.timeouts == [(1.5, 7.0)] * 2


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (b"ok", ("2xx", "backend", "")),
        (REFUSED, ("502", "connection_failed", "default")),
        (DROPPED, ("502", "backend_failed", "default")),
        (SILENT, ("504", "timeout", "default")),
        (Fault(Blame.CLIENT, Stage.WAIT, 499, "the client hung up"), ("499", "client_left", "default")),
        (Fault(Blame.CLIENT, Stage.SEND, 408, "slow"), ("408", "client_slow", "default")),
        (Fault(Blame.CLIENT, Stage.SEND, 413, "large"), ("413", "bad_request", "default")),
        (Shortage(Stage.CONNECT, Resource.PORTS, "no free port"), ("503", "shortage", "default")),
    ],
)
def test_an_answer_has_its_cause(outcome: Fault | bytes, answer: tuple[str, str, str]) -> None:
    balancer, _ = scripted(*[outcome] * 3)
    balancer.ask(inbound("POST"))
    (event,) = balancer.events
    assert event.answer == answer
    assert ("Content-Type" in dict(event.fields or ())) == isinstance(outcome, Fault)


def test_a_request_that_an_error_of_the_balancer_ends_is_counted() -> None:
    balancer, _ = scripted()
    with pytest.raises(IndexError):  # the script is over
        balancer.ask(inbound())
    assert [event.answer for event in balancer.events] == [("500", "internal", "default")]


def test_a_request_that_ends_with_its_worker_is_counted() -> None:
    balancer, transport = scripted()

    def end(*_: object) -> None:
        raise SystemExit

    transport.send = end  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        balancer.ask(inbound())
    assert [event.answer for event in balancer.events] == [("503", "stopped", "default")]


def test_an_error_of_our_own_is_not_swallowed_and_leaves_no_request_behind() -> None:
    balancer, transport = scripted(DROPPED)
    with pytest.raises(IndexError):  # the script is over
        balancer.ask(inbound())
    transport.outcomes = [DROPPED, b"ok"]
    assert balancer.ask(inbound())[0] == 200
    assert not balancer.fleet.traffic("default").in_flight.local()


def test_a_backend_whose_client_has_gone_is_no_suspect() -> None:
    """R27: the request ends, no other backend is tried, and nobody is blamed; not even while connecting."""
    gone = [Fault(Blame.CLIENT, stage, 499, "the client hung up") for stage in (Stage.CONNECT, Stage.SEND, Stage.WAIT)]
    balancer, _ = scripted(*gone, REFUSED, b"ok")
    suspects = balancer.store.watch_suspects(["default"])
    balancer.fleet.start()
    try:
        for fault in gone:
            assert balancer.ask(inbound())[0] == 499
            assert [attempt.fault for attempt in balancer.events[-1].attempts] == [fault]
        assert balancer.ask(inbound())[0] == 200
        assert list(suspects.wait(PATIENCE)) == ["default/b3"]  # the only one that refused
    finally:
        balancer.fleet.stop()
        suspects.close()


# All down


def all_down() -> Balancer:
    return Balancer([], ScriptedTransport(), retry_after=4)


def test_no_backend_at_all_is_503_with_a_time_to_come_back() -> None:
    """RFC 9110 §15.6.4 and §10.2.3."""
    balancer = all_down()
    status, fields, body = balancer.ask(inbound())
    assert status == 503
    assert ("Retry-After", "4") in fields
    assert ("Content-Type", "text/plain; charset=utf-8") in fields
    assert body == b"503 Service Unavailable: no backend can take the request now\n"
    (event,) = balancer.events
    assert (event.status, list(event.attempts), event.cut) == (503, [], "no backend can take the request now")
    assert event.answer == ("503", "no_backend", "default")


def test_who_accepts_json_is_refused_in_json() -> None:
    _, fields, body = all_down().ask(inbound(fields=[("accept", "application/json")]))
    assert ("Content-Type", "application/json") in fields
    assert json.loads(body)["status"] == 503


def test_a_502_does_not_say_when_to_come_back() -> None:
    balancer, _ = scripted(*[REFUSED] * 3)
    assert "Retry-After" not in dict(balancer.ask(inbound())[1])


def test_a_request_that_could_not_be_read_is_told_like_any_other() -> None:
    balancer = all_down()
    fault = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing")
    reply = balancer.dispatcher.refuse(fault, "GET", "/a", "HTTP/1.1", "192.0.2.1", "application/json")
    assert reply.status == "400 Bad Request"
    assert json.loads(b"".join(reply))["detail"] == "the Host is missing"
    assert balancer.events == []
    reply.close()
    (event,) = balancer.events
    assert (event.client, event.target, event.status, event.cut) == ("192.0.2.1", "/a", 400, "the Host is missing")
    assert event.answer == ("400", "bad_request", "default")


def test_a_bodys_end_is_awaited_before_the_event() -> None:
    """An event tells of all bytes, so it can't come before them."""
    balancer, _ = scripted(b"hello")
    reply = balancer.start(inbound())
    next(reply)
    assert balancer.events == []
    reply.close()
    assert balancer.events[0].sent == 5


# What the fleet is told


class Ears:
    """Stands where attempts are noted."""

    def __init__(self, probed: str | None = None) -> None:
        self.heard: list[tuple[str, ...]] = []
        self.probed = probed
        self.retry_budgets = RetryBudgets(lambda: 0, time.monotonic)
        self.safe: list[bool] = []

    def has_members(self, members: tuple[str, ...]) -> None:
        pass

    def sample(self, attempt: object) -> None:
        """Of which the fleet hears only now and then."""

    def began(self, backend: str) -> None:
        self.heard.append(("began", backend))

    def answered(self, backend: str, status: int) -> None:
        self.heard.append(("answered", backend, str(status)))

    def failed(self, backend: str, fault: Fault) -> None:
        self.heard.append(("failed", backend, str(fault.stage)))

    def ended(self, backend: str) -> None:
        self.heard.append(("ended", backend))

    def broke_off(self, backend: str, fault: Fault) -> None:
        self.heard.append(("broke off", backend, str(fault.stage)))

    def abandoned(self, backend: str) -> None:
        self.heard.append(("abandoned", backend))

    def probe(self, safe: bool) -> str | None:
        self.safe.append(safe)
        probed, self.probed = self.probed, None
        return probed


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    if build() is Build.COMPILED:
        pytest.skip("the methods of compiled classes cannot be replaced")
    ears = Ears()
    monkeypatch.setattr(Fleet, "traffic", lambda fleet, pool: ears)
    return ears


def test_every_attempt_is_noted_from_its_beginning_to_its_end(street: Street, ears: Ears) -> None:
    balancer = street.balancer(None, answering(OK))
    reply = balancer.start(inbound())
    assert ears.heard == [("began", "b0"), ("failed", "b0", "connect"), ("began", "b1"), ("answered", "b1", "200")]
    assert b"".join(reply) == b"ok"
    reply.close()
    assert ears.heard[4:] == [("ended", "b1")]


def test_a_response_that_breaks_off_is_noted_as_that(street: Street, ears: Ears) -> None:
    balancer = street.balancer(answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"))
    reply = balancer.start(inbound())
    with pytest.raises(Exception, match=r"."):
        list(reply)
    reply.close()
    assert ears.heard == [("began", "b0"), ("answered", "b0", "200"), ("broke off", "b0", "body")]


def test_what_ends_an_attempt_from_without_ends_it_for_the_fleet_too(ears: Ears) -> None:
    class Stopped(BaseException):
        pass

    class Stopping(BackendTransport):
        def __init__(self) -> None:
            pass

        def send(self, request: object, timeouts: object) -> BackendResponse:
            raise Stopped

    balancer = Balancer([Backend("b0", "h", 1, "http://h:1")], Stopping())
    with pytest.raises(Stopped):
        balancer.start(inbound())
    assert ears.heard == [("began", "b0"), ("abandoned", "b0")]


@pytest.mark.parametrize(
    ("method", "body", "safe"),
    [("GET", None, True), ("PUT", None, True), ("POST", None, False), ("GET", [b"x"], False)],
)
def test_a_probe_goes_first_and_what_fails_there_goes_on_to_another(
    street: Street, ears: Ears, method: str, body: list[bytes] | None, safe: bool
) -> None:
    balancer = street.balancer(answering_always(), None)
    ears.probed = "b1"
    assert balancer.ask(inbound(method, body=body))[0] == 200
    assert balancer.tried == ["b1", "b0"]
    assert ears.safe == [safe]


# Actions of routes


def test_a_route_changes_what_backends_and_clients_get_and_names_the_route(street: Street) -> None:
    edits = Edits(set_=[("X-A", "new")], remove=["Via"])
    actions = RouteActions(name="api", rewrite=PrefixRewrite(1, "/v2"))
    script = answering(b"HTTP/1.1 200 OK\r\nx-a: 1\r\nContent-Length: 0\r\n\r\n")
    balancer = street.balancer(script, actions=actions, request_edits=edits, response_edits=edits)
    status, fields, _ = balancer.ask(inbound("GET", "/api/x?y", [("X-A", "1"), ("x-a", "2")]))
    assert (status, fields) == (200, [("X-A", "new"), ("Content-Length", "0")])
    head = street.houses[0].received.split(b"\r\n")
    assert (head[0], head[2]) == (b"GET /v2/x?y HTTP/1.1", b"X-A: new")
    assert [line for line in head if line.lower().startswith((b"x-a:", b"via:"))] == [b"X-A: new"]
    (event,) = balancer.events
    assert (event.route, event.target, event.pool) == ("api", "/api/x?y", "default")


def test_a_route_changes_each_attempt_alike(street: Street) -> None:
    actions, edits = RouteActions(name="api", rewrite=PrefixRewrite(1, "")), Edits(add=[("X-A", "1")])
    balancer = street.balancer(answering_and_closing(b""), answering(OK), actions=actions, request_edits=edits)
    assert balancer.ask(inbound("GET", "/api/x"))[0] == 200
    for house in street.houses:
        assert house.received.startswith(b"GET /x HTTP/1.1\r\n")
        assert house.received.count(b"X-A: 1") == 1


def test_a_refusal_has_the_fields_of_its_route(street: Street) -> None:
    edits = Edits(set_=[("Retry-After", "9"), ("X-A", "1")])
    status, fields, _ = street.balancer(None, actions=RouteActions(name="api"), response_edits=edits).ask(inbound())
    assert status == 502
    assert ("X-A", "1") in fields
