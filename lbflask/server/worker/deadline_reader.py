"""gunicorn's reader of a client's bytes, with time limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gunicorn.http.unreader import SocketUnreader

from lbflask.server.worker.read_deadline import ReadDeadline

if TYPE_CHECKING:
    from lbflask.server.worker.client_stream import ClientStream

#: Bytes of one read of a head.
MAX_CHUNK = 16_384


class DeadlineReader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader with time limits: one deadline for a whole head, one for each read of a body."""

    def __init__(self, stream: ClientStream, deadline: ReadDeadline) -> None:
        super().__init__(stream, max_chunk=MAX_CHUNK)
        self.deadline = deadline

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises TimeoutError."""
        deadline = self.deadline
        if deadline.body is not None:
            return self._body_chunk(size_hint, deadline.body)
        data: bytes = super().chunk(size_hint)
        if deadline.expired:
            raise TimeoutError  # bytes that arrive after the deadline are too late
        return data

    def _body_chunk(self, size_hint: int | None, seconds: float) -> bytes:
        deadline, began = self.deadline, time.monotonic()
        deadline.begin_read(began, seconds)
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            if deadline.expired:
                raise deadline.time_out() from None
            raise
        deadline.end_read(len(data), time.monotonic() - began)
        if deadline.expired:
            raise deadline.time_out()
        return data
