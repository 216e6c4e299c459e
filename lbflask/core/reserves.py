"""What an instance may run out of: descriptors, room in its file systems, and so lines of its access log."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum

#: Seconds that recent losses cover.
WINDOW = 60.0
#: Free share of a file system below which it is nearly full, and bytes above which it is not in any case: a busy worker
#: writes a megabyte of lines in a second.
SCARCE_SHARE, SCARCE_BYTES = 0.05, 256 << 20


class LossCause(StrEnum):
    """Why lines are lost. The value is part of reports in the store and of the admin API."""

    OTHER = ""  #: another error, or of a later version
    NO_ROOM = "no_room"  #: the disk or the quota is full
    NO_READER = "no_reader"  #: the pipe has no reader
    SLOW_READER = "slow_reader"  #: the reader of the pipe does not keep up
    OVERLOAD = "overload"  #: more requests than a worker writes lines for

    @classmethod
    def _missing_(cls, _: object) -> LossCause:
        return cls.OTHER


_BY_NUMBER = {
    errno.ENOSPC: LossCause.NO_ROOM,
    errno.EDQUOT: LossCause.NO_ROOM,
    errno.EFBIG: LossCause.NO_ROOM,
    errno.EPIPE: LossCause.NO_READER,
}


def cause_of(number: int | None) -> LossCause:
    """The cause of a failed write with this errno."""
    return _BY_NUMBER.get(number or 0, LossCause.OTHER)


@dataclass(frozen=True, slots=True)
class LostLines:
    """Lines of the log at `path` that were lost in the last WINDOW seconds, with the latest reason."""

    count: int
    path: str
    reason: str
    cause: LossCause = LossCause.OTHER


class Use(StrEnum):
    """What an instance writes in a file system."""

    OTHER = ""  #: of a later version
    LOG = "log"  #: the access log
    SHARED = "shared"  #: what its workers share: metrics
    SPOOL = "spool"  #: files of buffered bodies

    @classmethod
    def _missing_(cls, _: object) -> Use:
        return cls.OTHER


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system of `path`, with its free bytes, as users without privileges may fill them, and its size."""

    use: Use
    path: str
    free: int
    size: int

    @property
    def is_scarce(self) -> bool:
        """Whether it is nearly full."""
        return self.free < min(SCARCE_BYTES, SCARCE_SHARE * self.size)


@dataclass(frozen=True, slots=True)
class Reserves:
    """What a worker may run out of. `descriptors` are those that it has open, and their limit; None if that is unknown.
    `lost_lines` is None if none were lost in the last WINDOW seconds. `nearly_full` has the file systems that are.
    """

    descriptors: tuple[int, int] | None = None
    lost_lines: LostLines | None = None
    nearly_full: tuple[FileSystem, ...] = ()
