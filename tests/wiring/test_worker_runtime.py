"""Each of a worker's tasks in the background outlives an error that nobody foresaw, and shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask import background
from lbflask.background import TaskStatus
from lbflask.config.schema import Config
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
    failing = Failing(of_pool.tick)
    of_pool.tick = failing  # type: ignore[method-assign,assignment]
    try:
        of_pool.take(Backend("a", "a", 80, "http://a:80", max_connections=1))
        yield failing
    finally:
        slots.stop()


@contextmanager
def journal() -> Iterator[Failing]:
    one = EventQueue([])
    failing = Failing(one._for_each)
    one._for_each = failing  # type: ignore[method-assign,assignment]
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
    failing = Failing(balancer._connections.sweep)
    balancer._connections.sweep = failing  # type: ignore[method-assign,assignment]
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
