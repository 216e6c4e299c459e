"""Sends the body of a request to a backend.

Where the server can interrupt a read from the client, the body is sent in the background while the response is awaited:
a backend may respond before it has all of the body, may respond piece by piece, or may stop reading until its response
is read.
"""

from __future__ import annotations

import errno
from typing import Final

from lbflask.core.faults import Fault, Stage
from lbflask.upstream.shortage import shortage, start_thread
from lbflask.upstream.stream import ByteSink, RequestBody

#: The backend has closed the connection. It may have responded before (RFC 9112 §9.5).
DISCONNECTED: Final = frozenset({errno.EPIPE, errno.ECONNRESET})


class BodySender:
    """Sends one body over one connection. The backend must accept some of it every `timeout` seconds; a slow client
    does not count.
    """

    __slots__ = ("_body", "_chunked", "_pieces", "_sink", "_timeout")

    def __init__(self, sink: ByteSink, body: RequestBody, *, chunked: bool, timeout: float) -> None:
        self._sink = sink
        self._body = body
        self._pieces = iter(body)  # here, since a body that is iterated counts as touched
        self._chunked = chunked
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<BodySender {'chunked' if self._chunked else 'plain'} to {self._sink!r}>"

    def start(self) -> None:
        """Send the body in the background; the sink gets the outcome. Raises OSError when no thread can be started."""
        start_thread(self._run_in_background, "upload")

    def run(self) -> None:
        """Send the body, and report that to the sink. Raises the client's Fault, and OSError."""
        send_all, timeout = self._sink.send_all, self._timeout
        for piece in self._pieces:
            send_all(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece, timeout)
        if self._chunked:
            trailers = "".join([f"{name}: {value}\r\n" for name, value in self._body.trailers])
            send_all(f"0\r\n{trailers}\r\n".encode("latin-1"), timeout)
        self._sink.finish_sending()

    def _run_in_background(self) -> None:
        try:
            self.run()
        except Fault as fault:
            self._sink.abort_sending(fault, interrupt=True)
        except OSError as error:
            self._sink.abort_sending(shortage(error, Stage.SEND), interrupt=error.errno not in DISCONNECTED)
