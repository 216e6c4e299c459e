"""The short form of several scenarios in one cluster of two gunicorns, for every run of the tests."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import Any

import pytest

from chaos.analysis import failures, under_way
from chaos.backends import Ejected, attempts_after
from chaos.cluster import ChaosCluster, chaos_cluster, ejection
from chaos.load import CONNECTIONS, load
from chaos.observer import owners
from devtools.raw_client import RawClient
from devtools.wait import eventually

pytestmark = pytest.mark.e2e

#: A flapping backend must not be lost sample of for long, and no probe may be mistaken for an attempt.
SETTINGS: dict[str, Any] = {
    "health__interval": 0.2, "health__path": "/check", "health__jitter": 0, "ejection__duration": 60,
}  # fmt: skip


@pytest.mark.thorough
def test_in_one_story_after_another_only_a_killed_workers_own_requests_fail() -> None:
    """A backend flaps all the while; clients hang up, a worker is killed, and without a checker a backend dies."""
    with (
        chaos_cluster(mode="flapping", **SETTINGS) as cluster,
        load([b.port for b in cluster.balancers], 10, 200) as asking,
    ):
        flapper, dead, _ = cluster.backends
        client, announcements = cluster.client, cluster.announcements()

        for turn in range(1, 7):
            with ExitStack() as waiting:
                for number in range(6):
                    hung = waiting.enter_context(RawClient(cluster.balancers[number % 2].port))
                    hung.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
                eventually(lambda turn=turn: _held(cluster) == 6 * turn, "they wait")  # type: ignore[misc]

        balancer = cluster.balancers[0]
        victim = balancer.workers()[0]

        def held_by_victim() -> set[int]:
            held = owners(balancer.port, balancer.workers())
            return {local for local, pid in held.items() if pid == victim and len(held) >= CONNECTIONS}

        its_own = eventually(held_by_victim, "all connections of the load are there")
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(set(balancer.workers()) - {victim}) == 2, "another has come")
        eventually(lambda: sum(s.status == 503 for s in flapper.served()) >= 3, "the flapping backend has flapped")
        assert announcements.received == [], "nobody's health changed, and nobody was ejected"

        for checker in cluster.checkers:
            checker.signal(signal.SIGKILL)
        at = time.time()
        dead.process.kill()
        eventually(lambda: ejection(client, dead.id), "it is ejected")
        eventually(lambda: _all_know(cluster, dead.id), "all workers know of it")
        known = time.time()
        eventually(lambda: time.time() > known + 1, "it is not tried for a second")
        asked = asking.stop()
        log = cluster.attempts()
        for process in (*cluster.balancers, *cluster.checkers):
            process.assert_no_traceback()

    lost = under_way(asked, its_own, began, began + 5)
    assert [request for request in failures(asked) if request not in lost] == []
    assert any(dead.id in line.tried for line in log if line.moment >= at - 0.001)
    assert attempts_after(log, Ejected(dead.id, known)) == 0


def _all_know(cluster: ChaosCluster, backend: str) -> bool:
    """Whether the backend is out for each worker: which one answers is by chance, so many have to agree in a row."""
    return all(
        balancer.health()[1]["pools"]["default"]["states"][backend]["ejected"]
        for balancer in cluster.balancers
        for _ in range(20)
    )


def _held(cluster: ChaosCluster) -> int:
    """How many clients a backend has been made to keep waiting."""
    return sum(s.target == "/hold" for backend in cluster.backends for s in backend.served())
