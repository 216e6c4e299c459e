"""Which idle connection is taken, and which is closed instead."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lbflask.core.faults import Fault, Stage
from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import MAX_AGE, MAX_IDLE, MAX_KEPT, ConnectionPool
from lbflask.upstream.socket_stream import SocketStream

HERE, THERE = "http://a:1", "http://b:1"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
        self.clock = Clock()
        self.pool = ConnectionPool(self.clock)
        self.wires: list[Wire] = []

    def wire(self) -> Wire:
        wire = Wire(self.clock.now)
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
    """R16: a backend that closes after 2 s of silence must not meet our next request."""
    wires = [bench.idle() for _ in range(3)]
    bench.clock.now += MAX_IDLE + 0.01
    assert bench.pool.take(HERE, careful) is None
    assert all(wire.closed for wire in wires)


def test_a_connection_is_taken_up_to_the_limit_of_idleness(bench: Bench, careful: bool) -> None:
    wire = bench.idle()
    bench.clock.now += MAX_IDLE
    assert bench.pool.take(HERE, careful) is wire.connection


def test_idleness_counts_from_the_last_use(bench: Bench, careful: bool) -> None:
    wire = bench.idle()
    for _ in range(3):
        bench.clock.now += MAX_IDLE - 0.1
        assert bench.pool.take(HERE, careful) is wire.connection
        bench.pool.give_back(HERE, wire.connection)


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
    assert bench.pool.take(HERE, check_alive=True) is open_still.connection
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
    assert (connection.opened_at, connection.exchanges) == (bench.clock.now, 0)


def test_a_failure_to_connect_is_a_fault(bench: Bench) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Fault) as caught:
            bench.pool.open(Address("http", *bound.getsockname()), 5.0)
    assert caught.value.stage is Stage.CONNECT


# Those that nobody takes


def test_what_has_been_idle_for_too_long_is_swept_away_and_the_rest_stays(bench: Bench) -> None:
    old, gone = bench.idle(), bench.idle(THERE)
    bench.clock.now += MAX_IDLE
    bench.pool.sweep()
    assert not old.closed
    bench.clock.now += 0.1
    young = bench.idle()
    bench.pool.sweep()
    assert (old.closed, gone.closed, young.closed) == (True, True, False)
    assert bench.pool.take(HERE, check_alive=False) is young.connection
    assert bench.pool.take(THERE, check_alive=False) is None


def test_backends_that_come_and_go_leave_nothing_behind(bench: Bench) -> None:
    for port in range(100):
        bench.idle(Address("http", "a", port))
    bench.clock.now += MAX_IDLE + 0.1
    bench.pool.sweep()
    assert all(wire.closed for wire in bench.wires)
    assert not bench.pool._idle
