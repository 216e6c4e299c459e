"""Requests that fail take a backend out for all workers of all gunicorns, without any checker, and back again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from devtools.cluster import Cluster
from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, free_port, get, start_checker
from devtools.wait import eventually
from lbflask.store import records
from lbflask.store.keys import PoolKeys

pytestmark = [pytest.mark.e2e, pytest.mark.early]

KEYS = PoolKeys("lbflask", "default")
BROKEN = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Moody:
    """A backend that answers every request as it is told to."""

    answer: bytes = OK
    asked: int = 0
    hold: bool = False
    holding: int = 0

    def play(self, peer: Peer) -> None:
        while peer.read_head():
            self.asked += 1
            if self.hold:
                self.holding += 1
                try:
                    peer.read_to_end()
                finally:  # also after a reset
                    self.holding -= 1
                return
            peer.send(self.answer)


class EjectionCluster(Cluster):
    """Two instances of two workers each, a store, and a backend for each of the `moods`."""

    def __init__(self, moods: list[Moody], backends: list[ScriptedBackend], **settings: object) -> None:
        super().__init__(2, backends=[backend.url for backend in backends], **settings)
        self.moods = moods


SETTINGS = {"ejection__duration": 1, "ejection__max_duration": 4, "retries__attempts": 2}


@pytest.fixture
def cluster() -> Iterator[EjectionCluster]:
    with ExitStack() as running:
        moods = [Moody() for _ in range(3)]
        backends = [running.enter_context(ScriptedBackend(mood.play)) for mood in moods]
        yield running.enter_context(EjectionCluster(moods, backends, **SETTINGS))


def test_a_backend_that_answers_500_to_everything_is_out_for_all_and_returns_by_a_probe(
    cluster: EjectionCluster,
) -> None:
    broken, bad = cluster.moods[0], cluster.ids[0]
    broken.answer = BROKEN
    eventually(lambda: cluster.ask() and cluster.all_agree(lambda states: states[bad]["ejected"]), "it is out for all")
    told = records.parse_ejection(cluster.client.hget(KEYS.ejected, bad) or b"")
    assert told is not None

    def failed_probes() -> int:
        now = records.parse_ejection(cluster.client.hget(KEYS.ejected, bad) or b"")
        return now.times - told.times if now else 0

    # The only requests that reach it are probes, one for the fleet at a time: each fails, and it is out for longer.
    asked = broken.asked
    statuses = cluster.ask(20)
    assert statuses.count(500) == broken.asked - asked
    eventually(lambda: cluster.ask() and failed_probes(), "a probe fails")
    eventually(lambda: failed_probes() == broken.asked - asked, "no other request has come")
    broken.answer = OK
    eventually(lambda: cluster.ask() and cluster.all_agree(lambda states: not states[bad]["ejected"]), "it is back")
    assert set(cluster.ask(20)) == {200}


@pytest.mark.thorough
def test_a_backend_with_few_errors_stays(cluster: EjectionCluster) -> None:
    class Seldom(Moody):
        def play(self, peer: Peer) -> None:
            while peer.read_head():
                self.asked += 1
                peer.send(BROKEN if self.asked % 4 == 0 else OK)

    seldom = Seldom()
    with ScriptedBackend(seldom.play) as house:
        settings = {
            **SETTINGS,
            "redis_url": cluster.redis_url,
            "backends": f"{house.url},http://127.0.0.1:{free_port()}",
        }
        with Gunicorn(namespace="seldom", **settings) as balancer:
            statuses = [get(balancer.port).status for _ in range(200)]
            assert statuses.count(500) >= 20
            assert not balancer.health()[1]["pools"]["default"]["states"][f"127.0.0.1:{house.port}"]["ejected"]


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
@pytest.mark.sampled(2)
@pytest.mark.long
def test_without_a_store_each_worker_ejects_by_itself(cluster: EjectionCluster, trouble: str) -> None:
    broken, bad = cluster.moods[1], cluster.ids[1]
    if trouble == "killed":
        cluster.store.kill()
    else:
        cluster.store.signal(signal.SIGSTOP)
    broken.answer = BROKEN
    eventually(
        lambda: cluster.ask(5) and cluster.all_agree(lambda states: states[bad]["ejected"]), "all have ejected it"
    )
    broken.answer = OK
    if trouble == "frozen":
        cluster.store.signal(signal.SIGCONT)

        def all_joined() -> bool:
            return all(balancer.health()[1]["status"] == "ok" for _ in range(10) for balancer in cluster.balancers)

        eventually(all_joined, "all have joined again")
        eventually(
            lambda: cluster.all_agree(lambda states: not states[bad]["ejected"]), "the fleet knows nothing of it"
        )


@pytest.mark.thorough
def test_an_emptied_store_costs_no_request_and_what_still_fails_is_ejected_again(cluster: EjectionCluster) -> None:
    broken, bad = cluster.moods[0], cluster.ids[0]
    broken.answer = BROKEN
    eventually(lambda: cluster.ask() and cluster.all_agree(lambda states: states[bad]["ejected"]), "it is out")
    cluster.client.flushall()
    eventually(lambda: cluster.ask() and cluster.client.hexists(KEYS.ejected, bad), "it is out again")
    broken.answer = OK
    assert cluster.ask(20).count(500) <= 1


@pytest.mark.long
def test_requests_in_flight_are_summed_over_the_fleet_and_those_of_a_killed_worker_vanish(
    cluster: EjectionCluster,
) -> None:
    held, name = cluster.moods[2], cluster.ids[2]
    held.hold = True
    with ExitStack() as running:
        for balancer in cluster.balancers:
            for _ in range(6):
                client = running.enter_context(RawClient(balancer.port))
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: held.holding == 4, "a third of them is held")
        eventually(lambda: cluster.all_agree(lambda states: states[name]["in_flight"] == 4), "all know of four")
        for pid in cluster.balancers[0].workers():
            os.kill(pid, signal.SIGKILL)
        others = cluster.balancers[1]

        def left() -> int:
            return others.health()[1]["pools"]["default"]["states"][name]["in_flight"]

        eventually(lambda: 0 < held.holding < 4, "the backend sees them go")
        eventually(lambda: left() == held.holding, "they are in flight no more")


@pytest.mark.parametrize("policy", ["reject", "fail_open"])
@pytest.mark.sampled(2, 1)
def test_when_checks_find_all_down_the_pool_does_as_it_was_told(redis_url: str, policy: str) -> None:
    dead = [free_port() for _ in range(2)]
    backends = ",".join(f"http://127.0.0.1:{port}" for port in dead)
    settings = {"redis_url": redis_url, "namespace": policy, "backends": backends, "health__interval": 0.2}
    with (
        start_checker(health__fall=1, **settings),
        Gunicorn(workers=1, when_all_down=policy, **settings) as balancer,
    ):
        eventually(lambda: set(balancer.healths().values()) == {"down"}, "all are found down")
        code, document = balancer.health()
        status = get(balancer.port).status
        if policy == "reject":
            assert (code, document["status"], status) == (503, "down", 503)
        else:
            assert (code, document["status"], status) == (200, "failing_open", 502)
            assert balancer.health()[1]["pools"]["default"]["times_failing_open"] == 1
            eventually(lambda: balancer.output.count("failing open") == 1, "it is logged")
