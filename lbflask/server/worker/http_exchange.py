"""What the worker offers of a request beyond WSGI, as `environ["lbflask.exchange"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from gevent.event import AsyncResult
from gunicorn.http.body import LengthReader

if TYPE_CHECKING:
    from lbflask.server.worker.client_connection import ClientConnection
    from lbflask.server.worker.request_parser import ParsedRequest
    from lbflask.server.worker.stream import Stream

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Bytes of a body that are taken at once to have all of it at hand; a longer one is read as it comes.
MAX_BUFFERED = 1 << 20


class Superseded(Exception):
    """The piece of the body that a call has waited for goes to a later call."""


class HttpExchange:
    """One request on its connection: its fields and body as they came, and what else may be said before the response.

    The client is told to go on when the first piece of the body is asked for, if it waits for that.
    """

    __slots__ = (
        "_client",
        "_continue_sent",
        "_reading",
        "_request",
        "_waiting_call",
        "fields",
        "local",
        "method",
        "peer",
        "protocol",
        "special",
        "target",
        "upgraded",
    )

    def __init__(self, request: ParsedRequest, client: ClientConnection) -> None:
        self._request = request
        self._client = client
        self._continue_sent = False
        self._reading = False  # a call waits for the client
        self._waiting_call: AsyncResult[bytes] | None = None  # the call that is to get its piece
        self.method = request.method
        self.target = request.uri
        #: `HTTP/1.1`, or whatever else the client speaks.
        self.protocol = request.protocol
        self.fields = request.fields
        #: Those of the fields that say where the message is to go and how long it is, by their names in capitals.
        self.special = request.headers
        #: The client's address, the scheme it uses, and the port that it came to.
        self.peer = client.identity
        #: The listener's end of the connection: host and port, or a path.
        self.local = client.local
        self.upgraded = False

    @property
    def expects_continue(self) -> bool:
        """The client waits for leave to send its body (RFC 9110 §10.1.1); asking for the body gives it."""
        return bool(self._request._expected_100_continue)

    @property
    def complete(self) -> bool:
        """Whether all of the body was read, so that what follows is the next request."""
        if not self._request.has_body:
            return True
        reader = self._request.body.reader
        if isinstance(reader, LengthReader):
            return bool(reader.length == 0)
        return reader.parser is None

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The fields behind a body in chunks, once it was read."""
        return list(self._request.trailers)

    def read_body(self) -> bytes:
        """The next piece as soon as there is one; empty at the end, or when the client has gone.

        An attempt that has failed may leave a call behind that still waits for the client. The next call then gets what
        that one gets, and that one raises Superseded.
        """
        if self._reading:
            if self._waiting_call is not None:
                self._waiting_call.set_exception(Superseded())
            self._waiting_call = AsyncResult()
            return cast("bytes", self._waiting_call.get())
        if self.complete:
            return b""
        self._reading = True
        try:
            piece = self._next_piece()
        except BaseException as error:
            self._reading, waiting_call, self._waiting_call = False, self._waiting_call, None
            if waiting_call is not None:
                waiting_call.set_exception(error)
            raise
        self._reading, waiting_call, self._waiting_call = False, self._waiting_call, None
        if waiting_call is not None:
            waiting_call.set(piece)
            raise Superseded
        return piece

    def body_at_hand(self) -> bytes | None:
        """All of a body of known length, if it is here already; None leaves it to `read_body`."""
        reader = self._request.body.reader
        if self.expects_continue or not isinstance(reader, LengthReader):
            return None
        if reader.length > MAX_BUFFERED:
            return None
        unreader = self._client.reader
        data: bytes = unreader.take_buffered()
        if len(data) < reader.length:
            data += self._client.stream.recv_at_once(reader.length - len(data))
        length: int = reader.length
        body, rest = data[:length], data[length:]
        if len(body) < length:
            unreader.unread(data)
            return None
        unreader.unread(rest)
        reader.length = 0
        return body

    def interim(self, status: str, fields: list[tuple[str, str]]) -> None:
        """Send an interim response (RFC 9110 §15.2). Raises OSError."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        self._client.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"))

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call it once, and without waiting for anything, when the client is seen to have hung up; None: no more."""
        self._client.notify_when_gone(callback)

    def upgrade(self, status: str, fields: list[tuple[str, str]]) -> tuple[Stream, bytes]:
        """Send the head of a 101 and leave the connection to the caller, with what the client sent early."""
        self.upgraded = True
        self.interim(status, fields)
        return self._client.detach()

    def _next_piece(self) -> bytes:
        if not self._continue_sent:
            self._continue_sent = True
            if self.expects_continue:
                self._client.send(_CONTINUE)
        reader = self._request.body.reader
        return self._known_length(reader) if isinstance(reader, LengthReader) else self._next_chunk(reader)

    def _known_length(self, reader: Any) -> bytes:
        unreader = self._client.reader
        piece: bytes = unreader.read(None, read_ahead=reader.length)
        if len(piece) > reader.length:
            unreader.unread(piece[reader.length :])
            piece = piece[: reader.length]
        reader.length -= len(piece)
        return piece

    @staticmethod
    def _next_chunk(reader: Any) -> bytes:
        for piece in reader.parser:
            if piece:
                return bytes(piece)
        reader.parser = None
        return b""
