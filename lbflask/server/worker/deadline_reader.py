"""gunicorn's reader of client connections with time limits."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gunicorn.http.unreader import SocketUnreader

if TYPE_CHECKING:
    from lbflask.server.worker.stream import Stream

NEVER = math.inf


class DeadlineReader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader with time limits: one deadline for a whole head, one for each read of a body.

    `expires` is the deadline of the present read.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, max_chunk=16_384)
        self.expires = NEVER
        self.expired = False
        self.read_timeout: float | None = None
        self._first = b""

    def await_first(self, seconds: float, head: float) -> bool:
        """Wait `seconds` for the first bytes of a request; the rest of its head has `head` more. False at the end."""
        self._first = self.take_buffered()
        if not self._first:
            self.expires = time.monotonic() + seconds
            self._first = self.sock.recv(self.mxchunk)
            if not self._first:
                return False
        self.read_timeout = None
        self.expires = time.monotonic() + head
        return True

    def begin_body(self, read_timeout: float) -> None:
        """The head is complete: each read may take `read_timeout` seconds from now on."""
        self.read_timeout = read_timeout
        self.expires = NEVER

    def suspend(self) -> None:
        """Nothing is read for the present request any more."""
        self.expires = NEVER

    def drain_until(self, deadline: float) -> None:
        """Reads that follow discard what the client still sends, until the deadline."""
        self.expires, self.expired = deadline, False

    def expire(self) -> None:
        """The present read has taken too long."""
        self.expired = True

    def take_first(self) -> bytes:
        """The first bytes, which are not in the buffer."""
        first, self._first = self._first, b""
        return first

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises TimeoutError."""
        if self.read_timeout is not None:
            self.expires = time.monotonic() + self.read_timeout
        data: bytes = super().chunk(size_hint)
        if self.read_timeout is not None:
            self.expires = NEVER
        if self.expired:
            raise TimeoutError  # bytes that arrive after the deadline are too late
        return data
