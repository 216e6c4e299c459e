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
FRESH = 0.5
#: Workers that hold no more than this above the least stay in the race.
SLACK = 1
#: Workers that have a place; those beyond take part without one.
PLACES = 1024
#: A place: when its worker last wrote, how many connections it holds, its number (0: free), its process.
_PLACE = struct.Struct("@dqqq")
#: How many places were ever taken; those behind are empty.
_COUNT = struct.Struct("@q")


class ConnectionTable:
    """Connections by worker, in memory that forked processes share. Two workers that live never have one place."""

    def __init__(self) -> None:
        self._size = _COUNT.size + PLACES * _PLACE.size
        self._memory = mmap.mmap(-1, self._size)
        with tempfile.TemporaryFile() as file:
            # Made on import: a standard stream that is closed still is so, and its number must stay free.
            self._lock = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        self._places: dict[int, int] = {}  # of this process

    def write(self, worker: int, connections: int) -> None:
        """Say that the worker, by its number from 1, is well, and holds so many."""
        place = self._places.get(worker)
        if place is None and (place := self._take(worker)) is None:
            return
        _PLACE.pack_into(self._memory, place, time.monotonic(), connections, worker, os.getpid())

    def erase(self, worker: int) -> None:
        """The worker takes no more."""
        place = self._places.pop(worker, None)
        if place is not None:
            _PLACE.pack_into(self._memory, place, 0.0, 0, 0, 0)

    def others_hold_less(self, worker: int, connections: int) -> bool:
        """Whether some other worker that is well holds clearly fewer connections than this one."""
        since = time.monotonic() - FRESH
        (count,) = _COUNT.unpack_from(self._memory)
        taken = self._memory[_COUNT.size : _COUNT.size + count * _PLACE.size]
        return any(
            beat > since and held + SLACK < connections and number != worker
            for beat, held, number, _ in _PLACE.iter_unpack(taken)
        )

    def _take(self, worker: int) -> int | None:
        """A place for the worker: that of one that has ended, or a new one; None if all are taken."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            (count,) = _COUNT.unpack_from(self._memory)
            places = range(_COUNT.size, self._size, _PLACE.size)
            free = (place for place in places[:count] if self._is_free(place))
            place = next(free, places[count] if count < PLACES else None)
            if place is not None:
                _PLACE.pack_into(self._memory, place, 0.0, 0, worker, os.getpid())
                _COUNT.pack_into(self._memory, 0, max(count, places.index(place) + 1))
                self._places[worker] = place
            return place
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _is_free(self, place: int) -> bool:
        """Whether its worker has ended, by itself or killed."""
        _, _, number, process = _PLACE.unpack_from(self._memory, place)
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
BOARD = ConnectionTable()
