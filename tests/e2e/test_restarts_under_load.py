"""Instances behind another balancer are reloaded, upgraded and stopped under load: no request fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devtools.servers import Gunicorn, get, start_checker, urls
from devtools.traffic import Traffic, traffic
from devtools.wait import eventually
from tests.e2e.test_stock_workers import WORKERS

pytestmark = [pytest.mark.e2e, pytest.mark.early]

#: Requests a second, over kept and over new connections to the balancer in front.
KEPT, NEW = 80, 40
#: Seconds between two checks of the balancer in front; one failed check takes an instance out.
INTERVAL = 0.2
#: Longer than it takes to notice on a busy machine.
SHUTDOWN_DELAY = 5


#: gunicorn's settings of lbflask, with workers that start when a file exists.
_GATED = """
import os
import time

from lbflask.server.gunicorn_hooks import gunicorn_settings

globals().update(gunicorn_settings())


def post_fork(server, worker):
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
"""


class Front:
    """A balancer before two instances, which are before the demo backends, under load."""

    def __init__(self, running: ExitStack, store: str, demos: list[int], work: Path) -> None:
        self.file = work / "lbflask.toml"
        self.write(4000)
        settings = {"redis_url": store, "backends": urls(demos), "config": self.file}
        self.instances = [running.enter_context(Gunicorn(**settings)) for _ in range(2)]
        front = {
            "redis_url": store,
            "namespace": "front",
            "backends": urls(one.port for one in self.instances),
            "health__path": "/health",
            "health__interval": INTERVAL,
            "health__fall": 1,
        }
        self.balancer = running.enter_context(Gunicorn(**front))
        running.enter_context(start_checker(**front))
        eventually(lambda: set(self.balancer.healths().values()) == {"up"}, "both instances are up")
        self.loads: list[Traffic] = [
            running.enter_context(traffic(self.balancer.port, clients=8, rate=KEPT)),
            running.enter_context(traffic(self.balancer.port, clients=4, rate=NEW, keep_alive=False)),
        ]
        self.goes_on()

    def write(self, line: int) -> None:
        """A configuration that only new workers can apply."""
        self.file.write_text(f"limits.line = {line}\ntimeouts.shutdown_delay = {SHUTDOWN_DELAY}\n")

    def goes_on(self) -> None:
        """Wait for more requests, and fail if one has failed."""
        until = [len(load.outcomes) + 50 for load in self.loads]
        eventually(lambda: all(len(load.outcomes) > n for load, n in zip(self.loads, until, strict=True)), "requests")
        assert [failure for load in self.loads for failure in load.failures] == []


@pytest.fixture(scope="module")
def _front(store: str, demos: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with ExitStack() as running:
        front = Front(running, store, demos, tmp_path_factory.mktemp("front"))
        yield front
        for load in front.loads:
            load.stop()
        for process in (front.balancer, *front.instances):
            process.assert_no_traceback()


@pytest.fixture
def front(_front: Front) -> Front:
    _front.goes_on()
    return _front


@pytest.mark.thorough
def test_a_reload_by_new_workers_loses_nothing(front: Front) -> None:
    front.write(5000)
    for instance in front.instances:
        old = instance.workers()
        instance.signal(signal.SIGHUP)
        instance.await_workers(without=old)
        front.goes_on()


@pytest.mark.thorough
def test_an_upgrade_loses_nothing(front: Front) -> None:
    for instance in front.instances:
        old = instance.upgrade()
        front.goes_on()
        os.kill(old, signal.SIGTERM)
        assert instance.wait() == 0
        assert "/health responds 503" not in instance.output, "the other master answers at the same address"
        front.goes_on()
        assert instance.health()[0] == 200


@pytest.mark.long
def test_a_stop_with_a_delay_loses_nothing(front: Front) -> None:
    stopped, left = front.instances
    master = stopped.master
    stopped.signal(signal.SIGTERM)
    eventually(lambda: "down" in front.balancer.healths().values(), "the balancer in front has noticed")
    eventually(lambda: not stopped.running and not Path(f"/proc/{master}").exists(), "the instance has ended")
    front.goes_on()
    assert get(left.port).status == 200


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", WORKERS)
@pytest.mark.thorough
def test_old_workers_serve_until_the_new_ones_do(kind: str, store: str, demos: list[int], tmp_path: Path) -> None:
    """New workers wait for a file before they load the application."""
    gate, settings, file = tmp_path / "gate", tmp_path / "gunicorn.conf.py", tmp_path / "lbflask.toml"
    settings.write_text(_GATED.format(gate=str(gate)))
    file.write_text("limits.line = 4000")
    gate.touch()
    arguments = ("-c", str(settings), *WORKERS[kind])
    with Gunicorn(*arguments, redis_url=store, backends=urls(demos), config=file, workers=1) as balancer:
        old = balancer.workers()
        gate.unlink()
        file.write_text("limits.line = 5000")
        balancer.signal(signal.SIGHUP)
        eventually(lambda: len(balancer.workers()) == 2, "a new worker")
        assert {get(balancer.port).status for _ in range(10)} == {200}
        assert set(old) <= set(balancer.workers())
        gate.touch()
        balancer.await_workers(without=old)
        assert get(balancer.port).status == 200
        assert balancer.stop() == 0
        balancer.assert_no_traceback()
