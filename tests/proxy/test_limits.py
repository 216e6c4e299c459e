"""Requests that wait for a backend with `max_connections`, and requests that are more than a rate limit lets pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, cast

import pytest

from devtools.scripted_backend import OK, Peer, answering_always
from devtools.wait import eventually
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.types import Fields
from lbflask.core.model import Backend
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.upstream.backend_transport import BackendTransport
from lbflask.upstream.requests_adapter import BackendAdapter
from tests.proxy.test_dispatcher import DROPPED, REFUSED, Balancer, Street, inbound

LONG = 30.0


class Bounded(Balancer):
    """A balancer of backends with a bound each (0 for none)."""

    queue = QueuePolicy(10, LONG)
    most: Sequence[int] = ()
    halves: Iterator[float] | None = None  #: a clock that advances by half a second at each look; without, none does

    def waiting(self) -> SlotQueue:
        self.pool = replace(
            self.pool,
            backends=tuple(
                replace(backend, max_connections=most)
                for backend, most in zip(self.pool.backends, self.most, strict=True)
            ),
        )
        self.slots = Slots(self.fleet).of("default")
        self.queue_of = SlotQueue(self.slots, self.fleet.traffic("default"), self.queue, self.look)
        return self.queue_of

    def look(self) -> float:
        return 0.0 if self.halves is None else next(self.halves)


@dataclass
class Waiting:
    """A request that adds up its waits."""

    request_id: str = "id"
    may_queue: bool = True
    deadline: float = LONG
    queued: float = 0.0

    def add_wait(self, seconds: float) -> None:
        self.queued += seconds


def bounded(street: Street, bounds: Sequence[int], queue: QueuePolicy | None = None) -> Bounded:
    """Over backends that answer always."""

    class Made(Bounded):
        most = bounds

    Made.queue = queue or Bounded.queue
    plain = street.balancer(*[answering_always() for _ in bounds])
    return Made(plain.pool.backends, cast("BackendAdapter", street.session.get_adapter("http://")).transport)


def busy(balancer: Bounded, *ids: str) -> None:
    """Requests that are at these backends, and stay."""
    for id_ in ids:
        backend = next(backend for backend in balancer.pool.backends if backend.id == id_)
        assert balancer.slots.take(backend)


def test_a_slot_is_held_until_the_response_has_ended(street: Street) -> None:
    balancer = bounded(street, [1])
    reply = balancer.start(inbound())
    assert balancer.slots.used == {"b0": 1}
    assert b"".join(reply) == b"ok"
    reply.close()
    assert balancer.slots.used == {}
    reply.close()
    assert balancer.slots.used == {}


def test_a_full_backend_is_passed_over_which_is_no_attempt(street: Street) -> None:
    balancer = bounded(street, [1, 0])
    busy(balancer, "b0")
    for _ in range(2):
        assert balancer.ask(inbound("POST"))[0] == 200
    assert [[attempt.backend for attempt in event.attempts] for event in balancer.events] == [["b1"], ["b1"]]


def test_a_request_waits_for_whichever_backend_is_free_first(street: Street) -> None:
    balancer = bounded(street, [1, 1])
    busy(balancer, "b0", "b1")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(balancer.ask, inbound())
        eventually(lambda: balancer.slots.waiting, "it waits")
        balancer.slots.release("b1")
        assert asked.result(LONG)[0] == 200
    assert balancer.tried == ["b1"]
    assert balancer.slots.used == {"b0": 1}


def test_the_time_of_a_wait_is_that_of_the_request(street: Street) -> None:
    balancer = bounded(street, [1])
    balancer.halves = count(0.0, 0.5)
    assert balancer.ask(inbound())[0] == 200
    busy(balancer, "b0")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(balancer.ask, inbound())
        eventually(lambda: balancer.slots.waiting, "it waits")
        balancer.slots.release("b0")
        assert asked.result(LONG)[0] == 200
    assert [event.queued for event in balancer.events] == [0.0, 0.5]


def test_a_wait_in_vain_has_its_time_too(street: Street) -> None:
    balancer = bounded(street, [1], QueuePolicy(5, 0.01))
    balancer.halves = count(0.0, 0.5)
    busy(balancer, "b0")
    assert balancer.ask(inbound())[0] == 503
    assert [event.queued for event in balancer.events] == [0.5]


def test_a_session_waits_for_its_own_backend(street: Street) -> None:
    balancer = bounded(street, [1, 0])
    busy(balancer, "b0")
    sticky_backend = balancer.pool.backends[0]
    turns = balancer.queue_of.turns(balancer.pool.backends, Waiting(), sticky_backend, None)
    with ThreadPoolExecutor(1) as threads, closing(turns):
        first = threads.submit(next, turns)
        eventually(lambda: balancer.slots.waiting, "it waits")
        balancer.slots.release("b0")
        assert first.result(LONG) is sticky_backend
    assert balancer.slots.used == {}


def test_a_copy_of_a_request_does_not_wait(street: Street) -> None:
    balancer = bounded(street, [1])
    busy(balancer, "b0")
    turns = balancer.queue_of.turns(balancer.pool.backends, Waiting(may_queue=False), None, None)
    assert list(turns) == []


@pytest.mark.parametrize(
    ("queue", "reason"),
    [
        (QueuePolicy(0, LONG), "all backends are full, and as many requests wait as may"),
        (QueuePolicy(5, 0.01), "all backends are full, and none became free within 0.01 s"),
    ],
)
def test_who_may_not_wait_or_waits_in_vain_is_told_to_come_again(
    street: Street, queue: QueuePolicy, reason: str
) -> None:
    balancer = bounded(street, [1], queue)
    busy(balancer, "b0")
    status, fields, body = balancer.ask(inbound())
    assert (status, body) == (503, b"503 Service Unavailable: no backend can take the request now\n")
    assert ("Retry-After", "2") in fields
    (event,) = balancer.events
    assert (event.cut, event.attempts) == (reason, [])
    assert balancer.slots.used == {"b0": 1}


def test_a_client_that_hangs_up_waits_no_more(street: Street) -> None:
    balancer = bounded(street, [1])
    busy(balancer, "b0")
    request = inbound()
    host = GoingAway()
    request.server_exchange = cast("Any", host)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(balancer.ask, request)
        eventually(lambda: host.callback, "its going would be noticed")
        cast("Callable[[], None]", host.callback)()
        assert asked.result(LONG)[0] == 499
    assert host.callback is None
    assert balancer.slots.waiting == 0


class GoingAway:
    """A client that goes while its request waits."""

    callback: Callable[[], None] | None = None
    expects_continue = False

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback


class Failing(BackendTransport):
    """A transport that fails, or worse."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    def send(self, *_: Any, **__: Any) -> Any:
        raise self.errors.pop(0)


STALE = Fault(Blame.BACKEND, Stage.WAIT, 502, "closed the connection before its response", reused=True)
BACKENDS = [Backend(f"b{number}", "127.0.0.1", 1, f"http://127.0.0.1:{number + 1}") for number in range(2)]


@pytest.mark.parametrize(
    ("errors", "status", "tried"),
    [
        ([REFUSED, REFUSED], 502, ["b0", "b1"]),
        ([STALE, DROPPED, REFUSED], 502, ["b0", "b0", "b1"]),
        ([Fault(Blame.CLIENT, Stage.SEND, 408, "the client stopped sending its body")], 408, ["b0"]),
        ([Fault(Blame.BACKEND, Stage.WAIT, 504, "silent for 60 s")], 504, ["b0"]),
    ],
)
def test_every_fault_lets_the_slot_go(errors: list[Fault], status: int, tried: list[str]) -> None:
    class Made(Bounded):
        most = (1, 1)

    balancer = Made(BACKENDS, Failing(*errors))
    assert balancer.ask(inbound())[0] == status
    assert balancer.tried == tried
    assert balancer.slots.used == {}


def test_whatever_else_ends_a_request_lets_its_slot_go() -> None:
    class Made(Bounded):
        most = (1, 1)

    balancer = Made(BACKENDS, Failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        balancer.ask(inbound())
    assert balancer.slots.used == {}


def test_a_response_that_breaks_off_lets_the_slot_go(street: Street) -> None:
    def breaking_off(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")

    class Made(Bounded):
        most = (1,)

    plain = street.balancer(breaking_off)
    balancer = Made(plain.pool.backends, cast("BackendAdapter", street.session.get_adapter("http://")).transport)
    reply = balancer.start(inbound())
    assert balancer.slots.used == {"b0": 1}
    with pytest.raises(BrokenPipeError):
        b"".join(reply)
    assert balancer.slots.used == {}


def test_another_attempt_needs_a_slot_too(street: Street) -> None:
    class Made(Bounded):
        most = (0, 1)

    plain = street.balancer(None, answering_always())
    balancer = Made(plain.pool.backends, cast("BackendAdapter", street.session.get_adapter("http://")).transport)
    busy(balancer, "b1")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(balancer.ask, inbound())
        eventually(lambda: balancer.slots.waiting, "it waits")
        balancer.slots.release("b1")
        assert asked.result(LONG)[0] == 200
    assert balancer.tried == ["b0", "b1"]
    assert balancer.slots.used == {}


def test_a_backend_never_sees_more_than_its_bound(street: Street) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def counting(peer: Peer) -> None:
        nonlocal inside, most
        while peer.read_request():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.002)  # its work
            with lock:
                inside -= 1
            peer.send(OK)

    class Made(Bounded):
        most = (2,)

    plain = street.balancer(counting)
    balancer = Made(plain.pool.backends, cast("BackendAdapter", street.session.get_adapter("http://")).transport)
    with ThreadPoolExecutor(8) as threads:
        statuses = [asked.result(LONG)[0] for asked in [threads.submit(balancer.ask, inbound()) for _ in range(40)]]
    assert statuses == [200] * 40
    assert most <= 2


class Limited(Balancer):
    """A balancer with rate limits."""

    rules: Sequence[tuple[RateLimit, RequestKey | None]] = ()

    def rate_limits(self) -> RateLimits:
        return RateLimits(self.rules, Buckets(self.fleet, lambda: 0.0).take)


def limited(street: Street, *limits: tuple[RateLimit, RequestKey | None]) -> Limited:
    class Made(Limited):
        rules = limits

    plain = street.balancer(answering_always())
    return Made(plain.pool.backends, cast("BackendAdapter", street.session.get_adapter("http://")).transport)


API = RateLimit("api", 1, 60, 2)


def told(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key == name]


def test_requests_beyond_a_limit_are_refused_and_all_are_told_of_it(street: Street) -> None:
    balancer = limited(street, (API, None))
    answers = [balancer.ask(inbound()) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert [told(fields, "RateLimit") for _, fields, _ in answers] == [
        ['"api";r=1;t=60'],
        ['"api";r=0;t=60'],
        ['"api";r=0;t=60'],
    ]
    assert all(told(fields, "RateLimit-Policy") == ['"api";q=1;w=60'] for _, fields, _ in answers)
    assert [told(fields, "Retry-After") for _, fields, _ in answers] == [[], [], ["60"]]
    assert answers[2][2] == b"429 Too Many Requests: more requests than the limit 'api' lets pass\n"
    refused = balancer.events[2]
    assert (refused.status, refused.attempts) == (429, [])
    assert refused.cut == "more requests than the limit 'api' lets pass"
    assert street.houses[0].received.count(b"GET ") == 2


@pytest.mark.parametrize(
    ("key", "fields", "target"),
    [
        ("header:X-Key", [("x-key", "{}")], "/"),
        ("cookie:session", [("Cookie", "a=1; session={}")], "/"),
        ("query:key", [], "/?a=1&key={}"),
    ],
)
def test_each_key_has_a_limit_of_its_own(street: Street, key: str, fields: Fields, target: str) -> None:
    balancer = limited(street, (RateLimit("api", 1, 60, 1), RequestKey.parse(key)))

    def ask(who: str) -> int:
        return balancer.ask(inbound(target=target.format(who), fields=[(n, v.format(who)) for n, v in fields]))[0]

    assert [ask("one"), ask("two"), ask("one")] == [200, 200, 429]


def test_those_who_show_no_key_are_counted_together(street: Street) -> None:
    balancer = limited(street, (RateLimit("api", 1, 60, 1), RequestKey.parse("header:X-Key")))
    assert [balancer.ask(inbound())[0], balancer.ask(inbound(fields=[("X-Key", "")]))[0]] == [200, 429]


def test_clients_are_told_apart_by_address_and_by_network(street: Street) -> None:
    balancer = limited(street, (RateLimit("api", 1, 60, 1), RequestKey.parse("client")))

    def ask(peer: str) -> int:
        request = inbound()
        request.peer = peer
        return balancer.ask(request)[0]

    assert [ask(peer) for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]
    assert [ask(peer) for peer in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [200, 429, 200]


def test_several_limits_hold_together(street: Street) -> None:
    balancer = limited(street, (API, None), (RateLimit("all", 1, 3600, 1), None))
    _, fields, _ = balancer.ask(inbound())
    assert told(fields, "RateLimit") == ['"api";r=1;t=60, "all";r=0;t=3600']
    status, fields, body = balancer.ask(inbound())
    assert (status, told(fields, "Retry-After")) == (429, ["3600"])
    assert b"'all'" in body


def test_a_limit_asks_before_anything_else_is_done(street: Street) -> None:
    balancer = limited(street, (RateLimit("api", 1, 60, 1), None))
    balancer.ask(inbound())
    assert balancer.ask(inbound("OPTIONS", fields=[("Max-Forwards", "0")]))[0] == 429
    assert balancer.fleet.traffic("default").in_flight.local() == {}
