"""Bodies on their way: bytes in memory, and behind them in an anonymous file.

All buffers of a worker share the bounds of one BufferStore. A file has no name, so that nothing is left of it, however
the worker ends. What a buffer cannot take, for want of room or because the disk refuses it, its owner streams.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from typing import Final

from lbflask.core.buffering import BufferBudget, BufferLimits
from lbflask.core.faults import Resource, Shortage, Stage
from lbflask.upstream.oserror_text import oserror_text

#: Bytes of one read of a file. Other greenlets wait for it, for as long as the page cache needs.
FILE_PIECE: Final = 1 << 18


class BufferStore:
    """The room for all buffers of a worker. Threads and greenlets may share it.

    `directory` has the spool files. `report` is called with the error of each file that can't be written.
    """

    def __init__(
        self, budget: BufferBudget, directory: str = "", report: Callable[[OSError], None] | None = None
    ) -> None:
        self._budget = budget
        self._directory = directory
        self._report = report
        self._lock = threading.Lock()
        self.failures = 0  #: files that could not be written, since the start

    def __repr__(self) -> str:
        return f"<BufferStore {self._budget!r} in {self._directory or 'the usual folder'}>"

    @property
    def memory(self) -> int:
        """Bytes that buffers hold in memory now."""
        return self._budget.memory

    @property
    def spool(self) -> int:
        """Bytes of the spool files now."""
        return self._budget.spool

    def set_limits(self, memory: int, spool: int, directory: str) -> None:
        """Take up to so many bytes from now on, and open new files in this folder."""
        with self._lock:
            self._budget.set_limits(memory, spool)
            self._directory = directory

    def claim_memory(self, size: int) -> bool:
        """Whether so many more bytes may be in memory; they are counted then."""
        with self._lock:
            return self._budget.claim_memory(size)

    def claim_spool(self, size: int) -> bool:
        """Whether spool files may have so many more bytes; they are counted then."""
        with self._lock:
            return self._budget.claim_spool(size)

    def add_memory(self, size: int) -> None:
        """Count bytes that are in memory in any case."""
        with self._lock:
            self._budget.add_memory(size)

    def release(self, memory: int = 0, spool: int = 0) -> None:
        """So many bytes are no longer held."""
        with self._lock:
            self._budget.release(memory, spool)

    def open(self) -> FileIO:
        """A new file without a name. Raises OSError."""
        return tempfile.TemporaryFile(buffering=0, prefix="lbflask-", dir=self._directory or None)

    def note_failure(self, error: OSError) -> None:
        """A file could not be opened or written."""
        self.failures += 1
        if self._report is not None:
            self._report(error)


class SpoolFile:
    """One anonymous file, opened by the first write. Threads may use it, also while another one closes it."""

    __slots__ = ("_closed", "_file", "_lock", "_size", "_store")

    def __init__(self, store: BufferStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._size = 0  # as claimed
        self._closed = False

    def __repr__(self) -> str:
        return f"<SpoolFile of {self._size} bytes{' closed' if self._closed else ''}>"

    def write(self, data: bytes, at: int) -> bool:
        """Write all of the data there. False, with nothing that counts written, if there is no room for it."""
        with self._lock:
            growth = max(0, at + len(data) - self._size)
            if self._closed or (growth and not self._store.claim_spool(growth)):
                return False
            try:
                if self._file is None:
                    self._file = self._store.open()
                rest, descriptor = memoryview(data), self._file.fileno()
                while rest:
                    sent = os.pwrite(descriptor, rest, at)
                    rest, at = rest[sent:], at + sent
            except OSError as error:
                self._store.release(spool=growth)
                self._store.note_failure(error)
                return False
            self._size += growth
            return True

    def read(self, at: int, size: int) -> bytes:
        """The bytes there, at least one and at most `size`. Raises Shortage when they can't be read."""
        with self._lock:
            reason = "the file is closed"
            if self._file is not None:
                try:
                    if data := os.pread(self._file.fileno(), size, at):
                        return data
                    reason = "the file is shorter than what was written"
                except OSError as error:
                    reason = oserror_text(error)
        raise Shortage(Stage.SEND, Resource.DISK, f"a buffered body could not be read: {reason}")

    def close(self) -> None:
        """Give the room back. Later calls do nothing."""
        with self._lock:
            self._closed = True
            file, self._file = self._file, None
            self._store.release(spool=self._size)
            self._size = 0
            if file is not None:
                with suppress(OSError):
                    file.close()


class StoredBody:
    """A body as far as it was stored. It is read from its start as often as necessary, also by two readers at once."""

    __slots__ = ("_file", "_in_file", "_in_memory", "_limits", "_pieces", "_store")

    def __init__(self, store: BufferStore, limits: BufferLimits) -> None:
        self._store = store
        self._limits = limits
        self._file = SpoolFile(store)
        self._pieces: list[bytes] = []
        self._in_memory = 0
        self._in_file = 0

    def __repr__(self) -> str:
        return f"<StoredBody {self._in_memory} bytes in memory, {self._in_file} in a file>"

    def add(self, piece: bytes) -> bool:
        """Store the piece behind the others; False, and nothing of it is stored, if there is no room for all of it."""
        limits, head = self._limits, b""
        if self._in_memory + self._in_file + len(piece) > limits.total:
            return False
        if not self._in_file:
            head = piece[: limits.memory - self._in_memory]
            if not self._store.claim_memory(len(head)):
                head = b""
        rest = piece[len(head) :]
        if rest:
            if not limits.spool or not self._file.write(rest, self._in_file):
                self._store.release(memory=len(head))
                return False
            self._in_file += len(rest)
        if head:
            self._pieces.append(head)
            self._in_memory += len(head)
        return True

    def whole(self) -> bytes | None:
        """All of it in one piece, if it is in memory."""
        if self._in_file:
            return None
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces. Raises Shortage when the file can't be read."""
        yield from filter(None, tuple(self._pieces))
        at = 0
        while at < self._in_file:
            piece = self._file.read(at, min(FILE_PIECE, self._in_file - at))
            yield piece
            at += len(piece)

    def close(self) -> None:
        """Give the room back. Later calls do nothing."""
        self._store.release(memory=self._in_memory)
        self._pieces, self._in_memory = [], 0
        self._file.close()


class SpoolQueue:
    """Bytes, first in first out. Not for several threads without a lock of theirs.

    The file is a ring: what was taken out makes room. A piece goes to memory only while the file has nothing, since it
    would overtake otherwise.
    """

    __slots__ = ("_at", "_file", "_in_file", "_in_memory", "_limits", "_pieces", "_store")

    def __init__(self, store: BufferStore, limits: BufferLimits) -> None:
        self._store = store
        self._limits = limits
        self._file = SpoolFile(store)
        self._pieces: deque[bytes] = deque()
        self._in_memory = 0
        self._in_file = 0
        self._at = 0  # of the oldest byte in the file

    def __repr__(self) -> str:
        return f"<SpoolQueue {self._in_memory} bytes in memory, {self._in_file} in a file>"

    def __len__(self) -> int:
        return self._in_memory + self._in_file

    def put(self, piece: bytes) -> bool:
        """Append the piece; False, and nothing of it is appended, if there is no room for all of it. A queue without
        anything takes any piece, so that a reader and a writer always get on.
        """
        size, limits = len(piece), self._limits
        fits = not self._in_file and self._in_memory + size <= limits.memory
        if fits and self._store.claim_memory(size):
            self._keep(piece)
            return True
        if self._in_file + size <= limits.spool and self._write(piece):
            self._in_file += size
            return True
        if len(self):
            return False
        self._store.add_memory(size)
        self._keep(piece)
        return True

    def take(self) -> bytes:
        """Remove and return the oldest bytes; empty for none. Raises Shortage when the file can't be read."""
        if self._pieces:
            piece = self._pieces.popleft()
            self._in_memory -= len(piece)
            self._store.release(memory=len(piece))
            return piece
        if not self._in_file:
            return b""
        piece = self._file.read(self._at, min(FILE_PIECE, self._in_file, self._limits.spool - self._at))
        self._in_file -= len(piece)
        self._at = (self._at + len(piece)) % self._limits.spool if self._in_file else 0
        return piece

    def close(self) -> None:
        """Give the room back. Later calls do nothing."""
        self._store.release(memory=self._in_memory)
        self._pieces.clear()
        self._in_memory = self._in_file = 0
        self._file.close()

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._in_memory += len(piece)

    def _write(self, piece: bytes) -> bool:
        end = (self._at + self._in_file) % self._limits.spool
        first = piece[: self._limits.spool - end]
        rest = piece[len(first) :]
        return self._file.write(first, end) and (not rest or self._file.write(rest, 0))
