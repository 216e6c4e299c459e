"""The discovery source that reads a file, checked every second.

A file that cannot be read or is invalid changes nothing. Nor does a file that is still being written, which can be
well-formed with some backends missing: it is used if it did not change while it was read, nor for a tenth of a second
before. To write another file and rename it is always safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from lbflask.config.load import ConfigError
from lbflask.core.discovery import DiscoveredBackend, SourceCause
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult

#: Seconds between two checks of the file.
POLL_INTERVAL = 1.0
#: Seconds for which a file must have been unchanged.
SETTLED_FOR = 0.1
#: Attempts to read a file that changes continuously, before this poll fails.
_TRIES = 10

#: Identifies the state of a file: device, inode, size, time of modification in nanoseconds.
Stamp = tuple[int, int, int, int]


class FileSource:
    """The backends in the file at `path`, parsed by `read`, which raises ConfigError."""

    def __init__(
        self, path: Path, read: Callable[[Path], tuple[DiscoveredBackend, ...]], *, every: float = POLL_INTERVAL
    ) -> None:
        self._path = path
        self._read = read
        self.patience = every
        self._seen: tuple[Stamp, tuple[DiscoveredBackend, ...]] | None = None

    def __str__(self) -> str:
        return f"file:{self._path}"

    async def ask(self) -> DiscoveryResult:
        """See DiscoverySource. The file is read only if it has changed."""
        stamp = await self._stamp()
        if self._seen is None or stamp != self._seen[0]:
            self._seen = await self._settled(stamp)
        return DiscoveryResult(self._seen[1], self.patience)

    async def _settled(self, stamp: Stamp) -> tuple[Stamp, tuple[DiscoveredBackend, ...]]:
        for _ in range(_TRIES):
            await asyncio.sleep(SETTLED_FOR)
            before, stamp = stamp, await self._stamp()
            if stamp != before:
                continue
            try:
                found, failed = await asyncio.to_thread(self._read, self._path), None
            except ConfigError as error:
                found, failed = (), error
            before, stamp = stamp, await self._stamp()
            if stamp != before:
                continue
            if failed is not None:
                reason = str(failed).removeprefix(f"{self._path}:")  # the caller names the file
                text = reason.strip() if reason.startswith(" ") else f"line {reason}"
                raise DiscoveryFailure(text, SourceCause.INVALID)
            return stamp, found
        raise DiscoveryFailure("is being written all the while", SourceCause.INVALID)

    async def _stamp(self) -> Stamp:
        try:
            stat = await asyncio.to_thread(self._path.stat)
        except OSError as error:
            cause = SourceCause.MISSING if isinstance(error, FileNotFoundError) else SourceCause.UNREADABLE
            raise DiscoveryFailure(f"cannot be read: {error.strerror}", cause) from None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
