"""SIGHUP in gunicorn's master, and the notification of its workers.

gunicorn starts new workers at SIGHUP; `on_hang_up` lets a callback reload without them. Workers are notified by SIGURG,
which the system ignores by default: most other signals would end a worker that has just been forked.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from typing import Any

from lbflask.server.worker.arbiter_startup import ending_old_workers_late

NOTIFICATION = signal.SIGURG


class BadSettings(Exception):
    """gunicorn's own configuration cannot be read; gunicorn has printed the reason on standard error."""


def on_hang_up(arbiter: Any, reload: Callable[[], bool]) -> None:
    """Call `reload` at SIGHUP. If it returns False, gunicorn starts new workers as usual."""
    gunicorns = arbiter.handle_hup

    def handle_hup() -> None:
        if not reload():
            with ending_old_workers_late(arbiter):
                gunicorns()

    arbiter.handle_hup = handle_hup


def changed_settings(arbiter: Any) -> set[str]:
    """The names of gunicorn's settings, from whatever source, that have changed since its workers started.

    Nothing takes effect: a copy of gunicorn's application object reads them. Raises BadSettings.
    """
    before, reader = arbiter.app.cfg, copy.copy(arbiter.app)
    try:
        reader.do_load_config()
    except SystemExit:
        raise BadSettings("gunicorn's configuration can't be read; the reason is on standard error") from None
    return {
        name
        for name, setting in reader.cfg.settings.items()
        if name not in before.settings or not _same(before.settings[name].get(), setting.get())
    }


def notify_workers(arbiter: Any) -> None:
    """Notify all workers. A worker that is starting checks by itself for what was published before."""
    arbiter.kill_workers(NOTIFICATION)


def on_notification(act: Callable[[], None]) -> None:
    """In a worker: call `act`, in a signal handler, at each notification."""
    signal.signal(NOTIFICATION, lambda _signal, _frame: act())
    signal.siginterrupt(NOTIFICATION, False)
    # gunicorn has each signal written into a pipe, which this kind of worker never reads.
    pipe = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)


def _same(before: Any, after: Any) -> bool:
    """Whether two values of a setting are equal. Functions of a file that is executed again are compared by code."""
    codes = [getattr(value, "__code__", None) for value in (before, after)]
    return bool(before == after) or (codes[0] is not None and codes[0] == codes[1])
