"""Schedules the checks of a pool: each backend at its interval, ten thousand of them on one event loop.

One loop serves all backends, and only a check in progress has a task. A backend is never checked twice at once. Few
checks start in one turn of the event loop, so that responses are read while other checks start: an overloaded checker
is late, but does not report its delay as failures of backends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from lbflask.checker.due_queue import DueQueue
from lbflask.core.model import Backend

#: Checks that start in one turn of the event loop.
MAX_STARTS_PER_TURN = 32

log = logging.getLogger("lbflask.checker")

Check = Callable[[Backend, float], Coroutine[Any, Any, float]]


class LagMonitor:
    """Logs when the checks of a pool fall behind their `interval` (seconds), since failures are then noticed late."""

    def __init__(self, pool: str, interval: float) -> None:
        self._pool = pool
        self._interval = interval
        self._behind = False

    def observe(self, delay: float) -> None:
        """Take the delay of one check into account. The beginning and the end of a lag are logged once each."""
        if delay > self._interval and not self._behind:
            self._behind = True
            log.warning(
                "pool %s: checks are %.1f s late, so failures are noticed later: raise health.interval, or give the "
                "checker a faster machine", self._pool, delay,
            )  # fmt: skip
        elif self._behind and delay < self._interval / 10:
            self._behind = False
            log.info("pool %s: checks are on time again", self._pool)


class ProbeScheduler:
    """Runs `check` for each backend at once, and then whenever it is due; at most `limit` at a time.

    `check` gets the backend and its delay in seconds, and returns the seconds from its start to the next check.
    """

    def __init__(self, backends: Iterable[Backend], check: Check, *, limit: int) -> None:
        self._backends = {backend.id: backend for backend in backends}
        self._check = check
        self._limit = limit
        self._due = DueQueue()
        self._in_progress: set[str] = set()
        self._repeat: set[str] = set()
        self._unchecked = set(self._backends)
        self._wake = asyncio.Event()
        self._stopping = False
        #: Set when each backend was checked once, or when no more checks follow.
        self.first_round_ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ProbeScheduler: {len(self._backends)} backends, {len(self._in_progress)} checks in progress>"

    @property
    def first_round_complete(self) -> bool:
        """Whether each backend was checked."""
        return not self._unchecked

    async def run(self) -> None:
        """Check until stopped, and wait for checks in progress. Raises what a check raises."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for name in self._backends:
            self._due.put(name, now)
        if not self._backends:
            self.first_round_ended.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                while not self._stopping:
                    self._start_due(tasks, loop.time())
                    await self._wait_for_event(loop)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self.first_round_ended.set()

    def stop(self) -> None:
        """Start no more checks; `run` ends with those in progress."""
        self._stopping = True
        self._wake.set()

    def add(self, backend: Backend) -> None:
        """Check this backend from now on; it replaces one with the same id."""
        self._backends[backend.id] = backend
        self.expedite(backend.id)

    def discard(self, name: str) -> None:
        """Check this backend no more; a check in progress goes on."""
        self._backends.pop(name, None)
        self._due.discard(name)
        self._repeat.discard(name)
        self._mark_checked(name)

    def expedite(self, name: str) -> None:
        """Check the backend now, or once more after a check in progress."""
        if name in self._in_progress:
            self._repeat.add(name)
        elif name in self._backends:
            self._due.put(name, asyncio.get_running_loop().time())
            self._wake.set()

    def _start_due(self, tasks: asyncio.TaskGroup, now: float) -> None:
        for _ in range(min(MAX_STARTS_PER_TURN, self._limit - len(self._in_progress))):
            entry = self._due.pop_due(now)
            if entry is None:
                return
            name, delay = entry
            self._in_progress.add(name)
            check = tasks.create_task(self._check(self._backends[name], delay))
            check.add_done_callback(partial(self._finish, name, now))

    def _finish(self, name: str, started: float, task: asyncio.Future[float]) -> None:
        """A check is in progress until this call: the loop may run after its return, and must not start another."""
        self._in_progress.remove(name)
        repeat = name in self._repeat
        self._repeat.discard(name)
        if not task.cancelled() and task.exception() is None and name in self._backends:
            now = asyncio.get_running_loop().time()
            self._due.put(name, now if repeat else max(now, started + task.result()))
        self._mark_checked(name)
        self._wake.set()

    def _mark_checked(self, name: str) -> None:
        self._unchecked.discard(name)
        if not self._unchecked:
            self.first_round_ended.set()

    async def _wait_for_event(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until a check ends or is due, or a method of this object wakes the loop."""
        due = self._due.next_due()
        full = len(self._in_progress) >= self._limit
        timer = None if due is None or full else loop.call_at(due, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._wake.clear()
