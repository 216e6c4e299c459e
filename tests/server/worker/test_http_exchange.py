"""What the worker offers of a request: the body as it comes, or at once if it is here, and what is said in between."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidChunkSize

from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.http_exchange import HttpExchange, Superseded
from lbflask.server.worker.request_parser import ParsedRequest
from lbflask.server.worker.settings import freeze
from lbflask.server.worker.stream import Stream
from tests.support.greenlets import LONG, in_a_hub, reached, turns

BODY = bytes(range(256)) * 300
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class Caller:
    """The client's end of a connection, and ours."""

    def __init__(self, stack: ExitStack, parser: str) -> None:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.sock = stack.enter_context(socket.create_connection(listener.getsockname(), LONG))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ours = stack.enter_context(listener.accept()[0])
        config = Config()
        config.set("http_parser", parser)
        self._settings = freeze(config)
        self._client: ClientConnection | None = None

    @property
    def client(self) -> ClientConnection:
        if self._client is None:  # in the test's own hub
            self._client = ClientConnection(Stream(self._ours), self._ours.getpeername(), ClientTimeouts())
        return self._client

    def says(self, data: bytes) -> None:
        self.sock.sendall(data)

    def exchange(self, *said: bytes) -> HttpExchange:
        """The next request, of which `said` is sent now; each piece is here when the next is sent."""
        for piece in said:
            self.says(piece)
        client = self.client
        assert client.await_request(LONG)
        request = ParsedRequest(self._settings, client.reader, client.addr, client.served + 1)
        client.begin_request(request.proxy_protocol_info)
        return HttpExchange(request, client)

    def has_arrived(self, count: int) -> None:
        """Wait until so many bytes are there that were not read."""
        reached(lambda: len(self._ours.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == count, "they are here")

    def hears(self, count: int) -> bytes:
        return self.sock.recv(count, socket.MSG_WAITALL)

    def hears_nothing(self) -> bool:
        return not select.select([self.sock], [], [], 0)[0]


@pytest.fixture(params=["fast", "python"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    with ExitStack() as stack:
        yield Caller(stack, request.param)


def rest_of(exchange: HttpExchange) -> bytes:
    data = b""
    while piece := exchange.read_body():
        data += piece
    return data


# A body at hand


@in_a_hub
def test_a_body_that_came_with_the_head_is_at_hand(caller: Caller) -> None:
    exchange = caller.exchange(POST % 5 + b"hello")
    assert not exchange.complete
    assert exchange.body_at_hand() == b"hello"
    assert exchange.complete
    assert exchange.read_body() == b""


@in_a_hub
def test_an_empty_body_is_at_hand(caller: Caller) -> None:
    exchange = caller.exchange(POST % 0)
    assert exchange.body_at_hand() == b""
    assert exchange.complete


@in_a_hub
def test_a_body_behind_its_head_is_at_hand_if_it_has_come(caller: Caller) -> None:
    """Many clients send the two apart."""
    exchange = caller.exchange(POST % 5)
    caller.says(b"hello")
    caller.has_arrived(5)
    assert exchange.body_at_hand() == b"hello"
    assert exchange.complete


@in_a_hub
def test_a_body_in_two_parts_is_at_hand_if_both_have_come(caller: Caller) -> None:
    exchange = caller.exchange(POST % 10 + b"hello")
    caller.says(b"world")
    caller.has_arrived(5)
    assert exchange.body_at_hand() == b"helloworld"
    assert exchange.complete


@pytest.mark.parametrize("first", [b"", b"h", b"hell"])
@in_a_hub
def test_a_body_that_is_not_all_here_is_read_as_it_comes(caller: Caller, first: bytes) -> None:
    """And nothing of it is lost by having looked."""
    exchange = caller.exchange(POST % 5 + first)
    assert exchange.body_at_hand() is None
    assert not exchange.complete
    caller.says(b"hello"[len(first) :])
    assert rest_of(exchange) == b"hello"
    assert exchange.complete


@in_a_hub
def test_a_large_body_is_read_whole_however_much_of_it_was_at_hand(caller: Caller) -> None:
    exchange = caller.exchange(POST % len(BODY) + BODY[:30_000])
    body = exchange.body_at_hand()
    assert body is None
    caller.says(BODY[30_000:] + NEXT)
    assert rest_of(exchange) == BODY
    assert caller.exchange().target == "/next"


@in_a_hub
def test_the_request_behind_a_body_at_hand_stays_for_its_turn(caller: Caller) -> None:
    """RFC 9112 §9.3.2."""
    exchange = caller.exchange(POST % 5 + b"hello" + POST % 5 + b"world" + NEXT)
    assert exchange.body_at_hand() == b"hello"
    assert caller.exchange().body_at_hand() == b"world"
    last = caller.exchange()
    assert (last.target, last.complete) == ("/next", True)


@in_a_hub
def test_no_more_is_taken_than_the_body(caller: Caller) -> None:
    """What comes behind it in the same segment is the next request."""
    exchange = caller.exchange(POST % 10 + b"hello")
    caller.says(b"world" + NEXT)
    caller.has_arrived(5 + len(NEXT))
    assert exchange.body_at_hand() == b"helloworld"
    assert caller.exchange().target == "/next"


@in_a_hub
def test_the_request_behind_a_body_that_was_read_stays_for_its_turn(caller: Caller) -> None:
    exchange = caller.exchange(POST % 5)
    caller.says(b"hello" + NEXT)
    assert rest_of(exchange) == b"hello"
    assert caller.exchange().target == "/next"


@in_a_hub
def test_chunks_are_never_at_hand(caller: Caller) -> None:
    exchange = caller.exchange(CHUNKED + b"5\r\nhello\r\n5\r\nworld\r\n0\r\nX-A: b\r\n\r\n" + NEXT)
    assert exchange.body_at_hand() is None
    assert rest_of(exchange) == b"helloworld"
    assert exchange.complete
    assert exchange.trailers == [("X-A", "b")]
    assert caller.exchange().target == "/next"


@in_a_hub
def test_a_bad_chunk_is_an_error_and_no_end(caller: Caller) -> None:
    exchange = caller.exchange(CHUNKED + b"zz\r\nhello\r\n")
    with pytest.raises(InvalidChunkSize):
        exchange.read_body()
    assert not exchange.complete


@pytest.mark.parametrize("head", [POST % 10, CHUNKED], ids=["length", "chunks"])
@in_a_hub
def test_a_piece_goes_to_the_last_call_that_asks_for_it(caller: Caller, head: bytes) -> None:
    """Each attempt that has failed leaves a call behind that waits for the client."""
    exchange = caller.exchange(head)
    calls = [gevent.spawn(exchange.read_body) for _ in range(3)]
    turns()
    assert [call.ready() for call in calls] == [False, True, False]
    caller.says(b"hello" if head != CHUNKED else b"5\r\nhello\r\n")
    assert calls[-1].get(timeout=LONG) == b"hello"
    for call in calls[:-1]:
        with pytest.raises(Superseded):
            call.get(timeout=LONG)
    caller.says(b"world" if head != CHUNKED else b"5\r\nworld\r\n0\r\n\r\n")
    assert rest_of(exchange) == b"world"
    assert exchange.complete


@in_a_hub
def test_what_ends_the_wait_for_a_body_ends_it_for_all_calls(caller: Caller) -> None:
    exchange = caller.exchange(POST % 10)
    calls = [gevent.spawn(exchange.read_body) for _ in range(2)]
    turns()
    caller.client.stream.interrupt()
    for call in calls:
        with pytest.raises(TimeoutError):
            call.get(timeout=LONG)


# Leave to go on


@in_a_hub
def test_looking_at_what_is_at_hand_gives_no_leave_to_go_on(caller: Caller) -> None:
    """RFC 9110 §10.1.1: not even when the client did not wait for it."""
    exchange = caller.exchange(EXPECTING + b"hello")
    assert exchange.expects_continue
    assert exchange.body_at_hand() is None
    assert caller.hears_nothing()


@in_a_hub
def test_reading_gives_it_once(caller: Caller) -> None:
    exchange = caller.exchange(EXPECTING)
    caller.says(b"he")
    assert exchange.read_body() == b"he"
    caller.says(b"llo")
    assert rest_of(exchange) == b"llo"
    exchange.interim("103 Early Hints", [("Link", "</a>"), ("X-A", "\xe9")])
    told = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-A: \xe9\r\n\r\n"
    assert caller.hears(len(told)) == told
    assert caller.hears_nothing()


# A client that goes


@in_a_hub
def test_a_client_that_goes_while_its_answer_is_waited_for_is_told_of_once(caller: Caller) -> None:
    exchange, told = caller.exchange(NEXT), []
    exchange.on_gone(lambda: told.append("gone"))
    caller.sock.close()
    reached(lambda: told, "it is noticed")
    exchange.on_gone(None)
    exchange.on_gone(lambda: told.append("again"))
    assert told == ["gone", "again"]


@in_a_hub
def test_one_that_has_gone_before_is_told_of_at_once(caller: Caller) -> None:
    exchange, told = caller.exchange(NEXT), []
    caller.sock.close()
    reached(lambda: caller.client.stream.gone, "it is noticed")
    exchange.on_gone(lambda: told.append("gone"))
    assert told == ["gone"]


@in_a_hub
def test_nobody_is_told_who_wants_no_more(caller: Caller) -> None:
    exchange, told = caller.exchange(NEXT), []
    exchange.on_gone(lambda: told.append("gone"))
    exchange.on_gone(None)
    caller.sock.close()
    reached(lambda: caller.client.stream.gone, "it is noticed")
    assert told == []


@in_a_hub
def test_one_that_goes_within_its_body_ends_the_body_too_early(caller: Caller) -> None:
    exchange = caller.exchange(POST % 5 + b"he")
    assert exchange.body_at_hand() is None
    caller.sock.close()
    assert rest_of(exchange) == b"he"
    assert not exchange.complete


# A change of protocol


@in_a_hub
def test_an_upgrade_leaves_the_connection_with_what_came_early(caller: Caller) -> None:
    exchange = caller.exchange(NEXT + b"early")
    exchange.on_gone(lambda: pytest.fail("a tunnel sees the end by itself"))
    stream, early = exchange.upgrade("101 Switching Protocols", [("Upgrade", "x-echo")])
    assert exchange.upgraded
    assert early == b"early"
    told = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x-echo\r\n\r\n"
    assert caller.hears(len(told)) == told
    caller.says(b"later")
    assert stream.recv(100) == b"later"
    caller.sock.close()
    assert stream.recv(100) == b""
