"""New connections shared evenly among the workers of one gunicorn.

The kernel wakes every worker that waits on the listener, and the quickest gets the connection: whoever has just served
one, again and again, while the others sleep. Clients that keep their connections then stay where they are. So each
worker writes how many it holds where the others can read it, and one that holds more than another leaves the listener
alone for a moment. Nobody waits for anybody: after that moment it takes the connection all the same.
"""

from __future__ import annotations

import mmap
import struct
import time

#: A worker that has not written for so many seconds is busy, or dead, and takes no connection.
FRESH = 0.5
#: Workers that hold no more than this above the least stay in the race.
SLACK = 1
_SLOT = struct.Struct("@dq")
_SLOTS = 64


class Board:
    """Connections by worker, in memory that forked processes share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _SLOT.size)

    def write(self, worker: int, connections: int) -> None:
        """Say that the worker is well, and holds so many."""
        _SLOT.pack_into(self._memory, worker % _SLOTS * _SLOT.size, time.monotonic(), connections)

    def erase(self, worker: int) -> None:
        """The worker takes no more."""
        _SLOT.pack_into(self._memory, worker % _SLOTS * _SLOT.size, 0.0, 0)

    def others_hold_less(self, worker: int, connections: int) -> bool:
        """Whether some other worker that is well holds clearly fewer connections than this one."""
        since = time.monotonic() - FRESH
        return any(
            beat > since and held + SLACK < connections and slot != worker % _SLOTS
            for slot, (beat, held) in enumerate(_SLOT.iter_unpack(self._memory))
        )


#: Made before the workers are forked, and so one for all of them.
BOARD = Board()
