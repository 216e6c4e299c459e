"""Opens files below a directory. No name, link or exchange of a link between check and use leads out of it.

Each directory on the way is opened from the one before, without following links: a link is read and followed here, and
the root is as far up as `..` goes. That is what RESOLVE_BENEATH of openat2(2) does in the kernel, which Python does not
offer, and which refuses absolute links even to places below the root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from lbflask.core.http.file_paths import MOST_PATH

#: Links that one path may have, as in the kernel.
MOST_LINKS: Final = 40
_DIRECTORY: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK: Final = _DIRECTORY | os.O_NOFOLLOW
#: Never waits for a writer of a FIFO, and takes no terminal, if a file was exchanged for one since its check.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO})


class NoFile(Exception):
    """No regular file has the name; the message is for the log."""


class RefusedFile(NoFile):
    """Something has the name, and is not served: a link that leads out of the root, or no regular file."""


class IsDirectory(Exception):
    """The name is that of a directory."""


class OpenFile:
    """A regular file that is open, with what it was when it was opened. Whoever has it closes it."""

    __slots__ = ("fd", "status")

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self.fd = fd
        self.status = status

    def __repr__(self) -> str:
        return f"OpenFile(fd={self.fd}, {self.status.st_size} bytes)"

    def close(self) -> None:
        """Close it; once closed, nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class DocumentRoot:
    """The directory `path`. It is opened for each file, so that a link that a deployment moves counts at once."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"DocumentRoot({self.path!r})"

    def open(self, names: Sequence[str]) -> OpenFile:
        """The file with these names of directories and its own. Raises NoFile, IsDirectory, OSError."""
        opened: list[int] = []
        try:
            return self._descend(opened, names)
        except OSError as error:
            if error.errno in _ABSENT:
                raise NoFile(f"there is no {'/'.join(names)} in {self.path}: {error.strerror}") from None
            raise
        except UnicodeEncodeError:  # in a locale without the characters
            raise NoFile(f"no file in {self.path} can have the name") from None
        finally:
            for fd in opened:
                os.close(fd)

    def exists(self, name: str) -> bool:
        """Whether a path below the root may be that of a file: a hint that costs little, which `open` confirms."""
        try:
            return os.access(f"{self.path}/{name}", os.F_OK)
        except ValueError:
            return False

    def status(self, name: str) -> os.stat_result | None:
        """What a path below the root is, with all links followed, to compare with a file that is known; or None."""
        try:
            return os.stat(f"{self.path}/{name}")  # noqa: PTH116 - a Path for each request
        except (OSError, ValueError):
            return None

    def _descend(self, opened: list[int], names: Sequence[str]) -> OpenFile:
        """Adds the directories on the way to `opened`, the present one last."""
        opened.append(os.open(self.path, _DIRECTORY))
        left, links = list(reversed(names)), 0
        while left:
            name, directory = left.pop(), opened[-1]
            if name == "..":
                if len(opened) == 1:
                    raise RefusedFile(f"a link of {'/'.join(names)} leads out of {self.path}")
                os.close(opened.pop())
                continue
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > MOST_LINKS:
                    raise RefusedFile(f"{'/'.join(names)} has too many links")
                self._follow(os.readlink(name, dir_fd=directory), opened, left, names)
            elif stat.S_ISDIR(found.st_mode):
                opened.append(os.open(name, _NO_LINK, dir_fd=directory))
            elif not stat.S_ISREG(found.st_mode):
                raise RefusedFile(f"{'/'.join(names)} is no regular file")
            elif left:
                raise NoFile(f"{'/'.join(names)} goes through a file")
            else:
                return _opened(os.open(name, _FILE, dir_fd=directory), names)
        raise IsDirectory

    def _follow(self, target: str, opened: list[int], left: list[str], names: Sequence[str]) -> None:
        """Puts the names of a link before those that are left."""
        if target.startswith("/"):
            target = self._below(target, names)
            while len(opened) > 1:
                os.close(opened.pop())
        left.extend(name for name in reversed(target.split("/")) if name not in ("", "."))
        if len(left) > MOST_PATH:
            raise RefusedFile(f"the links of {'/'.join(names)} are too long")

    def _below(self, target: str, names: Sequence[str]) -> str:
        """The path below the root of an absolute link."""
        for root in (self.path, os.path.realpath(self.path)):
            bare = root.rstrip("/")
            if target == bare or target.startswith(bare + "/"):
                return target.removeprefix(bare)
        raise RefusedFile(f"a link of {'/'.join(names)} leads out of {self.path}")


def _opened(fd: int, names: Sequence[str]) -> OpenFile:
    """The file that was opened, if it is still a regular one."""
    try:
        status = os.fstat(fd)
    except OSError:
        os.close(fd)
        raise
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise RefusedFile(f"{'/'.join(names)} is no regular file")
    return OpenFile(fd, status)
