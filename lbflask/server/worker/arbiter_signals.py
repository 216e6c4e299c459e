"""SIGHUP at gunicorn's master, and how it sends word to its workers.

gunicorn answers SIGHUP with new workers. Here somebody else is asked first, who may do without them. Word is sent by
SIGURG: a worker that has just been forked ignores it, as the system does by default, where most signals would end it.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from typing import Any

NOTIFICATION = signal.SIGURG


class BadSettings(Exception):
    """gunicorn's own configuration can't be read; it has told why on standard error."""


def on_hang_up(arbiter: Any, reload: Callable[[], bool]) -> None:
    """At SIGHUP, call `reload`; if it returns False, gunicorn does as it always does."""
    gunicorns = arbiter.handle_hup

    def handle_hup() -> None:
        if not reload():
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
        raise BadSettings("gunicorn's configuration can't be read; it has told why on standard error") from None
    return {
        name
        for name, setting in reader.cfg.settings.items()
        if name not in before.settings or not _same(before.settings[name].get(), setting.get())
    }


def notify_workers(arbiter: Any) -> None:
    """Tell all workers that there is something new; those that start look by themselves."""
    arbiter.kill_workers(NOTIFICATION)


def on_notification(act: Callable[[], None]) -> None:
    """In a worker: call this when the master sends word, in a signal handler."""
    signal.signal(NOTIFICATION, lambda _signal, _frame: act())
    signal.siginterrupt(NOTIFICATION, False)
    # gunicorn has each signal written into a pipe, and this kind of worker never reads it.
    pipe = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)


def _same(before: Any, after: Any) -> bool:
    """Functions of a file that is run again are other objects each time; they are the same if their code is."""
    codes = [getattr(value, "__code__", None) for value in (before, after)]
    return bool(before == after) or (codes[0] is not None and codes[0] == codes[1])
