"""Small files in memory, as long as they are what they were: each use compares what the file system says of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

from lbflask.core.http.file_answers import Representation

#: Bytes of a file that is held, and of all files that a worker holds.
MOST_BYTES: Final = 65_536
MOST_HELD: Final = 16 << 20
#: Seconds since its last change after which a file is held. A file that was changed within one tick of its clock could
#: be changed once more and have the same times.
SETTLED: Final = 2.0

#: What a file is: device, inode, size, and the times of its last changes.
Identity = tuple[int, int, int, int, int]
#: Root with what is stated of its files, path below it, coding, and whether there are others.
Key = tuple[str, str, str, bool]


class CachedFile:
    """The content of a file, and how it is served."""

    __slots__ = ("content", "identity", "representation")

    def __init__(self, identity: Identity, content: bytes, representation: Representation) -> None:
        self.identity = identity
        self.content = content
        self.representation = representation


class FileCache:
    """The files that were served last, at most MOST_HELD bytes. Threads and greenlets may share it."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_HELD) -> None:
        self.clock = clock
        self._most = most
        self._files: dict[Key, CachedFile] = {}
        self._held = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FileCache({len(self._files)} files, {self._held} bytes)"

    def find(self, key: Key, status: os.stat_result) -> CachedFile | None:
        """The file, if it is still what this status describes."""
        found = self._files.get(key)
        return found if found is not None and found.identity == identity_of(status) else None

    def add(self, key: Key, status: os.stat_result, content: bytes, representation: Representation) -> bool:
        """Hold the file, unless it has just been changed; whether it is held. Those that are longest held leave."""
        last = max(status.st_mtime_ns, status.st_ctime_ns) / 1e9
        if len(content) > min(MOST_BYTES, self._most) or self.clock() - last < SETTLED:
            return False
        with self._lock:
            old = self._files.pop(key, None)
            self._held += len(content) - (0 if old is None else len(old.content))
            self._files[key] = CachedFile(identity_of(status), content, representation)
            while self._held > self._most:
                oldest = next(iter(self._files))
                self._held -= len(self._files.pop(oldest).content)
        return True


def identity_of(status: os.stat_result) -> Identity:
    """What a file is, by its status."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
