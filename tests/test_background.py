"""Work in the background: it outlives its errors, and says that it had some."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask import background
from lbflask.background import BackgroundTask, TaskStatus


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PAUSE", 0.001)
    monkeypatch.setattr(background, "LONGEST_PAUSE", 0.01)


@pytest.fixture
def started() -> Iterator[Callable[..., BackgroundTask]]:
    tasks = []

    def start(*arguments: object, **options: object) -> BackgroundTask:
        task = BackgroundTask(*arguments, **options)  # type: ignore[arg-type]
        tasks.append(task)
        task.start()
        return task

    yield start
    for task in tasks:
        task.stop(within=PATIENCE)


class Breaking:
    """Work that fails the first times."""

    def __init__(self, times: int = 3) -> None:
        self.left = times
        self.done = 0

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise ValueError(f"{self.left} left")
        self.done += 1


def test_it_begins_again_until_it_is_done(started: Callable[..., BackgroundTask]) -> None:
    work = Breaking()
    task = started("work", work)
    eventually(lambda: work.done, "it is done")
    eventually(lambda: not task.running, "its thread has ended")
    assert work.done == 1
    assert task.status[:4] == TaskStatus("work", False, 3, "ValueError: 0 left", 0.0)[:4]


def test_what_is_to_be_done_again_and_again_goes_on(started: Callable[..., BackgroundTask]) -> None:
    work = Breaking()
    task = started("work", work, every=0.001)
    eventually(lambda: work.done > 3, "it goes on")
    assert task.running
    assert task.status.restarts == 3


def test_an_error_is_logged_once(started: Callable[..., BackgroundTask], caplog: pytest.LogCaptureFixture) -> None:
    work = Breaking(20)
    with caplog.at_level(logging.ERROR):
        started("work", work)
        eventually(lambda: work.done, "it is done")
    assert [record.getMessage() for record in caplog.records] == ["work failed, and is restarted: ValueError: 19 left"]


def test_it_is_started_once_and_again_after_it_was_stopped(started: Callable[..., BackgroundTask]) -> None:
    begun: list[str] = []

    def work() -> None:
        begun.append(threading.current_thread().name)
        assert task.stopping.wait(PATIENCE)

    task = BackgroundTask("work", work)
    for _ in range(5):
        task.start()
    eventually(lambda: begun == ["work"], "it has begun")
    task.stop(within=PATIENCE)
    task.start()
    eventually(lambda: begun == ["work"] * 2, "it has begun again")
    task.stop(within=PATIENCE)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_none_and_may_start_it(started: Callable[..., BackgroundTask]) -> None:
    task = started("work", lambda: None, every=1)
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            before = task.running, background.statuses()
            task.start()
            code = 0 if before == (False, []) and task.running else 2
        finally:
            os.write(writes, bytes([code]))
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 1) == b"\0"
    assert task.running


def test_those_that_run_are_told(started: Callable[..., BackgroundTask]) -> None:
    task = started("some work", lambda: None, every=1)
    assert "some work" in {status.name for status in background.statuses()}
    task.stop(within=PATIENCE)
    assert "some work" not in {status.name for status in background.statuses()}
    del task
    gc.collect()
