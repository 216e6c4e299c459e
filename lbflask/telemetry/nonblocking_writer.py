"""Where a log is written to, without ever waiting for its reader.

What a pipe, a terminal or a socket does not take at once waits here, up to a limit; beyond it whole lines are dropped
and counted. A regular file takes all it is given: the kernel keeps that in memory, and only a disk that hangs would be
waited for.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lbflask.telemetry.standard_streams import was_closed

#: Bytes that may wait for a reader: half a minute of a busy worker's lines.
MAX_PENDING_BYTES = 8 << 20
#: Bytes written at once where the kernel keeps no pieces together.
_MAX_WRITE = 1 << 16

STANDARD = {"-": 1, "stderr": 2}


class NonBlockingWriter:
    """One end of a file, a pipe, a terminal or a socket. Not for several threads at once.

    `path` is a file's name, `-` for standard output, or `stderr`. Lines of several processes never mix in a pipe: each
    write into one is at most PIPE_BUF bytes of whole lines, which the kernel keeps together (pipe(7)).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._shared = False  # with others, who may count on its being blocking
        self._socket: _socket.socket | None = None
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._opened = False
        self.dropped = 0  #: lines, since the last `reset_dropped`

    @property
    def pending(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._pending)

    def reset_dropped(self) -> int:
        """The number of lines dropped since the last call; new lines are accepted again."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    @property
    def max_write(self) -> int:
        """Bytes of whole lines that may be written at once."""
        return select.PIPE_BUF if self._fd >= 0 and stat.S_ISFIFO(os.fstat(self._fd).st_mode) else _MAX_WRITE

    def open(self) -> None:
        """Open the file, or open it anew, as after a rotation. Raises OSError, and goes on with the old one, if it
        can't. A pipe that nobody reads yet is opened as soon as somebody does.
        """
        self._opened = True
        if self._path in STANDARD:
            if self._fd < 0:
                self._open_standard(STANDARD[self._path])
            return
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            new = os.open(self._path, flags, 0o640)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if self._fd < 0:
            self._fd = new
        else:
            # Changed under its number, so that a write in another thread never meets a closed file.
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)

    def write(self, lines: bytes) -> None:
        """Write whole lines, behind those that wait already; never blocks. What is too much is dropped and counted, and
        so is all that follows, until somebody has set `dropped` back: a gap is in one place.
        """
        for batch in _batches(lines, self.max_write):
            if self.dropped or self._pending_bytes + len(batch) > MAX_PENDING_BYTES:
                self.dropped += batch.count(b"\n")
            else:
                self._pending.append(batch)
                self._pending_bytes += len(batch)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the reader takes it now."""
        if self._fd < 0 and self._opened:
            with suppress(OSError):
                self.open()
        if self._fd < 0:
            return
        while self._pending:
            batch = self._pending.popleft()
            try:
                written = self._write(batch)
            except BlockingIOError:
                written = 0
            except OSError:
                # The reader is gone or the disk is full: nothing better can be done with a log.
                self.dropped += batch.count(b"\n")
                written = len(batch)
            self._pending_bytes -= written
            if written < len(batch):
                self._pending.appendleft(batch[written:])
                return

    def close(self, timeout: float = 0.0) -> None:
        """Let go of the file; what waits is written if the reader takes it within so many seconds of silence."""
        self.flush()
        while self._pending and self._fd >= 0 and self._writable(timeout):
            left = self._pending_bytes
            self.flush()
            if self._pending_bytes == left:
                break
        self._opened = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1

    def _open_standard(self, fd: int) -> None:
        """Standard output belongs to others too, and must stay as it is for them: a description of our own is opened
        where that can be, so that only our writes don't block.
        """
        if was_closed(fd):  # the number may be somebody's socket by now
            self._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            return
        mode = os.fstat(fd).st_mode
        self._fd, self._shared = fd, True
        if stat.S_ISSOCK(mode):
            self._socket = _socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            with suppress(OSError):  # without /proc, or somebody else's pipe
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self._shared = False
        elif stat.S_ISREG(mode):
            self._shared = False

    def _write(self, batch: bytes) -> int:
        """Bytes written. Raises BlockingIOError when there is no room."""
        if self._socket is not None:
            return self._socket.send(batch, _socket.MSG_DONTWAIT)
        if self._shared and not self._writable(0):
            raise BlockingIOError
        return os.write(self._fd, batch)

    def _writable(self, timeout: float) -> bool:
        """Whether the reader takes something within so many seconds."""
        try:
            return bool(select.select([], [self._fd], [], timeout)[1])
        except ValueError:  # select(2) knows no descriptor above 1023
            return True


def check_writable(path: str) -> None:
    """Raises OSError or ValueError if an Outlet of this process could not open the file. Creates no file."""
    if path in STANDARD:
        return
    file = Path(path).resolve()
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.ENOENT:
            file.parent.stat()
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        elif error.errno != errno.ENXIO:  # a pipe that nobody reads yet
            raise


def _batches(lines: bytes, size: int) -> Iterator[bytes]:
    """Whole lines together in at most `size` bytes; one too long for that loses its middle."""
    begin, left = 0, len(lines)
    while left > size:
        end = lines.rfind(b"\n", begin, begin + size) + 1
        if end:
            yield lines[begin:end]
        else:
            # The middle is the target's: the outcome stands at the end.
            end = lines.find(b"\n", begin + size) + 1
            yield lines[begin : begin + size // 2 - 3] + b"..." + lines[end - size // 2 : end]
        begin, left = end, len(lines) - end
    if left:
        yield lines[begin:]
