"""Which idle connections a worker keeps: of each backend that serves, for as long as its pool says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from lbflask.config.schema import Config
from lbflask.core.model import ActiveHealth, Health, Mode, Override, Snapshot
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.socket_stream import SocketStream
from lbflask.wiring import descriptor_limit, idle_connections
from lbflask.wiring.worker_runtime import WorkerRuntime
from tests.store.stores import ManualClock
from tests.support.pool_routes import with_routes

ONE, TWO, OTHER = "http://127.0.0.1:9", "http://127.0.0.2:9", "http://127.0.0.3:9"
SETTINGS = with_routes(
    {
        "backends": [ONE, TWO],
        "backend_keepalive": 30,
        "pools": {"other": {"backends": [TWO, OTHER], "backend_keepalive": 90}},
        "admin_bind": "",
    }
)


class Bench:
    """A worker, and a pool of connections that is swept by its configuration."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.worker = WorkerRuntime(Config.model_validate(SETTINGS))
        stack.callback(self.worker._connections.close)
        self.clock = ManualClock(1000.0)
        self.connections = ConnectionPool(self.clock)

    def idle(self, origin: str) -> None:
        sock, backend = socket.socketpair()
        connection = UpstreamConnection(SocketStream(sock), self.clock.time)
        self._stack.callback(connection.close)
        self._stack.callback(backend.close)
        self.connections.give_back(origin, connection)

    def kept(self) -> set[str]:
        """The origins of the connections that are left after a sweep."""
        idle_connections.sweep(self.connections, self.worker._pipelines.values())
        return set(self.connections._idle)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


def test_each_pool_has_its_own_time_and_a_backend_of_two_pools_the_longer_one(bench: Bench) -> None:
    for origin in (ONE, TWO, OTHER):
        bench.idle(origin)
    bench.clock.advance(30)
    assert bench.kept() == {ONE, TWO, OTHER}
    bench.clock.advance(1)
    assert bench.kept() == {TWO, OTHER}
    bench.clock.advance(60)
    assert bench.kept() == set()


def test_connections_to_unknown_backends_are_closed(bench: Bench) -> None:
    bench.idle(ONE)
    bench.idle("http://127.0.0.4:9")
    assert bench.kept() == {ONE}


def test_connections_to_backends_that_are_down_or_off_are_closed(bench: Bench) -> None:
    states = {url.partition("//")[2]: ActiveHealth(Health.UP) for url in (ONE, TWO, OTHER)}
    healthy = Snapshot(1, states, 0.0, 10.0, now=time.time())
    for origin in (ONE, TWO, OTHER):
        bench.idle(origin)
    bench.worker._fleet.pools["default"].set_snapshot(
        replace(healthy, active=states | {"127.0.0.1:9": ActiveHealth(Health.DOWN)})
    )
    bench.worker._fleet.pools["other"].set_snapshot(
        replace(healthy, overrides={"127.0.0.3:9": Override(mode=Mode.OFF)})
    )
    assert bench.kept() == {TWO}


def test_idle_connections_leave_room_for_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 descriptors, 12 are in use, 4 of these by idle connections: 12 are for connections, half of them for idle
    ones.
    """
    monkeypatch.setattr(descriptor_limit, "used_and_limit", lambda: (12, 20))
    for _ in range(4):
        bench.idle(ONE)
        bench.clock.advance(0.1)
    assert bench.kept() == {ONE}
    assert bench.connections.idle == 4
    monkeypatch.setattr(descriptor_limit, "used_and_limit", lambda: (18, 20))
    bench.kept()
    assert bench.connections.idle == 3
