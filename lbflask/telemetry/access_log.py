"""The access log: one line for each request, formatted and written in the background.

No request waits for the log or for the reader of a pipe. Lines beyond the capacity of the pipe and of the buffer are
dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.log_formats import TEXT, Format
from lbflask.telemetry.nonblocking_writer import NonBlockingWriter

#: Seconds without progress after which a stopping worker gives up on a stalled reader.
CLOSE_TIMEOUT = 0.5


def unwritable(path: str, error: Exception) -> str:
    """The error text for an access log that cannot be opened."""
    return f"access_log = {path!r}: it can't be opened for writing: {getattr(error, 'strerror', None) or error}"


class AccessLog:
    """An event sink that writes a line for each request to a file, or to standard output when `path` is `-`."""

    def __init__(self, path: str, form: Format = TEXT) -> None:
        self._form = form
        self._writer = NonBlockingWriter(path)
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<AccessLog {self._writer!r} dropped={self._dropped}>"

    def open(self) -> None:
        """Open the log, or reopen it after a rotation. Raises OSError; the file that was open stays in use then."""
        self._writer.open()

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink."""
        writer = self._writer
        if writer.pending:
            writer.flush()
        if (writer.dropped or self._dropped) and not writer.pending:
            lost, self._dropped = writer.reset_dropped() + self._dropped, 0
            writer.write(self._form.loss(lost).encode())
        if batch:
            line = self._form.line
            writer.write("".join([line(event, at) for event, at in batch]).encode("latin-1", "backslashreplace"))

    def dropped(self, count: int) -> None:
        """See EventSink."""
        self._dropped += count

    def stop(self) -> None:
        """Write the pending lines as far as the reader accepts them, and close the file."""
        self._writer.close(CLOSE_TIMEOUT)
