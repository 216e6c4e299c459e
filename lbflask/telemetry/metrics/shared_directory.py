"""The directory that the workers of one instance share for metrics and for the switch of tracing.

It exists from before the first fork until the last worker has ended, in memory (/dev/shm) where the system has that.
The master and the workers hold its lock; an unlocked directory was left by a killed master, and is removed. The new
master of an upgrade (SIGUSR2) takes part in the directory of the old one: either may answer a scrape, and counters
go on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lbflask.telemetry.metrics import mmap_values

#: Names this process, the descriptor of the lock and the directory, for the master that it may start by SIGUSR2.
VARIABLE = "_LBFLASK_SHARED_DIRECTORY"

_PREFIX = "lbflask-metrics-"
_OWNER = "owner"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is created in it


class SharedDirectory:
    """Creates the directory, writable for `user` and `group`, or takes part in an inherited one. Raises OSError."""

    def __init__(self, user: int, group: int, parent: Path | None = None) -> None:
        inherited = _inherited()
        if inherited is not None:
            self.path, self._lock = inherited
            self._pass_on()
            return
        parent = parent or (_MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if os.geteuid() == 0 and user:
            os.chown(self.path, user, group)
        self._pass_on()

    def __repr__(self) -> str:
        return f"<SharedDirectory {self.path}>"

    def remove(self) -> None:
        """Release the lock of the directory, and remove it unless another master or worker holds that too."""
        os.close(self._lock)
        with suppress(OSError):
            if mmap_values.is_dead(self.path / _OWNER):
                shutil.rmtree(self.path, ignore_errors=True)

    def _pass_on(self) -> None:
        os.set_inheritable(self._lock, True)
        os.environ[VARIABLE] = f"{os.getpid()},{self._lock},{self.path}"


def _inherited() -> tuple[Path, int] | None:
    """The directory and its lock, which the old master of an upgrade has passed on; None without one."""
    try:
        giver, descriptor, path = os.environ.get(VARIABLE, "").split(",", 2)
        lock = int(descriptor)
        if giver != str(os.getpid()) and os.path.samestat(os.fstat(lock), (Path(path) / _OWNER).stat()):
            return Path(path), lock
    except (OSError, ValueError):
        pass
    return None


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError):  # of another user
            if mmap_values.is_dead(left):
                shutil.rmtree(left.parent, ignore_errors=True)
