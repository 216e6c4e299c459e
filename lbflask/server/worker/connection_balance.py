"""Balances new connections among the workers of one gunicorn.

The kernel wakes every worker that waits on the listener, and the fastest accepts: the one that has just served a
request, again and again, while the others sleep. Clients that keep their connections then stay there. So each worker
publishes its load in shared memory, in connections, and accepts of those that are pending as many as make all equal.
One that has more than another pauses before it accepts. No worker waits for another: after the pause it accepts a
connection in any case.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterable

#: Seconds without a write after which a worker counts as busy or dead, and is ignored.
HEARTBEAT_TIMEOUT = 0.5
#: What a worker may have beyond another one without a pause.
SLACK = 1
#: The share of a worker without others.
UNLIMITED = 1 << 30
#: Entries of the table; further workers balance without one.
MAX_WORKERS = 1024
#: An entry: time of the last write, load, number of the worker (0: free), process id.
_ENTRY = struct.Struct("@dqqq")
#: Entries that were ever used; all behind them are empty.
_COUNT = struct.Struct("@q")


class ConnectionTable:
    """The load of each worker, in memory that forked processes share. Live workers never share an entry.

    A worker without a write for `heartbeat_timeout` seconds is ignored.
    """

    def __init__(self, heartbeat_timeout: float = HEARTBEAT_TIMEOUT) -> None:
        self._heartbeat_timeout = heartbeat_timeout
        self._size = _COUNT.size + MAX_WORKERS * _ENTRY.size
        self._memory = mmap.mmap(-1, self._size)
        with tempfile.TemporaryFile() as file:
            # At import a standard stream may still be closed, and its descriptor must stay free.
            self._lock = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        self._entries: dict[int, int] = {}  # of this process: offset by worker

    def write(self, worker: int, load: int) -> None:
        """Publish the load of a live worker, by its number from 1."""
        offset = self._entries.get(worker)
        if offset is None and (offset := self._allocate(worker)) is None:
            return
        _ENTRY.pack_into(self._memory, offset, time.monotonic(), load, worker, os.getpid())

    def erase(self, worker: int) -> None:
        """Remove the worker: it accepts no more."""
        offset = self._entries.pop(worker, None)
        if offset is not None:
            _ENTRY.pack_into(self._memory, offset, 0.0, 0, 0, 0)

    def share(self, worker: int, load: int, pending: int) -> int:
        """How many of the pending connections the worker should accept at once: 0 if the load of another live worker is
        clearly less, UNLIMITED if there is no other one.
        """
        since = time.monotonic() - self._heartbeat_timeout
        (count,) = _COUNT.unpack_from(self._memory)
        entries = self._memory[_COUNT.size : _COUNT.size + count * _ENTRY.size]
        others = [held for beat, held, number, _ in _ENTRY.iter_unpack(entries) if beat > since and number != worker]
        if not others:
            return UNLIMITED
        level = fill_level((*others, load), pending)
        return max(level - load, 0 if level + SLACK <= load else 1)

    def _allocate(self, worker: int) -> int | None:
        """The offset of an entry for the worker, free or of a worker that has ended; None if all are in use."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            (count,) = _COUNT.unpack_from(self._memory)
            offsets = range(_COUNT.size, self._size, _ENTRY.size)
            free = (offset for offset in offsets[:count] if self._is_free(offset))
            offset = next(free, offsets[count] if count < MAX_WORKERS else None)
            if offset is not None:
                _ENTRY.pack_into(self._memory, offset, 0.0, 0, worker, os.getpid())
                _COUNT.pack_into(self._memory, 0, max(count, offsets.index(offset) + 1))
                self._entries[worker] = offset
            return offset
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def __repr__(self) -> str:
        (count,) = _COUNT.unpack_from(self._memory)
        return f"<ConnectionTable entries={count}>"

    def _is_free(self, offset: int) -> bool:
        """Whether the worker of the entry has ended or was killed."""
        _, _, number, process = _ENTRY.unpack_from(self._memory, offset)
        if not number:
            return True
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # the process of another user runs
        return False


def fill_level(loads: Iterable[int], pending: int) -> int:
    """The load, at most, of the workers that get any of the pending connections, when those with the least get them."""
    level, below = 0, 0
    ordered = sorted(loads)
    for workers, load in enumerate(ordered, 1):
        below += load
        level = -(-(below + pending) // workers)
        if workers == len(ordered) or level <= ordered[workers]:
            break
    return level


#: Created before the workers are forked, so that they share it.
CONNECTION_TABLE = ConnectionTable()
