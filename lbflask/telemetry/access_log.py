"""The access log: one line a request, made and written in the background. No request waits for it, nor for who reads
it: lines beyond what an unread pipe and our memory may hold are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.log_formats import TEXT, Format
from lbflask.telemetry.nonblocking_writer import NonBlockingWriter

#: Seconds that a reader who has stalled gets to take what is left when the worker stops.
FAREWELL = 0.5


def unwritable(path: str, error: Exception) -> str:
    """The line about an access log that can't be opened."""
    return f"access_log = {path!r}: it can't be opened for writing: {getattr(error, 'strerror', None) or error}"


class AccessLog:
    """Writes a line for each request to a file, or to standard output when `path` is `-`. A reader of a Journal."""

    def __init__(self, path: str, form: Format = TEXT) -> None:
        self._form = form
        self._outlet = NonBlockingWriter(path)
        self._missed = 0

    def open(self) -> None:
        """Open the log, or open it anew, as after a rotation. Raises OSError, and goes on with the old one, when it
        can't.
        """
        self._outlet.open()

    def take(self, portion: Sequence[TimedEvent]) -> None:
        """See Reader."""
        outlet = self._outlet
        if outlet.waiting:
            outlet.flush()
        if (outlet.dropped or self._missed) and not outlet.waiting:
            lost, outlet.dropped, self._missed = outlet.dropped + self._missed, 0, 0
            outlet.write(self._form.loss(lost).encode())
        if portion:
            line = self._form.line
            outlet.write("".join([line(event, at) for event, at in portion]).encode("latin-1", "backslashreplace"))

    def missed(self, count: int) -> None:
        """See Reader."""
        self._missed += count

    def close(self) -> None:
        """Write what is left, as far as somebody reads it, and close the file."""
        self._outlet.close(FAREWELL)
