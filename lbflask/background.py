"""Work in the background that outlives its errors: it begins again after a pause, and operators see that it did.

A thread that ends of an error would end a part of the balancer without a sign. Each kind of error is logged once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

#: Seconds until work begins again after an error: this many at first, twice as many each time, and never more than.
PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: Seconds without an error after which the next one counts as the first.
CALM = 60.0

log = logging.getLogger("lbflask")


class Restarts:
    """The errors of one piece of work, and how long to wait after each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pause = PAUSE
        self._known: set[str] = set()
        self.count = 0
        self.error = ""
        self.at = float("-inf")

    def failed(self, error: Exception) -> float:
        """Note the error, which is logged if there was none like it; seconds to wait before the work begins again."""
        now = time.monotonic()
        self._pause = PAUSE if now - self.at > CALM else min(LONGEST_PAUSE, 2 * self._pause)
        self.at, self.count = now, self.count + 1
        self.error = f"{type(error).__name__}: {error}"[:500]
        if type(error).__name__ not in self._known:
            self._known.add(type(error).__name__)
            log.error("%s failed, and begins again: %s", self._name, self.error, exc_info=error)
        return self._pause


class TaskStatus(NamedTuple):
    """A task of this process, for operators. `error` is the latest, `failed_ago` the seconds since; None for never."""

    name: str
    running: bool
    restarts: int
    error: str
    failed_ago: float | None


class BackgroundTask:
    """Work in a thread of its own: a call that lasts until the work is done, or one `every` so many seconds.

    `start` may be called at any time, and begins anew in a forked process. Work that lasts ends when `stopping` is set.
    """

    def __init__(self, name: str, work: Callable[[], object], *, every: float | None = None) -> None:
        self.name = name
        #: The process in which it was started; 0 for none.
        self.pid = 0
        self.stopping = threading.Event()
        self._work = work
        self._every = every
        self._restarts = Restarts(name)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        _tasks.add(self)

    def start(self) -> None:
        """Begin, unless it runs in this process. Raises RuntimeError when no thread can be had."""
        with self._starting:
            if self.running:
                return
            self.pid, self.stopping = os.getpid(), threading.Event()
            thread = threading.Thread(target=self._run, args=(self.stopping,), name=self.name, daemon=True)
            self._thread = thread
        try:
            thread.start()  # not under the lock: on gevent others have their turn meanwhile
        except RuntimeError:
            self.pid, self._thread = 0, None
            raise

    def stop(self, within: float = 0.0) -> None:
        """Do no more, and wait so many seconds until the last call has ended. It may be started again."""
        self.stopping.set()
        thread = self._thread
        if within and thread is not None and self.running and thread is not threading.current_thread():
            thread.join(within)
        self.pid = 0

    @property
    def running(self) -> bool:
        """Whether its thread lives in this process, or is about to."""
        thread = self._thread
        return self.pid == os.getpid() and thread is not None and (thread.ident is None or thread.is_alive())

    @property
    def status(self) -> TaskStatus:
        """What operators are told of it."""
        restarts = self._restarts
        ago = round(time.monotonic() - restarts.at, 3) if restarts.count else None
        return TaskStatus(self.name, self.running, restarts.count, restarts.error, ago)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                if self._every is None:
                    self._work()
                    return
                while not stopping.wait(self._every):
                    self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the work is to go on
                stopping.wait(self._restarts.failed(error))


_tasks: weakref.WeakSet[BackgroundTask] = weakref.WeakSet()


def statuses() -> list[TaskStatus]:
    """The tasks that this process has started and not stopped, by name."""
    pid = os.getpid()
    return sorted(task.status for task in tuple(_tasks) if task.pid == pid)
