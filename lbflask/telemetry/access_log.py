"""The access log: one line for each request, formatted and written in the background.

No request waits for the log or for the reader of a pipe. Lines beyond the capacity of the pipe and of the buffer are
dropped and counted, and so are those for which the disk has no room. The lines of the log and the lost ones are
together all requests, or all that a filter takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from lbflask.core.log_filters import LogFilter
from lbflask.core.recent_totals import RecentTotals
from lbflask.core.reserves import WINDOW, LossCause, LostLines
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.log_formats import TEXT, Format
from lbflask.telemetry.nonblocking_writer import NonBlockingWriter

#: Seconds without progress after which a stopping worker gives up on a stalled reader.
CLOSE_TIMEOUT = 0.5
#: Seconds without a lost line after which a loss is over.
LOSS_OVER_AFTER = 5.0

log = logging.getLogger("lbflask")


def unwritable(path: str, error: Exception) -> str:
    """The error text for an access log that cannot be opened."""
    return f"access_log = {path!r}: it can't be opened for writing: {getattr(error, 'strerror', None) or error}"


class AccessLog:
    """An event sink that writes a line for each request to a file, or to standard output when `path` is `-`.

    The error log has one line when a loss of lines begins, and one when it is over. Requests that the filter does not
    take have no line, and count as lost only if the queue of events has dropped them unseen.
    """

    def __init__(self, path: str, form: Format = TEXT, log_filter: LogFilter | None = None) -> None:
        self.path = path  #: a file name, or `-` for standard output
        self._form = form
        self._filter = log_filter  # None for all requests
        self._writer = NonBlockingWriter(path)
        self._dropped = 0  # events that no notice reports yet
        self._events_lost = 0
        self._lost_before: int | None = None  # lines lost before the present loss; None without one
        self._lost_seen, self._lost_at = 0, 0.0
        self._reason = "", LossCause.OTHER  # of the latest loss
        self._losses = RecentTotals(WINDOW, 0)

    def __repr__(self) -> str:
        return f"<AccessLog {self._writer!r} lost={self.lost}>"

    @property
    def lost(self) -> int:
        """Lines that were lost since the start."""
        return self._writer.lost + self._events_lost

    def recent_loss(self, now: float) -> LostLines | None:
        """The lines that were lost in the last minute; None for none. `now` is of a steady clock, in seconds."""
        lost = self.lost
        count = lost - self._losses.before(now, lost)
        return LostLines(count, self.path, *self._reason) if count else None

    def open(self) -> None:
        """Open the log, or reopen it after a rotation. Raises OSError; the file that was open stays in use then."""
        self._writer.open()

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink."""
        writer = self._writer
        if writer.pending:
            writer.flush()
        if writer.dropped or self._dropped:
            self._report_loss()
        if self._filter is not None:
            takes = self._filter.takes
            batch = [timed for timed in batch if takes(timed[0].status, timed[0].seconds, timed[0].target)]
        if batch:
            line = self._form.line
            writer.write("".join([line(event, at) for event, at in batch]).encode("latin-1", "backslashreplace"))
        if self.lost != self._lost_seen or self._lost_before is not None:
            self._log_loss(time.monotonic())

    def dropped(self, count: int) -> None:
        """See EventSink."""
        self._dropped += count
        self._events_lost += count

    def stop(self) -> None:
        """Write the pending lines as far as the reader accepts them, and close the file."""
        if self._writer.dropped or self._dropped:
            self._report_loss()
        self._writer.close(CLOSE_TIMEOUT)
        if self._lost_before is not None or self.lost != self._lost_seen:
            self._log_loss(time.monotonic())
        if self._lost_before is not None:
            self._log_end()

    def _report_loss(self) -> None:
        if not self._writer.pending:
            more, self._dropped = self._dropped, 0
            self._writer.report_loss(self._form.loss, more)

    def _log_loss(self, now: float) -> None:
        if self.lost > self._lost_seen:
            too_many = "there are too many requests", LossCause.OVERLOAD
            writer = self._writer
            self._reason = (writer.loss_reason, writer.loss_cause) if writer.dropped else too_many
            if self._lost_before is None:
                self._lost_before = self._lost_seen
                log.error("access_log = %r: lines are lost: %s", self.path, self._reason[0])
            self._lost_seen, self._lost_at = self.lost, now
        elif not self._writer.dropped and now - self._lost_at >= LOSS_OVER_AFTER:
            self._log_end()

    def _log_end(self) -> None:
        log.warning("access_log = %r: %d lines were lost", self.path, self.lost - (self._lost_before or 0))
        self._lost_before = None
