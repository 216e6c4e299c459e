"""Numbers in a file that its process writes and any other may read at the same time: memory that outlives a kill.

A file is a sequence of rows, each a name and a few doubles, and begins with how much of it is in use. A double is
written by one store to aligned memory, so a reader sees the old value or the new one. While its process lives the file
is locked (flock(2)), and the kernel unlocks it however the process ends: who gets the lock knows that it is dead.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Bytes by which a file grows.
_STEP = 1 << 16
_USED = struct.Struct("@q")
_DOUBLE = struct.calcsize("@d")
_SIZES = struct.Struct("@ll")  # of the name, padded, and how many doubles follow it


class MmapValues:
    """A file of rows, written by this process alone. Raises OSError when it can't be made.

    `values` are all the doubles that fit into the file, those of the rows at the places that `row` tells. To add a row
    may put another object there, with the same numbers, and end the one before.
    """

    values: memoryview[float]

    def __init__(self, path: Path) -> None:
        self._path = path
        unpublished = path.with_suffix(".new")
        self._fd = os.open(unpublished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._grow(_STEP)
        self._used = _USED.size
        _USED.pack_into(self._memory, 0, self._used)
        self._rows: dict[tuple[str, ...], int] = {}
        unpublished.rename(path)  # nobody sees it before it is locked

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: tuple[str, ...], count: int) -> int:
        """Where in `values` the row of that name begins; made of `count` zeros if it is new."""
        begin = self._rows.get(name)
        if begin is None:
            begin = self._rows[name] = self._add("\x1f".join(name).encode("utf-8", "replace"), count)
        return begin

    def find(self, name: tuple[str, ...]) -> int | None:
        """Where the row of that name begins, if there is one."""
        return self._rows.get(name)

    def close(self) -> None:
        """Let go of the file, which stays, and counts as one of the dead."""
        self._unmap()
        os.close(self._fd)

    def _add(self, name: bytes, count: int) -> int:
        name += b"\0" * (-len(name) % 8)
        begin = self._used + _SIZES.size + len(name)
        end = begin + count * _DOUBLE
        if end > len(self._memory):
            self._unmap()
            self._grow(end + _STEP)
        _SIZES.pack_into(self._memory, self._used, len(name), count)
        self._memory[self._used + _SIZES.size : begin] = name
        self._used = end
        _USED.pack_into(self._memory, 0, end)  # last: whoever reads up to here finds all of it
        return begin // _DOUBLE

    def _grow(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        self._memory = mmap.mmap(self._fd, size)
        self.values = memoryview(self._memory).cast("d")

    def _unmap(self) -> None:
        self.values.release()
        self._memory.close()


def read(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    """Every row of a file, as it is now. Raises OSError."""
    content = path.read_bytes()
    at, end = _USED.size, _USED.unpack_from(content)[0] if content else 0
    while at < end:
        length, count = _SIZES.unpack_from(content, at)
        at += _SIZES.size
        name = content[at : at + length].rstrip(b"\0").decode("utf-8", "replace")
        at += length
        yield tuple(name.split("\x1f")), struct.unpack_from(f"@{count}d", content, at)
        at += 8 * count


def is_dead(path: Path) -> bool:
    """Whether the process that wrote the file is gone. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try to hold the lock of that name for a block; whether it was got. Never waits."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
