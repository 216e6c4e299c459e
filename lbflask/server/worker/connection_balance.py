"""New connections shared evenly among the workers of one gunicorn.

The kernel wakes every worker that waits on the listener, and the quickest gets the connection: whoever has just served
one, again and again, while the others sleep. Clients that keep their connections then stay where they are. So each
worker writes how many it holds where the others can read it, and one that holds more than another leaves the listener
alone for a moment. Nobody waits for anybody: after that moment it takes the connection all the same.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import time

#: A worker that has not written for so many seconds is busy, or dead, and takes no connection.
HEARTBEAT_TIMEOUT = 0.5
#: Workers that hold no more than this above the least stay in the race.
SLACK = 1
#: Workers that have a offset; those beyond take part without one.
MAX_WORKERS = 1024
#: A offset: when its worker last wrote, how many connections it holds, its number (0: free), its process.
_ENTRY = struct.Struct("@dqqq")
#: How many places were ever taken; those behind are empty.
_COUNT = struct.Struct("@q")


class ConnectionTable:
    """Connections by worker, in memory that forked processes share. Two workers that live never have one offset."""

    def __init__(self) -> None:
        self._size = _COUNT.size + MAX_WORKERS * _ENTRY.size
        self._memory = mmap.mmap(-1, self._size)
        with tempfile.TemporaryFile() as file:
            # Made on import: a standard stream that is closed still is so, and its number must stay free.
            self._lock = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        self._entries: dict[int, int] = {}  # of this process

    def write(self, worker: int, connections: int) -> None:
        """Say that the worker, by its number from 1, is well, and holds so many."""
        offset = self._entries.get(worker)
        if offset is None and (offset := self._allocate(worker)) is None:
            return
        _ENTRY.pack_into(self._memory, offset, time.monotonic(), connections, worker, os.getpid())

    def erase(self, worker: int) -> None:
        """The worker takes no more."""
        offset = self._entries.pop(worker, None)
        if offset is not None:
            _ENTRY.pack_into(self._memory, offset, 0.0, 0, 0, 0)

    def others_hold_less(self, worker: int, connections: int) -> bool:
        """Whether some other worker that is well holds clearly fewer connections than this one."""
        since = time.monotonic() - HEARTBEAT_TIMEOUT
        (count,) = _COUNT.unpack_from(self._memory)
        taken = self._memory[_COUNT.size : _COUNT.size + count * _ENTRY.size]
        return any(
            beat > since and held + SLACK < connections and number != worker
            for beat, held, number, _ in _ENTRY.iter_unpack(taken)
        )

    def _allocate(self, worker: int) -> int | None:
        """A offset for the worker: that of one that has ended, or a new one; None if all are taken."""
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

    def _is_free(self, offset: int) -> bool:
        """Whether its worker has ended, by itself or killed."""
        _, _, number, process = _ENTRY.unpack_from(self._memory, offset)
        if not number:
            return True
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


#: Made before the workers are forked, and so one for all of them.
CONNECTION_TABLE = ConnectionTable()
