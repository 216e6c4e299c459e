"""Writes lines to a file, pipe, terminal or socket without blocking.

Lines that a pipe, terminal or socket does not accept at once are buffered up to a limit; beyond it, whole lines are
dropped and counted. A regular file accepts everything, since the kernel caches it, until its disk is full: then lines
are dropped and counted too. Only a hanging disk could block.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from lbflask.core.reserves import LossCause, cause_of
from lbflask.telemetry.standard_streams import was_closed

#: Limit of the buffer in bytes: about half a minute of a busy worker's lines.
MAX_PENDING_BYTES = 8 << 20
#: Bytes of one write where the kernel does not keep writes atomic.
_MAX_WRITE = 1 << 16

_STANDARD = {"-": 1, "stderr": 2}
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK


class NonBlockingWriter:
    """The writing end of a log. Not thread-safe.

    `path` is a file name, `-` for standard output, or `stderr`. Lines of several processes never mix in a pipe: each
    write is at most PIPE_BUF bytes of whole lines, which the kernel keeps atomic (pipe(7)).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._shared = False  # the descriptor belongs to other code too, which expects it to block
        self._socket: _socket.socket | None = None
        # Bytes, and the number of lost lines that they report; 0 for ordinary lines.
        self._pending: deque[tuple[bytes, int]] = deque()
        self._pending_bytes = 0
        self._opened = False
        self._inside = False  # whether what was written last ends inside a line
        self._cut = False  # whether the rest of that line is lost
        self.dropped = 0  #: lines that no written notice reports yet
        self.lost = 0  #: lines dropped since the start
        self.loss_reason = ""  #: of the last dropped lines
        self.loss_cause = LossCause.OTHER  #: the cause of that reason

    def __repr__(self) -> str:
        return f"<NonBlockingWriter {self._path} fd={self._fd} pending={self._pending_bytes} dropped={self.dropped}>"

    @property
    def pending(self) -> bool:
        """Whether lines are buffered."""
        return bool(self._pending)

    def report_loss(self, notice: Callable[[int], str], more: int = 0) -> None:
        """Write the notice, a line, in the place of all dropped lines and `more`; then new lines are accepted again.

        If the notice cannot be written, its lines count as dropped again.
        """
        reported, self.dropped = self.dropped + more, 0
        line = notice(reported).encode()
        self._pending.append((line, reported))
        self._pending_bytes += len(line)
        self.flush()

    def open(self) -> None:
        """Open the file, or reopen it after a rotation. Raises OSError; the file that was open stays in use then.

        A pipe without a reader is opened by a later `flush`, once it has one.
        """
        self._opened = True
        if self._path in _STANDARD:
            if self._fd < 0:
                self._open_standard(_STANDARD[self._path])
            return
        try:
            new = os.open(self._path, _APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        self._cut = self._cut and self._fd >= 0 and os.path.sameopenfile(new, self._fd)
        if self._fd < 0:
            self._fd = new
        else:
            # dup2 keeps the descriptor number, so a write in another thread never meets a closed file.
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)

    def write(self, lines: bytes) -> None:
        """Append whole lines; never blocks. Lines beyond the limit are dropped and counted, and so are all later lines
        until `report_loss`: a gap is in one place.
        """
        is_pipe = self._fd >= 0 and stat.S_ISFIFO(os.fstat(self._fd).st_mode)
        for batch in _batches(lines, select.PIPE_BUF if is_pipe else _MAX_WRITE):
            if self.dropped:
                self._count_dropped(batch)
            elif self._pending_bytes + len(batch) > MAX_PENDING_BYTES:
                self._count_dropped(batch)
                self.loss_reason, self.loss_cause = "they are not read in time", LossCause.SLOW_READER
            else:
                self._pending.append((batch, 0))
                self._pending_bytes += len(batch)
        self.flush()

    def flush(self) -> None:
        """Write the buffered lines as far as the reader accepts them now."""
        if self._fd < 0 and self._opened:
            with suppress(OSError):
                self.open()
        if self._fd < 0:
            return
        is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        while self._pending:
            batch, reports = self._pending.popleft()
            start = b"\n" if self._begins_anew(is_file) else b""
            try:
                written = self._write(start + batch)
            except BlockingIOError:
                written = 0
            except OSError as error:
                # The reader is gone or the disk is full: the lines are lost.
                self._pending_bytes -= len(batch)
                self._count_dropped(batch, reports)
                self._cut, self._inside = self._cut or self._inside, False
                self.loss_reason, self.loss_cause = error.strerror or str(error), cause_of(error.errno)
                continue
            if written:
                self._cut = False
                written -= len(start)
                self._pending_bytes -= written
                self._inside = written > 0 and batch[written - 1 : written] != b"\n"
            if written < len(batch):
                self._pending.appendleft((batch[written:], reports))
                # A file that accepts a part has no room for the rest. The next write shows whether it has some again.
                if not (written > 0 and is_file):
                    return

    def close(self, timeout: float = 0.0) -> None:
        """Write the buffered lines, until the reader accepts none for `timeout` seconds, and close the file."""
        self.flush()
        while self._pending and self._fd >= 0 and self._writable(timeout):
            left = self._pending_bytes
            self.flush()
            if self._pending_bytes == left:
                break
        for batch, reports in self._pending:
            self._count_dropped(batch, reports)
        self._pending.clear()
        self._pending_bytes = 0
        self._opened = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1

    def _count_dropped(self, batch: bytes, reports: int = 0) -> None:
        lines = batch.count(b"\n")
        self.dropped += reports or lines
        self.lost += 0 if reports else lines

    def _begins_anew(self, is_file: bool) -> bool:
        """Whether the next line needs a newline before it, since what is there ends inside a line.

        The end of a file decides: another process may have cut a line of its own.
        """
        if self._inside or not is_file:
            return self._cut
        try:
            reader = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no /proc, or no right to read the file
            return self._cut
        try:
            size = os.fstat(reader).st_size
            return size > 0 and os.pread(reader, 1, size - 1) not in (b"\n", b"")
        finally:
            os.close(reader)

    def _open_standard(self, fd: int) -> None:
        """Standard output belongs to other code too and must stay blocking for it. Where possible, a separate open file
        description is made, so that only the writes of this object do not block.
        """
        if was_closed(fd):  # the number may be a socket by now
            self._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            return
        mode = os.fstat(fd).st_mode
        self._fd, self._shared = fd, True
        if stat.S_ISSOCK(mode):
            self._socket = _socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            with suppress(OSError):  # no /proc, or a pipe of another user
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self._shared = False
        elif stat.S_ISREG(mode):
            self._shared = False

    def _write(self, batch: bytes) -> int:
        """The number of bytes written. Raises BlockingIOError when the reader accepts none."""
        if self._socket is not None:
            return self._socket.send(batch, _socket.MSG_DONTWAIT)
        if self._shared and not self._writable(0):
            raise BlockingIOError
        return os.write(self._fd, batch)

    def _writable(self, timeout: float) -> bool:
        """Whether the reader accepts bytes within `timeout` seconds."""
        try:
            return bool(select.select([], [self._fd], [], timeout)[1])
        except ValueError:  # select(2) is limited to descriptors below 1024
            return True


def check_writable(path: str) -> None:
    """Raises OSError or ValueError if a writer of this process could not open the file. Creates no file."""
    if path in _STANDARD:
        return
    file = Path(path).resolve()
    try:
        os.close(os.open(file, _APPEND))
    except OSError as error:
        if error.errno == errno.ENOENT:
            file.parent.stat()
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        elif error.errno != errno.ENXIO:  # a pipe without a reader
            raise


def _batches(lines: bytes, size: int) -> Iterator[bytes]:
    """Batches of whole lines of at most `size` bytes. A longer line loses its middle."""
    begin, left = 0, len(lines)
    while left > size:
        end = lines.rfind(b"\n", begin, begin + size) + 1
        if end:
            yield lines[begin:end]
        else:
            # The target is in the middle of a line, the outcome at its end.
            end = lines.find(b"\n", begin + size) + 1
            yield lines[begin : begin + size // 2 - 3] + b"..." + lines[end - size // 2 : end]
        begin, left = end, len(lines) - end
    if left:
        yield lines[begin:]
