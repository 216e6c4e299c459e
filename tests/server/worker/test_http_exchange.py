"""The exchange of a request: the body as it arrives, or at once if it has arrived, and informational responses."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidChunkSize

from devtools.parsers import PARSERS
from lbflask.files.document_root import DocumentRoot
from lbflask.files.file_region import FileRegion
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.http_exchange import HttpExchange, Superseded
from lbflask.server.worker.request_reader import read_request
from lbflask.server.worker.settings import freeze
from lbflask.server.worker.stream import Stream
from tests.support.greenlets import LONG, in_a_hub, reached, turns

BODY = bytes(range(256)) * 300
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class ClientEnds:
    """The two ends of a client connection."""

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
        if self._client is None:  # in the hub of the test
            self._client = ClientConnection(Stream(self._ours), self._ours.getpeername(), ClientTimeouts())
        return self._client

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def exchange(self, *pieces: bytes) -> HttpExchange:
        """The next request, whose pieces are sent now, each after the one before has arrived."""
        for piece in pieces:
            self.send(piece)
        client = self.client
        assert client.await_request(LONG)
        request = read_request(self._settings, client)
        client.begin_request(request.proxy_info)
        return HttpExchange(request, client)

    def has_arrived(self, count: int) -> None:
        """Wait until so many unread bytes have arrived."""
        reached(lambda: len(self._ours.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == count, "they are here")

    def receive(self, count: int) -> bytes:
        return self.sock.recv(count, socket.MSG_WAITALL)

    def receives_nothing(self) -> bool:
        return not select.select([self.sock], [], [], 0)[0]


@pytest.fixture(params=PARSERS)
def ends(request: pytest.FixtureRequest) -> Iterator[ClientEnds]:
    with ExitStack() as stack:
        yield ClientEnds(stack, request.param)


def rest_of(exchange: HttpExchange) -> bytes:
    data = b""
    while piece := exchange.read_body():
        data += piece
    return data


# A body at hand


@in_a_hub
def test_a_body_that_came_with_the_head_is_at_hand(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 5 + b"hello")
    assert not exchange.complete
    assert exchange.body_at_hand() == b"hello"
    assert exchange.complete
    assert exchange.read_body() == b""


@in_a_hub
def test_an_empty_body_is_at_hand(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 0)
    assert exchange.body_at_hand() == b""
    assert exchange.complete


@in_a_hub
def test_a_body_behind_its_head_is_at_hand_if_it_has_come(ends: ClientEnds) -> None:
    """Many clients send the two apart."""
    exchange = ends.exchange(POST % 5)
    ends.send(b"hello")
    ends.has_arrived(5)
    assert exchange.body_at_hand() == b"hello"
    assert exchange.complete


@in_a_hub
def test_a_body_in_two_parts_is_at_hand_if_both_have_come(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 10 + b"hello")
    ends.send(b"world")
    ends.has_arrived(5)
    assert exchange.body_at_hand() == b"helloworld"
    assert exchange.complete


@pytest.mark.parametrize("first", [b"", b"h", b"hell"])
@in_a_hub
def test_a_body_that_is_not_all_here_is_read_as_it_comes(ends: ClientEnds, first: bytes) -> None:
    """And nothing of it is lost by having looked."""
    exchange = ends.exchange(POST % 5 + first)
    assert exchange.body_at_hand() is None
    assert not exchange.complete
    ends.send(b"hello"[len(first) :])
    assert rest_of(exchange) == b"hello"
    assert exchange.complete


@in_a_hub
def test_a_large_body_is_read_whole_however_much_of_it_was_at_hand(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % len(BODY) + BODY[:30_000])
    body = exchange.body_at_hand()
    assert body is None
    ends.send(BODY[30_000:] + NEXT)
    assert rest_of(exchange) == BODY
    assert ends.exchange().target == "/next"


@in_a_hub
def test_the_request_behind_a_body_at_hand_stays_for_its_turn(ends: ClientEnds) -> None:
    """RFC 9112 §9.3.2."""
    exchange = ends.exchange(POST % 5 + b"hello" + POST % 5 + b"world" + NEXT)
    assert exchange.body_at_hand() == b"hello"
    assert ends.exchange().body_at_hand() == b"world"
    last = ends.exchange()
    assert (last.target, last.complete) == ("/next", True)


@in_a_hub
def test_no_more_is_taken_than_the_body(ends: ClientEnds) -> None:
    """What comes behind it in the same segment is the next request."""
    exchange = ends.exchange(POST % 10 + b"hello")
    ends.send(b"world" + NEXT)
    ends.has_arrived(5 + len(NEXT))
    assert exchange.body_at_hand() == b"helloworld"
    assert ends.exchange().target == "/next"


@in_a_hub
def test_the_request_behind_a_body_that_was_read_stays_for_its_turn(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 5)
    ends.send(b"hello" + NEXT)
    assert rest_of(exchange) == b"hello"
    assert ends.exchange().target == "/next"


@in_a_hub
def test_chunks_are_never_at_hand(ends: ClientEnds) -> None:
    exchange = ends.exchange(CHUNKED + b"5\r\nhello\r\n5\r\nworld\r\n0\r\nX-A: b\r\n\r\n" + NEXT)
    assert exchange.body_at_hand() is None
    assert rest_of(exchange) == b"helloworld"
    assert exchange.complete
    assert exchange.trailers == [("X-A", "b")]
    assert ends.exchange().target == "/next"


@in_a_hub
def test_a_bad_chunk_is_an_error_and_no_end(ends: ClientEnds) -> None:
    exchange = ends.exchange(CHUNKED + b"zz\r\nhello\r\n")
    with pytest.raises(InvalidChunkSize):
        exchange.read_body()
    assert not exchange.complete


@pytest.mark.parametrize("head", [POST % 10, CHUNKED], ids=["length", "chunks"])
@in_a_hub
def test_a_piece_goes_to_the_latest_call(ends: ClientEnds, head: bytes) -> None:
    """Each attempt that has failed leaves a call behind that waits for the client."""
    exchange = ends.exchange(head)
    calls = [gevent.spawn(exchange.read_body) for _ in range(3)]
    turns()
    assert [call.ready() for call in calls] == [False, True, False]
    ends.send(b"hello" if head != CHUNKED else b"5\r\nhello\r\n")
    assert calls[-1].get(timeout=LONG) == b"hello"
    for call in calls[:-1]:
        with pytest.raises(Superseded):
            call.get(timeout=LONG)
    ends.send(b"world" if head != CHUNKED else b"5\r\nworld\r\n0\r\n\r\n")
    assert rest_of(exchange) == b"world"
    assert exchange.complete


@in_a_hub
def test_what_ends_the_wait_for_a_body_ends_it_for_all_calls(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 10)
    calls = [gevent.spawn(exchange.read_body) for _ in range(2)]
    turns()
    ends.client.stream.interrupt()
    for call in calls:
        with pytest.raises(TimeoutError):
            call.get(timeout=LONG)


# Leave to go on


@in_a_hub
def test_looking_at_what_is_at_hand_gives_no_leave_to_go_on(ends: ClientEnds) -> None:
    """RFC 9110 §10.1.1: not even when the client did not wait for it."""
    exchange = ends.exchange(EXPECTING + b"hello")
    assert exchange.expects_continue
    assert exchange.body_at_hand() is None
    assert ends.receives_nothing()


@in_a_hub
def test_reading_gives_it_once(ends: ClientEnds) -> None:
    exchange = ends.exchange(EXPECTING)
    ends.send(b"he")
    assert exchange.read_body() == b"he"
    ends.send(b"llo")
    assert rest_of(exchange) == b"llo"
    exchange.interim("103 Early Hints", [("Link", "</a>"), ("X-A", "\xe9")])
    told = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-A: \xe9\r\n\r\n"
    assert ends.receive(len(told)) == told
    assert ends.receives_nothing()


# Limits of a body, and clients that do not keep up

#: More than all buffers of a connection hold.
MUCH = b"x" * (1 << 24)


def is_ended(ends: ClientEnds, call: gevent.Greenlet, after: float) -> bool:
    """Whether the wait ends at a look at the deadlines so many seconds from now."""
    ends.client.expire_at(time.monotonic() + after)
    turns()
    return bool(call.ready())


@in_a_hub
def test_a_body_that_comes_too_slowly_ends_with_the_reason(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 10 + b"hello")
    exchange.limit_rates(1, 0, 10)
    assert exchange.read_body() == b"hello"
    call = gevent.spawn(exchange.read_body)
    turns()
    assert not is_ended(ends, call, after=9)
    assert is_ended(ends, call, after=11)
    with pytest.raises(TimeoutError, match="the client sent its body too slowly"):
        call.get()


@in_a_hub
def test_bytes_that_came_fast_give_a_body_time(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 30)
    exchange.limit_rates(1, 0, 1)
    ends.send(b"x" * 20)
    assert exchange.read_body() == b"x" * 20
    call = gevent.spawn(exchange.read_body)
    turns()
    assert not is_ended(ends, call, after=18)
    assert is_ended(ends, call, after=21)


@in_a_hub
def test_a_body_ends_with_the_time_of_its_request(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 10)
    exchange.limit_upload(time.monotonic() + 10)
    call = gevent.spawn(exchange.read_body)
    turns()
    assert not is_ended(ends, call, after=9)
    assert is_ended(ends, call, after=11)
    with pytest.raises(TimeoutError, match="the request took too long to arrive"):
        call.get()


@in_a_hub
def test_a_body_without_a_byte_ends_without_a_reason(ends: ClientEnds) -> None:
    call = gevent.spawn(ends.exchange(POST % 10).read_body)
    turns()
    assert is_ended(ends, call, after=ClientTimeouts().body + 1)
    with pytest.raises(TimeoutError) as caught:
        call.get()
    assert str(caught.value) == ""


@in_a_hub
def test_limits_are_those_of_one_request(ends: ClientEnds) -> None:
    first = ends.exchange(POST % 5 + b"hello")
    first.limit_upload(time.monotonic() + 10)
    first.limit_rates(1, 1, 10)
    first.on_blocked(lambda: pytest.fail("of the request before"))
    assert rest_of(first) == b"hello"
    second = ends.exchange(POST % 5)
    reading, sending = gevent.spawn(second.read_body), gevent.spawn(ends.client.send, MUCH)
    turns()
    assert not is_ended(ends, reading, after=20)
    assert not sending.ready()
    ends.client.stream.interrupt()
    gevent.joinall([reading, sending])


@in_a_hub
def test_a_client_that_takes_a_response_too_slowly_is_cut(ends: ClientEnds) -> None:
    ends.exchange(NEXT).limit_rates(0, 1 << 30, 10)
    call = gevent.spawn(ends.client.send, MUCH)
    turns()
    assert not is_ended(ends, call, after=9)
    assert is_ended(ends, call, after=11)
    with pytest.raises(TimeoutError):
        call.get()


@in_a_hub
def test_a_response_with_a_least_rate_is_sent_whole(ends: ClientEnds) -> None:
    ends.exchange(NEXT).limit_rates(0, 1, 10)
    call = gevent.spawn(ends.client.send, MUCH)
    turns()
    ends.sock.setblocking(False)
    received = 0
    while received < len(MUCH):
        try:
            received += len(ends.sock.recv(1 << 20))
        except BlockingIOError:
            turns(1)
    call.get(timeout=LONG)


def part_of_a_file(directory: Path) -> FileRegion:
    (directory / "large").write_bytes(MUCH)
    return FileRegion(DocumentRoot(str(directory)).open(["large"]), 0, len(MUCH))


@in_a_hub
def test_a_client_that_takes_a_file_too_slowly_is_cut(ends: ClientEnds, tmp_path: Path) -> None:
    region = part_of_a_file(tmp_path)
    ends.exchange(NEXT).limit_rates(0, 1 << 30, 10)
    call = gevent.spawn(ends.client.send_file, region)
    turns()
    assert not is_ended(ends, call, after=9)
    assert is_ended(ends, call, after=11)
    with pytest.raises(TimeoutError):
        call.get()
    region.close()


@in_a_hub
def test_a_file_with_a_least_rate_is_sent_whole(ends: ClientEnds, tmp_path: Path) -> None:
    region = part_of_a_file(tmp_path)
    ends.exchange(NEXT).limit_rates(0, 1, 10)
    call = gevent.spawn(ends.client.send_file, region)
    ends.sock.setblocking(False)
    received = 0
    while received < len(MUCH):
        try:
            received += len(ends.sock.recv(1 << 20))
        except BlockingIOError:
            turns(1)
    call.get(timeout=LONG)
    assert region.left == 0
    region.close()


@in_a_hub
def test_the_first_write_that_waits_for_the_client_is_reported_once(ends: ClientEnds) -> None:
    exchange, told = ends.exchange(NEXT), []
    exchange.on_blocked(lambda: told.append("blocked"))
    ends.client.send(b"short")
    assert told == []
    call = gevent.spawn(ends.client.send, MUCH)
    turns()
    assert told == ["blocked"]
    again = gevent.spawn(ends.client.send, MUCH)
    turns()
    assert told == ["blocked"]
    ends.client.stream.interrupt()
    gevent.joinall([call, again])


# A client that goes


@in_a_hub
def test_a_client_that_leaves_before_its_response_is_reported_once(ends: ClientEnds) -> None:
    exchange, told = ends.exchange(NEXT), []
    exchange.on_gone(lambda: told.append("gone"))
    ends.sock.close()
    reached(lambda: told, "it is noticed")
    exchange.on_gone(None)
    exchange.on_gone(lambda: told.append("again"))
    assert told == ["gone", "again"]


@in_a_hub
def test_a_client_that_has_gone_is_reported_at_once(ends: ClientEnds) -> None:
    exchange, told = ends.exchange(NEXT), []
    ends.sock.close()
    reached(lambda: ends.client.stream.gone, "it is noticed")
    exchange.on_gone(lambda: told.append("gone"))
    assert told == ["gone"]


@in_a_hub
def test_a_cancelled_callback_is_not_called(ends: ClientEnds) -> None:
    exchange, told = ends.exchange(NEXT), []
    exchange.on_gone(lambda: told.append("gone"))
    exchange.on_gone(None)
    ends.sock.close()
    reached(lambda: ends.client.stream.gone, "it is noticed")
    assert told == []


@in_a_hub
def test_one_that_goes_within_its_body_ends_the_body_too_early(ends: ClientEnds) -> None:
    exchange = ends.exchange(POST % 5 + b"he")
    assert exchange.body_at_hand() is None
    ends.sock.close()
    assert rest_of(exchange) == b"he"
    assert not exchange.complete


# A change of protocol


@in_a_hub
def test_an_upgrade_leaves_the_connection_with_what_came_early(ends: ClientEnds) -> None:
    exchange = ends.exchange(NEXT + b"early")
    exchange.on_gone(lambda: pytest.fail("a tunnel sees the end by itself"))
    stream, early = exchange.upgrade("101 Switching Protocols", [("Upgrade", "x-echo")])
    assert exchange.upgraded
    assert early == b"early"
    told = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x-echo\r\n\r\n"
    assert ends.receive(len(told)) == told
    ends.send(b"later")
    assert stream.recv(100) == b"later"
    ends.sock.close()
    assert stream.recv(100) == b""
