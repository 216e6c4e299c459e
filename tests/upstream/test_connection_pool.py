"""Which idle connection is taken, and which is closed instead."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lbflask.core.faults import Fault, Stage
from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import MAX_AGE, MAX_KEPT, SURE_IDLE, ConnectionPool
from lbflask.upstream.socket_stream import SocketStream
from tests.store.stores import ManualClock

HERE, THERE = "http://a:1", "http://b:1"
#: Seconds for which connections are kept, at both.
KEPT = 30.0
BOTH = {HERE: KEPT, THERE: KEPT}


class Wire:
    """A connection and the backend's end of it."""

    def __init__(self, now: float) -> None:
        self._sock, self.backend = socket.socketpair()
        self.connection = UpstreamConnection(SocketStream(self._sock), now)

    @property
    def closed(self) -> bool:
        return self._sock.fileno() == -1

    def close(self) -> None:
        self.connection.close()
        self.backend.close()


class Bench:
    """A pool with a clock, and wires to put into it."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.pool = ConnectionPool(self.clock)
        self.wires: list[Wire] = []

    def wire(self) -> Wire:
        wire = Wire(self.clock.time)
        self.wires.append(wire)
        return wire

    def idle(self, origin: str = HERE) -> Wire:
        """A wire that was given back just now."""
        wire = self.wire()
        self.pool.give_back(origin, wire.connection)
        return wire


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for wire in bench.wires:
        wire.close()


@pytest.fixture(params=[False, True], ids=["careless", "careful"])
def careful(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_an_empty_pool_has_no_connection(bench: Bench, careful: bool) -> None:
    assert bench.pool.take(HERE, careful) is None


def test_the_latest_connection_is_taken_first(bench: Bench, careful: bool) -> None:
    """The longest idle ones can then time out, when fewer are needed."""
    first, second = bench.idle(), bench.idle()
    assert bench.pool.take(HERE, careful) is second.connection
    assert bench.pool.take(HERE, careful) is first.connection
    assert bench.pool.take(HERE, careful) is None


def test_each_address_has_its_own_connections(bench: Bench, careful: bool) -> None:
    here = bench.idle(HERE)
    assert bench.pool.take(THERE, careful) is None
    assert bench.pool.take(HERE, careful) is here.connection


def test_a_connection_that_was_idle_for_long_is_closed_and_so_are_those_before_it(bench: Bench, careful: bool) -> None:
    wires = [bench.idle() for _ in range(3)]
    bench.clock.advance(KEPT + 0.01)
    assert bench.pool.take(HERE, careful, KEPT) is None
    assert all(wire.closed for wire in wires)


def test_a_connection_is_taken_up_to_the_limit_of_idleness(bench: Bench) -> None:
    wire = bench.idle()
    bench.clock.advance(KEPT)
    assert bench.pool.take(HERE, False, KEPT) is wire.connection


def test_a_request_that_cannot_be_sent_again_takes_the_place_of_a_connection_that_its_backend_may_close(
    bench: Bench,
) -> None:
    """R16: a backend that closes after 2 s of silence must not meet it. The others are kept for other requests."""
    kept, closed = bench.idle(), bench.idle()
    bench.clock.advance(SURE_IDLE + 0.01)
    assert bench.pool.take(HERE, True, KEPT) is None
    assert (kept.closed, closed.closed) == (False, True)
    assert bench.pool.take(HERE, False, KEPT) is kept.connection


def test_a_request_that_cannot_be_sent_again_uses_a_connection_that_is_surely_open(bench: Bench) -> None:
    wire = bench.idle()
    bench.clock.advance(SURE_IDLE)
    assert bench.pool.take(HERE, True, KEPT) is wire.connection


@pytest.mark.parametrize("idle", [0.0, SURE_IDLE], ids=["now", "sure"])
def test_the_setting_may_be_below_what_is_sure(bench: Bench, careful: bool, idle: float) -> None:
    wire = bench.idle()
    bench.clock.advance(idle + 0.01)
    assert bench.pool.take(HERE, careful, idle) is None
    assert wire.closed


def test_idleness_counts_from_the_last_use(bench: Bench, careful: bool) -> None:
    wire = bench.idle()
    for _ in range(3):
        bench.clock.advance(SURE_IDLE - 0.1)
        assert bench.pool.take(HERE, careful, SURE_IDLE) is wire.connection
        bench.pool.give_back(HERE, wire.connection)


def test_nobody_gets_a_connection_that_was_closed_while_it_was_idle_for_long(bench: Bench) -> None:
    """A stream of threads does not see the end of a connection until it looks for it."""
    open_still, closed = bench.idle(), bench.idle()
    closed.backend.close()
    bench.clock.advance(SURE_IDLE + 0.01)
    assert bench.pool.take(HERE, False, KEPT) is open_still.connection
    assert closed.closed


def test_an_old_connection_is_closed_and_a_younger_one_taken(bench: Bench, careful: bool) -> None:
    """R16: a backend's name may mean another address by now."""
    young, old = bench.wire(), bench.wire()
    old.connection.opened_at -= MAX_AGE + 1
    bench.pool.give_back(HERE, young.connection)
    bench.pool.give_back(HERE, old.connection)
    assert bench.pool.take(HERE, careful) is young.connection
    assert old.closed


def test_a_careful_taker_gets_no_connection_that_the_backend_has_closed(bench: Bench) -> None:
    """R15: a request that can't be sent twice must not be the one to find out."""
    open_still, closed = bench.idle(), bench.idle()
    closed.backend.close()
    assert bench.pool.take(HERE, once=True) is open_still.connection
    assert closed.closed


def test_nobody_gets_a_connection_on_which_the_backend_has_spoken(bench: Bench, careful: bool) -> None:
    """RFC 9112 §9.2: it would be taken for the response to the next request, which is another client's."""
    silent, spoken = bench.idle(), bench.idle()
    spoken.backend.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert bench.pool.take(HERE, careful) is silent.connection
    assert spoken.closed


def test_no_more_than_the_limit_are_kept(bench: Bench) -> None:
    kept = bench.wire()
    for _ in range(MAX_KEPT):
        bench.pool.give_back(HERE, kept.connection)
    surplus = bench.idle()
    assert surplus.closed
    assert not kept.closed


def test_a_closed_pool_keeps_nothing(bench: Bench) -> None:
    before = bench.idle()
    bench.pool.close()
    after = bench.idle()
    assert before.closed
    assert after.closed


def test_a_new_connection_is_stamped_with_the_time(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = bench.pool.open(Address("http", *listener.getsockname()), 5.0)
        connection.close()
    assert (connection.opened_at, connection.exchanges) == (bench.clock.time, 0)


def test_a_failure_to_connect_is_a_fault(bench: Bench) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Fault) as caught:
            bench.pool.open(Address("http", *bound.getsockname()), 5.0)
    assert caught.value.stage is Stage.CONNECT


# Those that nobody takes


def test_what_has_been_idle_for_too_long_is_swept_away_and_the_rest_stays(bench: Bench) -> None:
    old, gone = bench.idle(), bench.idle(THERE)
    bench.clock.advance(KEPT)
    bench.pool.sweep(BOTH)
    assert not old.closed
    bench.clock.advance(0.1)
    young = bench.idle()
    bench.pool.sweep(BOTH)
    assert (old.closed, gone.closed, young.closed) == (True, True, False)
    assert bench.pool.take(HERE, once=False) is young.connection
    assert bench.pool.take(THERE, once=False) is None


def test_each_origin_has_its_own_limit(bench: Bench) -> None:
    here, there = bench.idle(HERE), bench.idle(THERE)
    bench.clock.advance(KEPT)
    bench.pool.sweep({HERE: KEPT, THERE: KEPT - 1})
    assert (here.closed, there.closed) == (False, True)


def test_connections_to_backends_that_serve_no_more_are_swept_away(bench: Bench) -> None:
    here, there = bench.idle(HERE), bench.idle(THERE)
    bench.pool.sweep({HERE: KEPT})
    assert (here.closed, there.closed) == (False, True)


def test_connections_on_which_backends_have_spoken_are_swept_away(bench: Bench) -> None:
    spoken, silent = bench.idle(), bench.idle()
    spoken.backend.sendall(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
    bench.pool.sweep(BOTH)
    assert (spoken.closed, silent.closed) == (True, False)


def test_the_longest_idle_connections_make_room(bench: Bench) -> None:
    wires = []
    for number in range(6):
        wires.append(bench.idle(HERE if number % 2 else THERE))
        bench.clock.advance(1.0)
    bench.pool.sweep(BOTH, most=2)
    assert [wire.closed for wire in wires] == [True] * 4 + [False] * 2
    bench.pool.sweep(BOTH, most=-1)
    assert all(wire.closed for wire in wires)
    bench.pool.sweep(BOTH, most=-1)  # there is none to make room


def test_backends_that_come_and_go_leave_nothing_behind(bench: Bench) -> None:
    for port in range(100):
        bench.idle(f"http://a:{port}")
    bench.pool.sweep({})
    assert all(wire.closed for wire in bench.wires)
    assert not bench.pool._idle
