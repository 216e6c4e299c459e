"""`lbflask serve`: gunicorn with lbflask's settings, and on request the checker beside it.

Without the checker this process becomes gunicorn. With it, this process starts both, and forwards signals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence

import click

from lbflask import processes

#: Signals that gunicorn gets, in addition to those that end both. The checker gets SIGHUP, too.
_FORWARDED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: Seconds until a checker that has ended is started again: doubled with each end, up to the maximum.
RESTART_DELAY, MAX_RESTART_DELAY = 1.0, 30.0
#: Seconds after which a checker that runs counts as healthy, so that the delay is the first one again.
HEALTHY = 60.0
_POLL = 0.1


def serve(options: Sequence[str], environ: Mapping[str, str], *, with_checker: bool) -> int:
    """Run gunicorn with these options. Returns its exit code, as a shell does for one that a signal has ended."""
    command = processes.balancer(options)
    if not with_checker:
        os.execve(command[0], command, environ)  # noqa: S606 - our own
    return _Pair(command, environ).run()


class _Pair:
    """The balancer and its checker, which is restarted whenever it ends, until the balancer ends."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._is_ending = False
        self._delay, self._restart_at = RESTART_DELAY, 0.0
        self._received: deque[int] = deque()
        for number in (*_ENDING, *_FORWARDED, signal.SIGUSR2):
            signal.signal(number, lambda number, _: self._received.append(number))
        self._balancer = processes.start(command, environ)
        self._checker = self._start_checker()

    def run(self) -> int:
        """Wait for the balancer; returns its exit code."""
        while True:
            try:
                code = self._balancer.wait(_POLL)
            except subprocess.TimeoutExpired:
                while self._received:
                    self._handle(self._received.popleft())
                self._keep_checker()
            else:
                processes.stop(self._checker)
                return code if code >= 0 else 128 - code

    def _start_checker(self) -> subprocess.Popen[bytes]:
        self._started_at = time.monotonic()
        return processes.start(processes.CHECKER, self._environ)

    def _keep_checker(self) -> None:
        """Start the checker again if it has ended, after a delay."""
        code = self._checker.poll()
        if code is None or self._is_ending:
            return
        now = time.monotonic()
        if not self._restart_at:
            self._delay = RESTART_DELAY if now - self._started_at > HEALTHY else self._delay
            message = f"lbflask: the checker ended with exit code {code}; it is started again in {self._delay:g} s"
            click.echo(message, err=True)
            self._restart_at, self._delay = now + self._delay, min(2 * self._delay, MAX_RESTART_DELAY)
        elif now >= self._restart_at:
            self._restart_at = 0.0
            self._checker = self._start_checker()

    def _handle(self, number: int) -> None:
        """Forward a signal. One that ends reaches the checker first, and a second one the balancer only."""
        if number == signal.SIGUSR2:  # a gunicorn that replaces itself leaves its parent, which could not end it then
            click.echo("lbflask: SIGUSR2 needs `lbflask serve` without --with-checker", err=True)
            return
        if number in _ENDING and not self._is_ending:
            self._is_ending = True
            self._checker.terminate()
        elif number == signal.SIGHUP:
            self._checker.send_signal(number)
        self._balancer.send_signal(number)
