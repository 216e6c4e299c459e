"""A shortage of a process of lbflask is never the fault of a backend: none is ejected, and no check fails for it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from devtools.raw_client import RawClient
from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, Process, get, start_checker
from devtools.wait import eventually
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e

KEYS = PoolKeys("lbflask", "default")
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TO_US = b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
CERTAIN = 30  # failures of a backend that would eject it many times over


@contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    """The process can open nothing more, since its first three are always in use; it keeps what it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def metric(port: int, line: str) -> float:
    """The value of the series."""
    page = get(port, "/metrics").body.decode()
    return next((float(one.rpartition(" ")[2]) for one in page.splitlines() if one.startswith(line)), 0.0)


@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gevent", "gthread"])
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unchecked"])
@pytest.mark.sampled(6, 2)
def test_a_worker_without_descriptors_blames_no_backend(worker: str, checked: bool, redis_url: str) -> None:
    with ExitStack() as running:
        houses = [running.enter_context(ScriptedBackend(answering_always())) for _ in range(2)]
        settings = {"redis_url": redis_url, "backends": ",".join(house.url for house in houses), "health__interval": 60}
        arguments = ("-k", worker, *(("--threads", "8") if worker == "gthread" else ()))
        balancer = running.enter_context(Gunicorn(*arguments, workers=1, **settings))
        if checked:
            running.enter_context(start_checker(**settings))
            eventually(lambda: set(balancer.healths().values()) == {"up"}, "both are found up")
        store = running.enter_context(redis.Redis.from_url(redis_url))
        hints = running.enter_context(store.pubsub())
        hints.psubscribe("*suspect*")
        clients = [running.enter_context(RawClient(balancer.port)) for _ in range(4)]
        (pid,) = balancer.workers()
        for client in clients:
            assert client.ask(TO_US).status == 200  # accepted, and no backend was asked
        with without_descriptors(pid):
            answers = [client.ask(ASK) for _ in range(CERTAIN // len(clients)) for client in clients]
        assert {answer.status for answer in answers} == {503}
        assert all(answer.values(b"retry-after") for answer in answers)
        # At once, and by both: neither is out of service.
        assert [clients[0].ask(ASK).status for _ in range(4)] == [200] * 4
        assert all(house.connections for house in houses)
        shortages = 'lbflask_shortages_total{resource="descriptors"}'
        eventually(lambda: metric(balancer.admin_port, shortages) >= len(answers), "all are counted")
        assert metric(balancer.admin_port, shortages) == len(answers)
        assert store.hgetall(KEYS.ejected) == {}
        assert [message for message in iter(hints.get_message, None) if message["type"] == "pmessage"] == []
        assert balancer.output.count("this process is short of descriptors: too many open files") == 1
        balancer.assert_no_traceback()


@pytest.mark.long
def test_a_checker_without_descriptors_finds_no_backend_down(redis_url: str) -> None:
    with ExitStack() as running:
        houses = [running.enter_context(ScriptedBackend(answering_always())) for _ in range(2)]
        settings = {
            "redis_url": redis_url,
            "backends": ",".join(house.url for house in houses),
            "health__interval": 0.05,
            "health__fall": 1,
        }
        balancer = running.enter_context(Gunicorn(workers=1, **settings))
        checker = running.enter_context(start_checker(**settings))
        eventually(lambda: set(balancer.healths().values()) == {"up"}, "both are found up")
        with without_descriptors(checker.pid):
            eventually(lambda: "short of descriptors" in checker.output, "the checker has noticed")
            asked = _looks(checker)
            eventually(lambda: _looks(checker) > asked + 10, "it has gone on")
        assert set(balancer.healths().values()) == {"up"}
        assert "is down" not in checker.output
        assert checker.output.count("short of descriptors") == 1
        checker.assert_no_traceback()


def _looks(process: Process) -> int:
    """How often the process has slept and been woken: it goes on with its checks."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
