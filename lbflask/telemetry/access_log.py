"""The access log: one line a request, made and written in the background. No request waits for it, nor for who reads
it: lines beyond what an unread pipe and our memory may hold are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.log_formats import TEXT, Format
from lbflask.telemetry.nonblocking_writer import NonBlockingWriter

#: Seconds that a reader who has stalled gets to take what is left when the worker stops.
CLOSE_TIMEOUT = 0.5


def unwritable(path: str, error: Exception) -> str:
    """The line about an access log that can't be opened."""
    return f"access_log = {path!r}: it can't be opened for writing: {getattr(error, 'strerror', None) or error}"


class AccessLog:
    """Writes a line for each request to a file, or to standard output when `path` is `-`. A reader of a Journal."""

    def __init__(self, path: str, form: Format = TEXT) -> None:
        self._form = form
        self._writer = NonBlockingWriter(path)
        self._dropped = 0

    def open(self) -> None:
        """Open the log, or open it anew, as after a rotation. Raises OSError, and goes on with the old one, when it
        can't.
        """
        self._writer.open()

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See Reader."""
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
        """See Reader."""
        self._dropped += count

    def close(self) -> None:
        """Write what is left, as far as somebody reads it, and close the file."""
        self._writer.close(CLOSE_TIMEOUT)
