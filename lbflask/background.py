"""Background threads that are restarted after an error, visible in `/health`.

Without the restart, an error would end a part of the balancer unnoticed. Each type of error is logged once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

#: Seconds until the restart after an error: the first, doubled for each further error up to the second.
PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: Seconds without an error after which the pause is the shortest again.
CALM = 60.0

log = logging.getLogger("lbflask")


class Restarts:
    """Counts the errors of a task and determines the pause after each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pause = PAUSE
        self._logged: set[str] = set()
        self.count = 0
        self.error = ""
        self.at = float("-inf")

    def failed(self, error: Exception) -> float:
        """Record an error; the first one of its type is logged. Returns the seconds until the restart."""
        now = time.monotonic()
        self._pause = PAUSE if now - self.at > CALM else min(LONGEST_PAUSE, 2 * self._pause)
        self.at, self.count = now, self.count + 1
        self.error = f"{type(error).__name__}: {error}"[:500]
        if type(error).__name__ not in self._logged:
            self._logged.add(type(error).__name__)
            log.error("%s failed, and is restarted: %s", self._name, self.error, exc_info=error)
        return self._pause


class TaskStatus(NamedTuple):
    """A task of this process, for operators. `failed_ago` is the seconds since the latest `error`, None without any."""

    name: str
    running: bool
    restarts: int
    error: str
    failed_ago: float | None


class BackgroundTask:
    """A thread that calls `work` once, or `every` so many seconds.

    `start` may be called at any time; in a forked process it starts a new thread. A call that lasts must return when
    `stopping` is set.
    """

    def __init__(self, name: str, work: Callable[[], object], *, every: float | None = None) -> None:
        self.name = name
        #: The process in which the task was started; 0 for none.
        self.pid = 0
        self.stopping = threading.Event()
        self._work = work
        self._every = every
        self._restarts = Restarts(name)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        _tasks.add(self)

    def start(self) -> None:
        """Start, unless it runs in this process. Raises RuntimeError when the system grants no thread."""
        with self._starting:
            if self.running:
                return
            self.pid, self.stopping = os.getpid(), threading.Event()
            thread = threading.Thread(target=self._run, args=(self.stopping,), name=self.name, daemon=True)
            self._thread = thread
        try:
            thread.start()  # not under the lock: under gevent it switches to other greenlets
        except RuntimeError:
            self.pid, self._thread = 0, None
            raise

    def stop(self, within: float = 0.0) -> None:
        """Stop, and wait up to `within` seconds for the present call to return. The task may be started again."""
        self.stopping.set()
        thread = self._thread
        if within and thread is not None and self.running and thread is not threading.current_thread():
            thread.join(within)
        self.pid = 0

    @property
    def running(self) -> bool:
        """Whether its thread runs in this process, or is being started."""
        thread = self._thread
        return self.pid == os.getpid() and thread is not None and (thread.ident is None or thread.is_alive())

    @property
    def status(self) -> TaskStatus:
        """Its state, for `/health`."""
        restarts = self._restarts
        ago = round(time.monotonic() - restarts.at, 3) if restarts.count else None
        return TaskStatus(self.name, self.running, restarts.count, restarts.error, ago)

    def __repr__(self) -> str:
        return f"<BackgroundTask {self.name} running={self.running} restarts={self._restarts.count}>"

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                if self._every is None:
                    self._work()
                    return
                while not stopping.wait(self._every):
                    self._work()
            except Exception as error:  # noqa: BLE001 - the task must survive any error
                stopping.wait(self._restarts.failed(error))


_tasks: weakref.WeakSet[BackgroundTask] = weakref.WeakSet()


def statuses() -> list[TaskStatus]:
    """The tasks that this process has started and not stopped, by name."""
    pid = os.getpid()
    return sorted(task.status for task in tuple(_tasks) if task.pid == pid)
