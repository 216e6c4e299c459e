"""The configuration as gunicorn's master hands it to its workers: the very values that it has checked, not the file.

A file may have changed again, or be half written, when a worker looks; so what all of them take over is kept in memory
that forked processes share. Beside it stands how the latest reload ended.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome


class SharedConfig:
    """Made by the master before it forks; it writes, its workers read."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("lbflask-configuration")
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())

    def write(self, outcome: ReloadOutcome, config: Config) -> None:
        """Hand on a configuration, and tell how the reload ended that brought it."""
        record = pickle.dumps((outcome, config))
        with _locked(self._fd, fcntl.LOCK_EX):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, record, 0)

    def read(self) -> tuple[ReloadOutcome, Config] | None:
        """How the latest reload ended, and the configuration to take over; None before the first one."""
        with _locked(self._fd, fcntl.LOCK_SH):
            record = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if not record:
            return None
        found: tuple[ReloadOutcome, Config] = pickle.loads(record)  # noqa: S301 - from our own master, by the same code
        return found

    def close(self) -> None:
        """Let go of the memory in this process."""
        os.close(self._fd)


@contextmanager
def _locked(fd: int, how: int) -> Iterator[None]:
    """Alone with the file among processes. Whoever holds the lock waits for nobody."""
    fcntl.lockf(fd, how)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)
