"""A client's body on its way to a backend.

Where the host lets a read from the client be interrupted, the body is sent beside the wait for the response: a backend
may answer before it has all of the body, may answer as it comes, or may refuse to take more until it is read from.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from lbflask.core.faults import Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.upstream.shortage import shortage, start_thread

if TYPE_CHECKING:
    from lbflask.upstream.connection import ExchangeTimeouts, UpstreamConnection


class RequestBody(Protocol):
    """A body to send. Iterating yields non-empty pieces as the client delivers them, and raises the client's Fault."""

    @property
    def whole(self) -> bytes | None:
        """All of it as it is framed, when it is at hand; it may then be sent more than once."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether it may be read beside the wait for the response."""
        ...

    @property
    def trailers(self) -> Fields:
        """The fields that follow a body in chunks, once it was read."""
        ...

    def __iter__(self) -> Iterator[bytes]: ...


class BodySender:
    """One body, one connection. `complete` when all was sent; `over` when no more will be."""

    __slots__ = ("_body", "_chunked", "_connection", "_pieces", "_timing", "complete", "fault", "over")

    def __init__(
        self, connection: UpstreamConnection, body: RequestBody, chunked: bool, timing: ExchangeTimeouts
    ) -> None:
        self._connection = connection
        self._body = body
        self._pieces = iter(body)  # at once: from now on the body counts as touched
        self._chunked = chunked
        self._timing = timing
        self.complete = False
        self.over = False
        self.fault: Fault | None = None  #: the client's, or this process's

    def start(self) -> None:
        """Send it in the background. A client's fault ends the exchange; what the backend does shows there.

        Raises OSError when it cannot begin.
        """
        start_thread(self._in_background, "upload")

    def run(self) -> None:
        """Send it. Raises the client's Fault, and OSError."""
        try:
            self._send()
        finally:
            self.over = True

    def _in_background(self) -> None:
        try:
            self.run()
            self._connection.body_sent(self, self._timing.first_byte)
        except Fault as fault:
            self.fault = fault
            self._connection.cut()
        except OSError as error:
            self.fault = shortage(error, Stage.SEND)
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                self._connection.cut()

    def _send(self) -> None:
        """Waiting for the client's next piece does not count against the backend."""
        connection, patience = self._connection, self._timing.between_bytes
        for piece in self._pieces:
            connection.send_all(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece, patience)
        if self._chunked:
            trailers = "".join([f"{name}: {value}\r\n" for name, value in self._body.trailers])
            connection.send_all(f"0\r\n{trailers}\r\n".encode("latin-1"), patience)
        self.complete = True
