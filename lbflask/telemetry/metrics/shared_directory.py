"""The directory in which the workers of one gunicorn count, from before the first of them is forked to after the last.

It is in memory where the system has a file system for that. Whoever made it holds its lock, and so do the workers; what
is found unlocked was left behind by a master that was killed, and is removed.
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
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


class SharedDirectory:
    """Made at once, for `user` and `group` to write in. Raises OSError."""

    def __init__(self, user: int, group: int, parent: Path | None = None) -> None:
        parent = parent or (_MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if os.geteuid() == 0 and user:
            os.chown(self.path, user, group)

    def remove(self) -> None:
        """Nobody counts any more."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError):  # another user's
            if mmap_values.is_dead(left):
                shutil.rmtree(left.parent, ignore_errors=True)
