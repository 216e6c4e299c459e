"""The response to a client as a WSGI iterable, and the outcome of its request.

A request ends when its response has been written or the client has gone; WSGI servers then close the iterable
(PEP 3333). A response that breaks off must be visibly incomplete: the iterable raises, and the server cuts the
connection.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import Final

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault
from lbflask.core.http.compression import without_digests
from lbflask.core.http.field_lines import FieldLines, field_pairs
from lbflask.core.http.trailers import passable_trailers
from lbflask.core.http.types import Fields
from lbflask.proxy.compression import MOST_WHOLE, Compressor, is_here
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.response_buffer import ResponseBuffer
from lbflask.upstream.stream import NEVER

REQUEST_TIMEOUT: Final = "the time for the whole request was over"


#: Called once, when a response has ended: with the bytes of its body that were sent, why it was cut (empty for a
#: complete one), the fault that cut it, and the cause of the cut (None for a complete one).
Finish = Callable[[int, str, Fault | None, AnswerCause | None], None]


class ClientResponse:
    """A WSGI response: `status` and `fields` for start_response, then the body. `lines` are the fields as they stand in
    the head of the backend's response, None if they differ from that.

    `deadline` is the time by which the client must have received all of it, by `clock`, in seconds. The connection to
    the backend is released by the first read of a body that is here whole, at the end of any other body, or by `close`;
    a `buffer`, through which the body then passes, releases it earlier.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_clock",
        "_compressor",
        "_fields",
        "_finish",
        "_passes_trailers",
        "_pieces",
        "_sent",
        "_unreleased",
        "_upstream",
        "deadline",
        "lines",
        "status",
    )

    def __init__(
        self,
        status: str,
        fields: Fields | FieldLines,
        body: BackendResponse | bytes,
        finish: Finish,
        deadline: float = NEVER,
        clock: Callable[[], float] = time.monotonic,
        passes_trailers: bool = False,
        buffer: ResponseBuffer | None = None,
    ) -> None:
        self.status = status
        self._fields = fields
        self.lines: FieldLines | None = fields if isinstance(fields, tuple) else None
        self.deadline = deadline
        self._clock = clock
        self._finish: Finish | None = finish
        self._sent = 0
        self._passes_trailers = passes_trailers
        self._pieces: Iterator[bytes] | None = None
        self._buffer = buffer
        self._compressor: Compressor | None = None
        self._upstream: BackendResponse | None
        self._unreleased: BackendResponse | None
        if isinstance(body, bytes):
            self._upstream = self._unreleased = None
            self._buffered: bytes | None = body
        else:
            self._upstream = self._unreleased = body
            self._buffered = body.answer.whole()
            if self._buffered is None:
                self._pieces = body.answer.pieces() if buffer is None else buffer

    def set_compressor(self, compressor: Compressor) -> Fields:
        """Compress the body, before any of it is taken. Returns the fields: those that there are, which have no
        Content-Length. A small body that is here whole gets one, unless trailer fields are to follow.
        """
        fields, whole, pieces = self.fields, self._buffered, self._pieces
        self._compressor = compressor
        if pieces is not None:
            source = self._buffer or (None if self._upstream is None else self._upstream.answer)
            self._pieces = compressor.pieces(pieces, is_here if source is None else source.arrives_within)
        elif whole is None or len(whole) > MOST_WHOLE or self._passes_trailers:
            self._buffered, self._pieces = None, compressor.pieces(iter([whole or b""]), is_here)
        else:
            self._buffered = coded = compressor.whole(whole)
            self._fields = fields = [*fields, ("Content-Length", str(len(coded)))]
        return fields

    @property
    def fields(self) -> Fields:
        """The fields for start_response."""
        return field_pairs(self._fields)

    def add_fields(self, fields: Fields) -> None:
        """Add fields to those of the response, before it is begun."""
        self._fields, self.lines = [*self.fields, *fields], None

    def __repr__(self) -> str:
        body = "streamed" if self._pieces is not None else "buffered"
        state = "finished" if self._finish is None else f"{self._sent} bytes sent"
        return f"ClientResponse({self.status}, {body}, {state})"

    def __len__(self) -> int:
        """1 for a buffered body: WSGI servers take it as a hint that nothing follows the first piece (PEP 3333)."""
        if self._pieces is not None:
            raise TypeError("the number of pieces is not known")
        return 1

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            if self._unreleased is not None:
                self._unreleased.release()  # before the body is written: the connection can serve another request
                self._unreleased = None
            piece, self._buffered = self._buffered, None
            if not piece:
                raise StopIteration
        else:
            piece = self._next_piece(self._pieces)
        self._sent += len(piece)
        return piece

    def _next_piece(self, pieces: Iterator[bytes]) -> bytes:
        """The next piece of a streamed body. Raises BrokenPipeError for a body that is cut: the one error that all
        gunicorn workers handle without a traceback, by cutting the connection.
        """
        try:
            piece = next(pieces)
        except StopIteration:
            if self._unreleased is not None:
                self._unreleased.release()
                self._unreleased = None
            if self._buffer is not None:
                self._buffer.close()
            self._end()
            raise
        except Fault as fault:
            self._abort()
            if fault.blame is Blame.CLIENT:
                self._end(fault.reason, None, fault.answer_cause)
            else:
                reason = fault.reason if fault.blame is Blame.SELF else f"the backend {fault.reason}"
                self._end(reason, fault, fault.answer_cause)
            raise BrokenPipeError(errno.EPIPE, fault.reason) from None
        if self._clock() > self.deadline:
            self._abort()
            self._end(REQUEST_TIMEOUT, None, AnswerCause.TIMEOUT)
            raise BrokenPipeError(errno.EPIPE, REQUEST_TIMEOUT)
        return piece

    @property
    def trailers(self) -> Fields:
        """The fields after a chunked body, once it has been read."""
        if not self._passes_trailers or self._upstream is None:
            return []
        trailers = passable_trailers(self._upstream.answer.trailers)
        return trailers if self._compressor is None else without_digests(trailers)

    def close(self) -> None:
        """End the response: the server needs no more of it."""
        cut, cause = "", None
        if self._unreleased is not None:
            source = self._unreleased.answer if self._buffer is None else self._buffer
            if not source.complete:
                cut, cause = "the client hung up", AnswerCause.CLIENT_LEFT
                if self._clock() > self.deadline:
                    cut, cause = REQUEST_TIMEOUT, AnswerCause.TIMEOUT
            self._abort()
        self._end(cut, None, cause)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call this function, too, when the response has ended."""
        finish = self._finish
        if finish is None:
            callback()
            return

        def finish_both(sent: int, cut: str, fault: Fault | None, cause: AnswerCause | None) -> None:
            try:
                finish(sent, cut, fault, cause)
            finally:
                callback()

        self._finish = finish_both

    def _abort(self) -> None:
        upstream, self._unreleased = self._unreleased, None
        if self._buffer is not None:
            self._buffer.close()
        elif upstream is not None:
            upstream.close()

    def _end(self, cut: str = "", fault: Fault | None = None, cause: AnswerCause | None = None) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(self._sent, cut, fault, cause)


def local_response(
    method: str, status: str, fields: Fields | FieldLines, body: bytes, finish: Finish
) -> ClientResponse:
    """A response without a backend. HEAD gets all of it but the body (RFC 9110 §9.3.2)."""
    return ClientResponse(status, fields, b"" if method == "HEAD" else body, finish)
