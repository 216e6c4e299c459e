"""Requests that wait here for their bodies, and responses that wait here for their clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import Any, cast

import pytest

from devtools.scripted_backend import OK, Peer, answering_always
from devtools.wait import PATIENCE, eventually
from lbflask.core.buffering import BodyRates, BufferBudget, BufferingPolicy, BufferLimits
from lbflask.core.faults import Blame
from lbflask.core.http.framing import CHUNKED, Framing
from lbflask.core.http.types import Fields
from lbflask.proxy.client_request import ClientBody, ClientRequest, ServerExchange
from lbflask.proxy.client_response import ClientResponse
from lbflask.upstream.spool import BufferStore
from tests.proxy.test_dispatcher import Balancer, Street, inbound

ROOMY = 1 << 30
SMALL = BufferingPolicy(requests=BufferLimits(4, 8), responses=BufferLimits(1 << 16, 1 << 22))
LARGE = 1 << 24


class WatchedExchange:
    """A request on a connection of our worker, as far as buffers use it."""

    def __init__(self, *pieces: bytes | Exception, trailers: Fields | None = None, expects: bool = False) -> None:
        self.pieces: Queue[bytes | Exception] = Queue()
        for piece in pieces:
            self.pieces.put(piece)
        self.trailers = trailers or []
        self.expects_continue = expects
        self.blocked: Callable[[], None] | None = None
        self.rates: tuple[float, ...] = ()
        self.limits: list[float] = []

    def read_body(self) -> bytes:
        piece = self.pieces.get(timeout=PATIENCE)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def on_blocked(self, callback: Callable[[], None]) -> None:
        self.blocked = callback

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        pass

    def limit_rates(self, *rates: float) -> None:
        self.rates = rates

    def limit_upload(self, until: float) -> None:
        self.limits.append(until)


def upload(exchange: WatchedExchange, framing: Framing, method: str = "POST") -> ClientRequest:
    """A request whose body comes from the exchange."""
    request = inbound(method)
    request.server_exchange = cast("ServerExchange", exchange)
    request.framing = framing
    request.body = ClientBody(exchange.read_body, framing.length, request.server_exchange)
    return request


@pytest.fixture
def store() -> Iterator[BufferStore]:
    """The room for all buffers, which is empty after the test."""
    store = BufferStore(BufferBudget(ROOMY, ROOMY))
    yield store
    eventually(lambda: (store.memory, store.spool) == (0, 0), "all room is given back")


def before(
    street: Street, store: BufferStore, *scripts: Any, policy: BufferingPolicy = SMALL, **rules: Any
) -> Balancer:
    return street.balancer(*scripts, buffering=policy, buffers=store, **rules)


# Requests


def test_no_backend_is_chosen_before_the_body_is_here(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always())
    exchange = WatchedExchange(b"he")
    asking = threading.Thread(target=balancer.ask, args=(upload(exchange, Framing(5)),))
    asking.start()
    eventually(lambda: store.memory == 2, "the first piece is here")
    assert street.houses[0].connections == []
    exchange.pieces.put(b"llo")
    asking.join(PATIENCE)
    (connection,) = street.houses[0].connections
    assert connection.received.endswith(b"Content-Length: 5\r\n\r\nhello")
    assert len(exchange.limits) == 2
    assert balancer.events[0].received == 5


@pytest.mark.parametrize("pieces", [(b"abc",), (b"abcd", b"efghijkl")], ids=["in memory", "in a file"])
def test_a_chunked_body_that_is_stored_is_sent_with_its_length(
    street: Street, store: BufferStore, pieces: Sequence[bytes]
) -> None:
    balancer = before(street, store, answering_always())
    assert balancer.ask(upload(WatchedExchange(*pieces, b""), CHUNKED))[0] == 200
    received, size = street.houses[0].received, sum(map(len, pieces))
    assert received.endswith(b"\r\nContent-Length: %d\r\n\r\n" % size + b"".join(pieces))
    assert b"Transfer-Encoding" not in received


def test_trailers_keep_a_stored_body_in_chunks(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always())
    exchange = WatchedExchange(b"abc", b"", trailers=[("X-Sum", "1")])
    assert balancer.ask(upload(exchange, CHUNKED))[0] == 200
    assert street.houses[0].received.endswith(
        b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    )


def test_what_exceeds_the_buffer_streams_from_there_on(street: Street, store: BufferStore) -> None:
    """A backend sees the request while the client still sends, and gets every byte once."""
    balancer = before(street, store, answering_always())
    exchange = WatchedExchange(b"abcdefgh", b"ijklmnop")
    asking = threading.Thread(target=balancer.ask, args=(upload(exchange, CHUNKED),))
    asking.start()
    eventually(lambda: street.houses[0].connections, "the backend has a connection")
    exchange.pieces.put(b"q")
    exchange.pieces.put(b"")
    asking.join(PATIENCE)
    body = street.houses[0].received.partition(b"\r\n\r\n")[2]
    chunks = body.split(b"\r\n")
    assert b"".join(chunks[1:-3:2]) == b"abcdefghijklmnopq"
    assert body.endswith(b"\r\n0\r\n\r\n")


def test_a_length_that_does_not_fit_streams_from_its_first_byte(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always())
    exchange = WatchedExchange()
    asking = threading.Thread(target=balancer.ask, args=(upload(exchange, Framing(13)),))
    asking.start()
    eventually(lambda: street.houses[0].connections, "the backend has a connection")
    exchange.pieces.put(b"0123456789abc")
    asking.join(PATIENCE)
    assert street.houses[0].received.endswith(b"0123456789abc")


@pytest.mark.parametrize("pieces", [(b"abc",), (b"abcd", b"efghijkl")], ids=["in memory", "in a file"])
def test_a_stored_body_is_sent_again_to_the_next_backend(
    street: Street, store: BufferStore, pieces: Sequence[bytes]
) -> None:
    def drop(peer: Peer) -> None:
        peer.read_request()

    balancer = before(street, store, drop, answering_always())
    content = b"".join(pieces)
    status, _, _ = balancer.ask(upload(WatchedExchange(*pieces, b""), Framing(len(content)), "PUT"))
    assert (status, balancer.tried) == (200, ["b0", "b1"])
    assert [house.received.partition(b"\r\n\r\n")[2] for house in street.houses] == [content, content]


def test_a_body_that_was_sent_beyond_its_buffer_is_not_sent_again(street: Street, store: BufferStore) -> None:
    def drop(peer: Peer) -> None:
        peer.read_request()

    balancer = before(street, store, drop, answering_always())
    exchange = WatchedExchange(b"abcdefgh", b"ijklmnop", b"")
    assert balancer.ask(upload(exchange, CHUNKED, "PUT"))[0] == 502
    assert balancer.tried == ["b0"]


def test_a_refused_connection_costs_nothing_of_a_body_that_exceeds_its_buffer(
    street: Street, store: BufferStore
) -> None:
    balancer = before(street, store, None, answering_always())
    exchange = WatchedExchange(b"abcdefgh", b"ijklmnop", b"")
    assert balancer.ask(upload(exchange, CHUNKED))[0] == 200
    assert balancer.tried == ["b0", "b1"]
    assert street.houses[0].received.endswith(b"\r\nabcd\r\n4\r\nefgh\r\n8\r\nijklmnop\r\n0\r\n\r\n")


@pytest.mark.parametrize("expects", [True, False])
def test_the_expectation_of_a_stored_body_is_met_here(street: Street, store: BufferStore, expects: bool) -> None:
    balancer = before(street, store, answering_always())
    request = upload(WatchedExchange(b"hello", expects=expects), Framing(5))
    assert balancer.ask(request)[0] == 200
    assert b"Expect" not in street.houses[0].received


@pytest.mark.parametrize(
    ("pieces", "framing", "status"),
    [
        ([b"he", TimeoutError("the client sent its body too slowly")], Framing(5), 408),
        ([b"he", b""], Framing(5), 400),
        ([b"hello, world"], CHUNKED, 413),
    ],
    ids=["slow", "gone", "large"],
)
def test_a_body_that_does_not_arrive_costs_no_backend(
    street: Street, store: BufferStore, pieces: list[bytes | Exception], framing: Framing, status: int
) -> None:
    balancer = before(street, store, answering_always(), body_limit=6)
    assert balancer.ask(upload(WatchedExchange(*pieces), framing))[0] == status
    assert (street.houses[0].connections, balancer.tried) == ([], [])
    assert balancer.events[0].cut


def test_a_request_that_is_late_ends_while_its_body_arrives(street: Street, store: BufferStore) -> None:
    """The clock of these tests goes on by a second for each look at it."""
    balancer = before(street, store, answering_always(), request=2.0)
    exchange = WatchedExchange(b"a", b"b", b"c", b"d", b"e")
    assert balancer.ask(upload(exchange, Framing(5)))[0] == 408
    assert balancer.events[0].cut == "the request took too long to arrive"
    assert exchange.limits == [2.0]


def test_a_stored_body_that_cannot_be_read_is_nobodys_fault_but_ours(
    street: Street, store: BufferStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    balancer = before(street, store, answering_always())
    monkeypatch.setattr("os.pread", fail)
    assert balancer.ask(upload(WatchedExchange(b"hello, wor"), Framing(10)))[0] == 503
    fault = balancer.events[0].attempts[-1].fault
    assert fault is not None
    assert fault.blame is Blame.SELF


def test_a_server_without_an_exchange_has_its_bodies_stored_too(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always())
    assert balancer.ask(inbound("POST", body=[b"hello", b" world"]))[0] == 200
    assert street.houses[0].received.endswith(b"Content-Length: 11\r\n\r\nhello world")


def test_rates_are_the_business_of_the_server(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always(), policy=BufferingPolicy(rates=BodyRates(100, 200, 3)))
    exchange = WatchedExchange(b"hello")
    assert balancer.ask(upload(exchange, Framing(5)))[0] == 200
    assert exchange.rates == (100, 200, 3)
    assert balancer.ask(inbound("POST", body=[b"hello"]))[0] == 200


# Responses


class SendsMuch:
    """A backend that sends a long response, in two parts, and then waits for the next request."""

    def __init__(self, fields: bytes = b"") -> None:
        self.sent = threading.Event()
        self._fields = fields

    def __call__(self, peer: Peer) -> None:
        while peer.read_head():
            peer.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (self._fields, LARGE))
            peer.send(b"x" * LARGE)
            self.sent.set()


def started(balancer: Balancer) -> tuple[ClientResponse, WatchedExchange]:
    exchange = WatchedExchange()
    request = inbound()
    request.server_exchange = cast("ServerExchange", exchange)
    return balancer.start(request), exchange


ALL_OF_IT = BufferingPolicy(responses=BufferLimits(1 << 16, LARGE))


def test_a_slow_client_holds_no_backend(street: Street, store: BufferStore) -> None:
    backend = SendsMuch()
    balancer = before(street, store, backend, policy=ALL_OF_IT)
    reply, exchange = started(balancer)
    first = next(reply)
    assert exchange.blocked is not None
    exchange.blocked()
    assert backend.sent.wait(PATIENCE)
    eventually(lambda: balancer.fleet.traffic("default").in_flight.local() == {}, "nothing is in flight there")
    assert balancer.events == []
    assert balancer.ask(inbound())[2] == b"x" * LARGE
    assert len(street.houses[0].connections) == 1  # which the slow client's request had before
    assert first + b"".join(reply) == b"x" * LARGE
    reply.close()
    assert [event.sent for event in balancer.events] == [LARGE, LARGE]


def test_a_client_that_leaves_a_full_buffer_was_not_served(street: Street, store: BufferStore) -> None:
    backend = SendsMuch()
    balancer = before(street, store, backend, policy=ALL_OF_IT)
    reply, exchange = started(balancer)
    next(reply)
    assert exchange.blocked is not None
    exchange.blocked()
    eventually(lambda: balancer.fleet.traffic("default").in_flight.local() == {}, "nothing is in flight there")
    reply.close()
    assert balancer.events[0].cut == "the client hung up"
    assert balancer.events[0].attempts[-1].fault is None


def test_a_client_that_leaves_while_the_buffer_fills_ends_its_exchange(street: Street, store: BufferStore) -> None:
    backend = SendsMuch()
    balancer = before(street, store, backend)
    reply, exchange = started(balancer)
    next(reply)
    assert exchange.blocked is not None
    exchange.blocked()
    eventually(lambda: store.spool, "it reads on")
    reply.close()
    eventually(lambda: balancer.fleet.traffic("default").in_flight.local() == {}, "nothing is in flight there")
    assert balancer.events[0].attempts[-1].fault is None
    street.houses[0].connections[0].ended.wait(PATIENCE)


def test_a_backend_that_breaks_off_behind_a_slow_client_is_noted(street: Street, store: BufferStore) -> None:
    def break_off(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300_000)

    balancer = before(street, store, break_off)
    reply, exchange = started(balancer)
    first = next(reply)
    assert exchange.blocked is not None
    exchange.blocked()
    eventually(lambda: balancer.fleet.traffic("default").in_flight.local() == {}, "nothing is in flight there")
    pieces = [first]
    with pytest.raises(BrokenPipeError):
        pieces.extend(reply)
    assert len(b"".join(pieces)) == 300_000
    event = balancer.events[0]
    fault = event.attempts[-1].fault
    assert fault is not None
    assert (fault.blame, event.cut) == (Blame.BACKEND, "the backend closed the connection within its response")


@pytest.mark.parametrize("field", [b"Content-Type: text/event-stream\r\n", b"X-Accel-Buffering: no\r\n"])
def test_a_stream_has_no_buffer(street: Street, store: BufferStore, field: bytes) -> None:
    balancer = before(street, store, SendsMuch(field))
    reply, exchange = started(balancer)
    assert exchange.blocked is None
    assert field.decode().strip() in [": ".join(pair) for pair in reply.fields]
    reply.close()


def test_a_response_that_is_here_already_has_no_buffer(street: Street, store: BufferStore) -> None:
    balancer = before(street, store, answering_always(OK))
    reply, exchange = started(balancer)
    assert (list(reply), exchange.blocked) == ([b"ok"], None)
    reply.close()


def test_a_server_without_an_exchange_has_the_response_read_at_once(street: Street, store: BufferStore) -> None:
    backend = SendsMuch()
    balancer = before(street, store, backend, policy=ALL_OF_IT)
    reply = balancer.start(inbound())
    first = next(reply)
    eventually(lambda: balancer.fleet.traffic("default").in_flight.local() == {}, "nothing is in flight there")
    assert first + b"".join(reply) == b"x" * LARGE
    reply.close()


def test_without_a_policy_nothing_is_buffered(street: Street) -> None:
    balancer = street.balancer(SendsMuch())
    reply, exchange = started(balancer)
    assert exchange.blocked is None
    reply.close()
