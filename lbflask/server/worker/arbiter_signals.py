"""SIGHUP in gunicorn's master, and the notification of its workers.

gunicorn starts new workers at SIGHUP; `on_hang_up` lets a callback reload without them. Workers are notified by SIGURG,
which the system ignores by default: most other signals would end a worker that has just been forked.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
            with ending_old_workers_late(arbiter), _keeping_pidfile(arbiter):
                gunicorns()

    arbiter.handle_hup = handle_hup


@contextmanager
def _keeping_pidfile(arbiter: Any) -> Iterator[None]:
    """While the old master of an upgrade lives, a reload of the new one leaves the file of its process id alone.

    gunicorn would take the name without `.2`, which the old master has, and exit.
    """
    if not arbiter.master_pid or arbiter.pidfile is None:
        yield
        return
    kept, name = arbiter.pidfile, None

    def setup(app: Any) -> None:
        nonlocal name
        type(arbiter).setup(arbiter, app)
        name = arbiter.cfg.pidfile
        arbiter.cfg.set("pidfile", None)

    arbiter.pidfile, arbiter.setup = None, setup
    try:
        yield
    finally:
        del arbiter.setup
        arbiter.pidfile = kept
        if arbiter.cfg.pidfile is None:
            arbiter.cfg.set("pidfile", name)


def read_settings(arbiter: Any) -> Any:
    """The settings (gunicorn.config.Config) that a reload of gunicorn would have. Nothing takes effect: a copy of
    gunicorn's application object reads them. Raises BadSettings.
    """
    reader = copy.copy(arbiter.app)
    try:
        reader.do_load_config()
    except SystemExit:
        raise BadSettings("gunicorn's configuration can't be read; the reason is on standard error") from None
    return reader.cfg


def changed_settings(arbiter: Any) -> set[str]:
    """The names of gunicorn's settings, from whatever source, that have changed since its workers started.

    Raises BadSettings.
    """
    before, after = arbiter.app.cfg, read_settings(arbiter)
    return {
        name
        for name, setting in after.settings.items()
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
