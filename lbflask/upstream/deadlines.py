"""Ends waits that last too long.

A timer for every wait would cost more than most waits do. Instead a connection records the deadline of its wait, and a
sweep over all connections, a few times a second, shuts down the sockets whose deadline has passed, which wakes the
waiting thread or greenlet. Time-outs are therefore late by up to `SWEEP_INTERVAL`, and never early.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final, Protocol

from lbflask.background import BackgroundTask
from lbflask.upstream.shortage import NoThread

#: Seconds between two sweeps.
SWEEP_INTERVAL: Final = 0.1


class Deadlined(Protocol):
    """An object whose waits have deadlines."""

    def check_deadline(self, now: float) -> None:
        """End a wait whose deadline is not after `now`, in seconds of the monotonic clock. Called by the sweeper."""
        ...


class DeadlineSweeper:
    """Checks deadlines in a thread that starts with the first watched object, and again in a forked process."""

    def __init__(self) -> None:
        self._watched: set[Deadlined] = set()
        self._task = BackgroundTask("watchdog", self._sweep, every=SWEEP_INTERVAL)

    def __repr__(self) -> str:
        return f"<DeadlineSweeper watched={len(self._watched)}>"

    def watch(self, waiter: Deadlined) -> None:
        """Check its deadlines until `forget`. Raises OSError when no thread can be started."""
        if self._task.pid != os.getpid():
            self._start()
        self._watched.add(waiter)

    def forget(self, waiter: Deadlined) -> None:
        """Check its deadlines no longer."""
        self._watched.discard(waiter)

    def _start(self) -> None:
        try:
            self._task.start()
        except RuntimeError as error:
            raise NoThread(errno.EAGAIN, str(error)) from None

    def _sweep(self) -> None:
        now = time.monotonic()
        for waiter in tuple(self._watched):
            try:
                waiter.check_deadline(now)
            except Exception:
                self._watched.discard(waiter)  # else it would end every sweep before the waiters behind it
                raise


#: The sweeper of this process.
SWEEPER: Final = DeadlineSweeper()
