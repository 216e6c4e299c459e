"""The end of gunicorn's master: at once, or with a delay in which its workers serve on."""

from __future__ import annotations

import logging
import mmap
import os
import signal
from collections.abc import Callable
from typing import Any

from gunicorn import systemd

log = logging.getLogger("gunicorn.error")


class ShutdownNotice:
    """Whether the master is about to end, in memory that forked processes share: workers of every kind can read it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def __repr__(self) -> str:
        return f"<ShutdownNotice given={self.is_given}>"

    @property
    def is_given(self) -> bool:
        """Whether it was given."""
        return self._memory[0] != 0

    def give(self) -> None:
        """Give it, in the master."""
        self._memory[0] = 1


class Termination:
    """SIGTERM and SIGINT to the master, from its construction on.

    At SIGTERM `notice` is given, and the graceful stop begins `delay()` seconds later. The first SIGINT (Ctrl-C) begins
    it at once, the second is gunicorn's quick shutdown. A master whose listeners another one serves too, in an upgrade
    by SIGUSR2, never delays: the health of both has the same address.
    """

    def __init__(self, arbiter: Any, notice: ShutdownNotice, delay: Callable[[], float]) -> None:
        self._arbiter = arbiter
        self._notice = notice
        self._delay = delay
        self._at_once = False
        self._stop = arbiter.handle_term
        arbiter.handle_term = self._on_term
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGALRM, self._on_alarm)

    def __repr__(self) -> str:
        return f"<Termination at_once={self._at_once} {self._notice!r}>"

    def _on_term(self) -> None:
        """In the main loop of the master, for SIGTERM and at the end of the delay."""
        arbiter, delay = self._arbiter, self._delay()
        if arbiter.reexec_pid:
            # systemd otherwise ends the service, and the new master, with the process that it started (sd_notify(3)).
            systemd.sd_notify(f"MAINPID={arbiter.reexec_pid}", arbiter.log)
        shares_listeners = arbiter.reexec_pid or (arbiter.master_pid and arbiter.master_pid == os.getppid())
        if self._at_once or shares_listeners or delay <= 0:
            self._stop()
        if not self._notice.is_given:
            self._notice.give()
            arbiter.handle_hup = lambda: log.warning("SIGHUP is ignored: gunicorn is about to end")
            log.info("/health responds 503 from now on; requests are accepted for %g s more", delay)
            signal.setitimer(signal.ITIMER_REAL, delay)

    def _on_interrupt(self, _signal: int, _frame: Any) -> None:
        signal.signal(signal.SIGINT, self._arbiter.signal)
        self._begin()

    def _on_alarm(self, _signal: int, _frame: Any) -> None:
        self._begin()

    def _begin(self) -> None:
        self._at_once = True
        self._arbiter.SIG_QUEUE.put_nowait(signal.SIGTERM)
