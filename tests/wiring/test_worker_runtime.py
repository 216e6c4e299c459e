"""Each of a worker's tasks in the background outlives an error that nobody foresaw, and shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask import background
from lbflask.background import TaskStatus
from lbflask.config.schema import Config
from lbflask.core import reserves
from lbflask.core.model import Backend
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_renewer import Slots
from lbflask.hooks.runner import QueuedHook
from lbflask.server.config_handover import SharedConfig
from lbflask.server.reload import ConfigFollower
from lbflask.store.memory import MemoryStore
from lbflask.telemetry.event_queue import EventQueue
from lbflask.upstream.deadlines import DeadlineSweeper
from lbflask.wiring.worker_runtime import WorkerRuntime
from tests.fleet.stores import FlakyStore

POOL = "web"


class Failing:
    """Stands before a function and fails the first times."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.left = 2
        self.done = 0

    def __call__(self, *arguments: object, **named: object) -> object:
        if self.left:
            self.left -= 1
            raise RuntimeError("unforeseen")
        self.done += 1
        return self.function(*arguments, **named)


def status_of(name: str) -> TaskStatus | None:
    """The status of the task of this name that has failed most: others of the name may run for other tests."""
    named = [status for status in background.statuses() if status.name == name]
    return max(named, key=lambda status: status.restarts, default=None)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PAUSE", 0.001)


@contextmanager
def _fleet(method: str) -> Iterator[Failing]:
    store = FlakyStore(MemoryStore(time.time))
    fleet = Fleet(store, [POOL])
    fleet.start()
    failing = Failing(getattr(store, method))
    setattr(store, method, failing)
    try:
        yield failing
    finally:
        setattr(store, method, failing.function)
        fleet.stop()


@contextmanager
def teller() -> Iterator[Failing]:
    with _fleet("beat") as failing:
        yield failing


@contextmanager
def slot_follower() -> Iterator[Failing]:
    slots = Slots(Fleet(MemoryStore(time.time), [POOL]))
    of_pool = slots.of(POOL)
    failing = Failing(of_pool._clock)
    try:
        of_pool.take(Backend("a", "a", 80, "http://a:80", max_connections=1))
        of_pool._clock = failing
        yield failing
    finally:
        slots.stop()


class FailingLock:
    """A lock, by the functions that acquire and release it."""

    def __init__(self, acquire: Callable[[], object], release: Callable[[], object]) -> None:
        self._acquire = acquire
        self._release = release

    def __enter__(self) -> None:
        self._acquire()

    def __exit__(self, *_: object) -> None:
        self._release()


@contextmanager
def journal() -> Iterator[Failing]:
    one = EventQueue([])
    failing = Failing(one._lock.acquire)
    one._lock = FailingLock(failing, one._lock.release)  # type: ignore[assignment]
    one.start()
    try:
        yield failing
    finally:
        one.stop()


@contextmanager
def watchdog() -> Iterator[Failing]:
    class Waiting:
        def __init__(self) -> None:
            self.check_deadline = Failing(lambda now: None)

    watchdog, broken, sound = DeadlineSweeper(), Waiting(), Waiting()
    sound.check_deadline.left = 0
    watchdog.watch(broken)
    watchdog.watch(sound)
    eventually(lambda: broken.check_deadline.left < 2, "it was looked at")
    try:
        yield sound.check_deadline
    finally:
        watchdog._task.stop(within=PATIENCE)


@contextmanager
def hook() -> Iterator[Failing]:
    later = QueuedHook("x", "response", lambda what: None)
    failing = Failing(later._wake.clear)
    later._wake.clear = failing  # type: ignore[method-assign,assignment]
    later("event")
    try:
        yield failing
    finally:
        later.stop()


@contextmanager
def reload() -> Iterator[Failing]:
    handover = SharedConfig()
    follower = ConfigFollower(handover, apply_config=lambda config: None, announce_config=lambda: None)
    failing = Failing(follower.worker_apply)
    follower.worker_apply = failing  # type: ignore[method-assign,assignment]
    try:
        for _ in range(3):
            follower._notified.set()
            eventually(lambda: not follower._notified.is_set(), "the notification was handled")
        yield failing
    finally:
        follower._task.stopping.set()
        follower._notified.set()
        follower._task.stop()


@contextmanager
def sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    monkeypatch.setattr("lbflask.wiring.worker_runtime.SWEEP_INTERVAL", 0.001)
    balancer = WorkerRuntime(Config.model_validate({"backends": ["http://127.0.0.1:9"], "admin_bind": ""}))
    connections = balancer._connections
    failing = Failing(connections.sweep)
    balancer._connections = SimpleNamespace(sweep=failing, idle=0, close=connections.close)  # type: ignore[assignment]
    balancer._sweeper.start()
    try:
        yield failing
    finally:
        balancer._sweeper.stop(within=PATIENCE)


TASKS: dict[str, Callable[[], object]] = {
    "fleet-reporter": teller,
    "slot-follower": slot_follower,
    "journal": journal,
    "watchdog": watchdog,
    "hook x": hook,
    "reload": reload,
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_outlives_an_error_and_shows_it(name: str) -> None:
    with TASKS[name]() as failing:  # type: ignore[attr-defined]
        eventually(lambda: failing.done, "it goes on")
        status = status_of(name)
        assert status is not None
        assert status.running
        assert status.restarts >= 1
        assert status.error == "RuntimeError: unforeseen"


def test_the_sweeping_of_connections_outlives_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with sweep(monkeypatch) as failing:
        eventually(lambda: failing.done, "it goes on")
        status = status_of("idle-connections")
        assert status is not None
        assert (status.running, status.restarts) == (True, 2)


def test_the_follower_of_the_fleet_outlives_an_error() -> None:
    store = FlakyStore(MemoryStore(time.time))
    failing = Failing(store.watch_changes)
    store.watch_changes = failing  # type: ignore[method-assign,assignment]
    fleet = Fleet(store, [POOL])
    fleet.start()
    try:
        eventually(lambda: failing.done, "it goes on")
        status = status_of("fleet-follower")
        assert status is not None
        assert (status.running, status.restarts, status.error) == (True, 2, "RuntimeError: unforeseen")
    finally:
        fleet.stop()


def test_what_a_worker_runs_out_of_and_its_settings_reach_the_fleet(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserves, "SCARCE_SHARE", 2.0)
    monkeypatch.setattr(reserves, "SCARCE_BYTES", 1 << 62)
    log = tmp_path / "access.log"
    settings = {"backends": ["http://127.0.0.1:9"], "redis_url": redis_url, "namespace": "reserves"}
    admin = {"lbflask.admin": True}
    runtime = WorkerRuntime(Config.model_validate({**settings, "access_log": str(log), "instance": "one"}))
    client = runtime.app.test_client()

    def instance() -> dict[str, Any]:
        found = client.get("/api/v1/instances", environ_overrides=admin).json["instances"]
        return next((one for one in found if one["workers"]), {})

    runtime.start()
    try:
        eventually(lambda: instance().get("nearly_full"), "the worker reports")
        assert [one["path"] for one in instance()["nearly_full"] if one["use"] == "log"] == [str(log)]
        (version,) = instance()["config"]
        published = client.get(f"/api/v1/configurations/{version}", environ_overrides=admin)
        assert published.json["settings"]["access_log"] == str(log)
    finally:
        runtime.stop()
