"""Reads the files that the configuration names.

No read is endless or waits for a writer that may never come: regular files only, up to a number of bytes. The null
device is an empty file. An inherited pipe, such as `/dev/stdin` or the `/dev/fd/63` of a shell's `<(command)`, is
accepted where the content is read once only.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
from pathlib import Path

#: Bytes of a file that is read into memory.
MOST_BYTES = 16 << 20
#: Seconds in which an inherited pipe must end.
PIPE_WITHIN = 10.0
_CHUNK = 1 << 16
_INHERITED = re.compile(r"/dev/stdin|(?:/dev/fd|/proc/self/fd)/[0-9]+")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class UnusableFile(ValueError):
    """A file cannot be used; the message gives the reason, and follows the name of the file."""


def read_text(path: str | Path, *, most: int = MOST_BYTES, pipes: bool = False) -> str:
    """The file's text, which is UTF-8. Raises UnusableFile."""
    try:
        return read_bytes(path, most=most, pipes=pipes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnusableFile(f"is not UTF-8 text (byte {error.start})") from None


def read_bytes(path: str | Path, *, most: int = MOST_BYTES, pipes: bool = False) -> bytes:
    """The content of a regular file or, with `pipes`, an inherited pipe: `most` bytes at most. Raises UnusableFile."""
    try:
        kind = Path(path).stat()
        is_pipe = pipes and stat.S_ISFIFO(kind.st_mode) and _INHERITED.fullmatch(str(path)) is not None
        _check(kind, most, is_pipe=is_pipe)  # before open(2), which can have side effects on a device
        fd = os.open(path, _FLAGS)
        try:
            _check(os.fstat(fd), most, is_pipe=is_pipe)
            return _content(fd, most, is_pipe=is_pipe)
        finally:
            os.close(fd)
    except UnusableFile:
        raise
    except (OSError, ValueError) as error:
        raise UnusableFile(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def check_regular(path: str | Path) -> None:
    """Raises UnusableFile for what `read_bytes` rejects by its kind or size. A missing file passes."""
    try:
        _check(Path(path).stat(), MOST_BYTES, is_pipe=False)
    except UnusableFile:
        raise
    except (OSError, ValueError):
        return


def check_directory(path: str | Path) -> None:
    """Raises UnusableFile for what is no directory, or cannot be reached."""
    try:
        kind = Path(path).stat()
    except FileNotFoundError:
        raise UnusableFile("does not exist") from None
    except (OSError, ValueError) as error:
        raise UnusableFile(f"cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISDIR(kind.st_mode):
        raise UnusableFile("is no directory")


def _check(found: os.stat_result, most: int, *, is_pipe: bool) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise UnusableFile("cannot be read: Is a directory")
    if kind == stat.S_IFREG:
        if found.st_size > most:
            raise UnusableFile(f"has more than {most} bytes")
    elif not (_is_null(found) or (is_pipe and kind == stat.S_IFIFO)):
        raise UnusableFile(f"cannot be read: it is {_KINDS.get(kind, 'something else')}, and no regular file")


def _is_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev


def _now() -> float:
    return time.monotonic()  # noqa: TID251 - a wait for a pipe, at the edge


def _content(fd: int, most: int, *, is_pipe: bool) -> bytes:
    """All bytes until the end. The file size is no bound: a file may grow, and some always have size 0."""
    content, pipe, until = bytearray(), select.poll(), _now() + PIPE_WITHIN
    pipe.register(fd, select.POLLIN)
    while len(content) <= most:
        if is_pipe and not pipe.poll(max(0.0, until - _now()) * 1000.0):
            raise UnusableFile(f"cannot be read: the pipe has not ended within {PIPE_WITHIN:g} s")
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            return bytes(content)
        content += chunk
    raise UnusableFile(f"has more than {most} bytes")
