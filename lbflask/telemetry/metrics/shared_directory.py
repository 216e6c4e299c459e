"""The directory that the workers of one instance share for metrics and for the switch of tracing.

It exists from before the first fork until the last worker has ended, in memory (/dev/shm) where the system has that.
The master and the workers hold its lock; an unlocked directory was left by a killed master, and is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lbflask.telemetry.metrics import mmap_values

_PREFIX = "lbflask-metrics-"
_OWNER = "owner"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is created in it


class SharedDirectory:
    """Creates the directory, writable for `user` and `group`. Raises OSError."""

    def __init__(self, user: int, group: int, parent: Path | None = None) -> None:
        parent = parent or (_MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if os.geteuid() == 0 and user:
            os.chown(self.path, user, group)

    def __repr__(self) -> str:
        return f"<SharedDirectory {self.path}>"

    def remove(self) -> None:
        """Remove the directory and release its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError):  # of another user
            if mmap_values.is_dead(left):
                shutil.rmtree(left.parent, ignore_errors=True)
