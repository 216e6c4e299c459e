"""Numbers in a memory-mapped file that one process writes and others read; they survive a kill of the process.

A file begins with the number of bytes in use; rows follow, each a name and some doubles. A double is written by one
store to aligned memory, so a reader sees either the old or the new value. The process holds a lock on its file
(flock(2)) that the kernel releases however the process ends: a file that can be locked belongs to an ended process.
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
    """A file of rows that only this process writes. Raises OSError if it cannot be created.

    `values` are all doubles of the file; `row` returns the offset of a row in it. Adding a row may remap the file:
    `values` is replaced and the old memoryview released.
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
        unpublished.rename(path)  # visible only once it is locked

    def __repr__(self) -> str:
        return f"<MmapValues {self._path} rows={len(self._rows)} bytes={self._used}>"

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: tuple[str, ...], count: int) -> int:
        """The offset in `values` of the row of that name, which is created with `count` zeros if it is new."""
        begin = self._rows.get(name)
        if begin is None:
            begin = self._rows[name] = self._add("\x1f".join(name).encode("utf-8", "replace"), count)
        return begin

    def find(self, name: tuple[str, ...]) -> int | None:
        """The offset of the row of that name; None if there is none."""
        return self._rows.get(name)

    def close(self) -> None:
        """Unmap and unlock the file, which stays and is then treated as that of an ended process."""
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
        _USED.pack_into(self._memory, 0, end)  # last: a reader up to here finds the complete row
        return begin // _DOUBLE

    def _grow(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        self._memory = mmap.mmap(self._fd, size)
        self.values = memoryview(self._memory).cast("d")

    def _unmap(self) -> None:
        self.values.release()
        self._memory.close()


def read(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    """The rows of a file at this moment. Raises OSError, also for a file whose content is not of this form."""
    content = path.read_bytes()
    try:
        at, end = _USED.size, _USED.unpack_from(content)[0] if content else 0
        while at < end:
            length, count = _SIZES.unpack_from(content, at)
            begin = at + _SIZES.size
            at = begin + length + _DOUBLE * count
            if length < 0 or count < 0 or at > len(content):
                raise struct.error("a row has no such size")
            name = content[begin : begin + length].rstrip(b"\0").decode("utf-8", "replace")
            yield tuple(name.split("\x1f")), struct.unpack_from(f"@{count}d", content, begin + length)
    except struct.error as error:
        raise OSError(f"{path} is no file of metrics: {error}") from None


def is_dead(path: Path) -> bool:
    """Whether the process that wrote the file has ended. Raises OSError."""
    with locked(path, os.O_RDONLY) as acquired:
        return acquired


@contextmanager
def locked(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[bool]:
    """Try to hold the lock of a file for a block; yields whether it was acquired. Never waits. Raises OSError."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
