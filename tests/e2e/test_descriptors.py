"""As many clients as there are descriptors for, and the others in their turn."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import ROOT, Gunicorn
from devtools.wait import PATIENCE, eventually
from lbflask.wiring.descriptor_limit import OTHER_FILES
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: The limit of descriptors, and how many clients it leaves room for.
SOFT, HARD = 80, 160
CLIENTS = (HARD - OTHER_FILES) // 2


@contextmanager
def limited(directory: Path, store: str, backend: str, *arguments: str, hard: int = HARD) -> Iterator[Gunicorn]:
    """A gunicorn with one worker, whose processes may have so many descriptors."""
    conf = directory / "limited.conf.py"
    usual = str(ROOT / "gunicorn.conf.py")
    conf.write_text(
        f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {hard}))\n"
        f"exec(compile(open({usual!r}).read(), {usual!r}, 'exec'))\n"
    )
    with Gunicorn(
        "-c", str(conf), *arguments, workers=1, redis_url=store, backends=backend, namespace=directory.name,
        health__interval=600, timeouts__graceful=5,
    ) as balancer:  # fmt: skip
        yield balancer
        balancer.assert_no_traceback()


def test_all_clients_that_are_taken_can_be_served_and_the_others_wait(store: str, tmp_path: Path) -> None:
    go_on, arrived = threading.Event(), threading.Semaphore(0)

    def play(peer: Peer) -> None:
        while peer.read_head():
            arrived.release()
            peer.wait(go_on)
            peer.send(OK)

    with (
        ScriptedBackend(play) as backend,
        limited(tmp_path, store, backend.url) as balancer,
        ExitStack() as stack,
    ):
        assert f"at most {CLIENTS} clients at once, not 10000" in balancer.output
        assert f"is {HARD}" in balancer.output
        clients = [stack.enter_context(RawClient(balancer.port)) for _ in range(CLIENTS + 5)]
        for client in clients:
            client.send(REQUEST)
        for _ in range(CLIENTS):  # all of these at once, each with a connection to the backend
            assert arrived.acquire(timeout=PATIENCE)
        eventually(lambda: "others wait in the backlog" in balancer.output, "the warning is logged")
        assert not arrived.acquire(blocking=False)
        go_on.set()
        waiting = list(clients)
        served = 0
        while waiting:  # one leaves, another is served
            ready, _, _ = select.select([client.sock for client in waiting], [], [], PATIENCE)
            assert ready, f"{served} were served, and nobody else is"
            client = next(client for client in waiting if client.sock is ready[0])
            assert client.answer().status == 200
            client.sock.close()
            waiting.remove(client)
            served += 1
        assert served == CLIENTS + 5
        assert balancer.output.count("others wait in the backlog") == 1
        assert "Too many open files" not in balancer.output


@pytest.mark.parametrize("worker", first_of(["gthread", "gevent"]))
@pytest.mark.long
def test_gunicorns_own_workers_are_bound_too(worker: str, store: str, tmp_path: Path) -> None:
    with ScriptedBackend(lambda peer: None) as backend, limited(tmp_path, store, backend.url, "-k", worker) as balancer:
        assert f"at most {CLIENTS} clients at once" in balancer.output


@pytest.mark.long
def test_where_there_are_enough_descriptors_all_clients_are_taken(store: str, tmp_path: Path) -> None:
    """The soft limit is raised as far as need be."""
    few = ("--worker-connections", "100")
    with (
        ScriptedBackend(lambda peer: None) as backend,
        limited(tmp_path, store, backend.url, *few, hard=1000) as balancer,
    ):
        assert "at most 100 clients at once, by worker_connections" in balancer.output
        (worker,) = balancer.workers()
        limits = Path(f"/proc/{worker}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == [str(200 + OTHER_FILES), "1000"]
