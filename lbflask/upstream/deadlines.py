"""Ends waits that last too long.

A timer for every wait would cost more than most waits do. Instead a connection notes until when its wait may last, and
one look at all of them a few times a second ends those that have lasted too long, by shutting the socket down, which
wakes the waiting thread or greenlet. Time-outs are therefore late by up to `LOOK_EVERY`, and never early.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Protocol

from lbflask.background import BackgroundTask
from lbflask.upstream.shortage import NoThread

#: Seconds between two looks.
LOOK_EVERY = 0.1


class Deadlined(Protocol):
    """Something that waits."""

    def look(self, now: float) -> None:
        """End, from outside, a wait that has lasted too long at `now` seconds of the steady clock."""
        ...


class DeadlineSweeper:
    """Watches over waits, in a thread that begins with the first of them, and anew in a forked process."""

    def __init__(self) -> None:
        self._watched: set[Deadlined] = set()
        self._task = BackgroundTask("watchdog", self._look, every=LOOK_EVERY)

    def watch(self, waiting: Deadlined) -> None:
        """Watch over it from now on. Raises OSError when no thread can begin to."""
        if self._task.pid != os.getpid():
            self._start()
        self._watched.add(waiting)

    def forget(self, waiting: Deadlined) -> None:
        """It will not wait any more."""
        self._watched.discard(waiting)

    def _start(self) -> None:
        try:
            self._task.start()
        except RuntimeError as error:
            raise NoThread(errno.EAGAIN, str(error)) from None

    def _look(self) -> None:
        now = time.monotonic()
        for waiting in tuple(self._watched):
            try:
                waiting.look(now)
            except Exception:
                self._watched.discard(waiting)  # else it would keep us from all behind it, again and again
                raise


#: One is enough for a process.
WATCHDOG = DeadlineSweeper()
