"""A request and its connection beyond WSGI: `environ["lbflask.exchange"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from gevent.event import AsyncResult
from gunicorn.http.body import LengthReader

if TYPE_CHECKING:
    from lbflask.server.worker.client_connection import ClientConnection
    from lbflask.server.worker.client_stream import ClientStream
    from lbflask.server.worker.received_head import ReceivedHead

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Largest body that is buffered whole; a larger one is streamed.
MAX_BUFFERED: Final = 1 << 20


class Superseded(Exception):
    """A later call of `read_body` gets the piece that this call has waited for."""


class HttpExchange:
    """One request on its connection: fields and body as received, informational responses, upgrade.

    A client that expects `100 Continue` gets it when the first piece of the body is read.
    """

    upgraded = False
    _continue_sent = False
    _reading = False  # whether a call reads from the client
    _waiting_call: AsyncResult[bytes] | None = None  # the later call that gets its piece

    def __init__(self, request: ReceivedHead, client: ClientConnection) -> None:
        self._request = request
        self._client = client
        self.method = request.method
        self.target = request.target
        #: `HTTP/1.1`, or another version of the client.
        self.protocol = request.protocol
        self.fields = request.fields
        #: The fields of routing and framing, with names in capitals.
        self.special = request.special
        #: The client address and the scheme.
        self.peer = client.identity
        #: The local address of the connection: host and port, or a path.
        self.local = client.local
        #: The name of the listener of the connection.
        self.listener = client.listener
        #: Sets the callback for the end of the client's connection; None cancels it. It is called once, and must not
        #: block.
        self.on_gone = client.notify_when_gone

    @property
    def tls_facts(self) -> tuple[str, tuple[tuple[tuple[str, str], ...], ...]]:
        """The version of TLS of the connection, and the subject of the client's certificate; empty without one."""
        return self._client.stream.tls_facts

    @property
    def peer_port(self) -> str:
        """The client's port; empty on a unix socket."""
        return self._client.peer_port

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """The client's certificate in DER, which is verified, followed by those that vouch for it; empty without."""
        return self._client.stream.client_certificates

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` (RFC 9110 §10.1.1), which reading the body sends."""
        message = self._request.message
        return message is not None and bool(message._expected_100_continue)

    @property
    def complete(self) -> bool:
        """Whether the whole body was read, so that the next bytes belong to the next request."""
        if not self._request.has_body:
            return True
        reader = self._request.message.body.reader
        if isinstance(reader, LengthReader):
            return bool(reader.length == 0)
        return reader.parser is None

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields of a chunked body, after it was read."""
        message = self._request.message
        return [] if message is None else list(message.trailers)

    def read_body(self) -> bytes:
        """The next piece, as soon as it arrives; empty at the end, or when the client has gone.

        A failed attempt may leave a call that still reads. A later call then gets the piece that the earlier one reads,
        and the earlier one raises Superseded.
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
            if (waiting_call := self._end_reading()) is not None:
                waiting_call.set_exception(error)
            raise
        if (waiting_call := self._end_reading()) is None:
            return piece
        waiting_call.set(piece)
        raise Superseded

    def body_at_hand(self) -> bytes | None:
        """The whole body, if its length is known and all of it has arrived; None: use `read_body`."""
        reader = self._request.message.body.reader
        if self.expects_continue or not isinstance(reader, LengthReader) or reader.length > MAX_BUFFERED:
            return None
        length: int = reader.length
        unreader = self._client.reader
        data: bytes = unreader.take_buffered()
        if len(data) < length:
            data += self._client.stream.recv_at_once(length - len(data))
        if len(data) < length:
            unreader.unread(data)
            return None
        unreader.unread(data[length:])
        reader.length = 0
        return data[:length]

    def on_blocked(self, callback: Callable[[], None]) -> None:
        """Call `callback`, once, when a write of the response has to wait for the client. It must not block."""
        self._client.notify_when_blocked(callback)

    def limit_upload(self, until: float) -> None:
        """Reads of the body end by then, in seconds of the steady clock: they raise TimeoutError with the reason."""
        self._client.read_deadline.set_until(until)

    def limit_rates(self, request: float, response: float, grace: float) -> None:
        """Least rates of the body of the request and of the response, in bytes per second, after seconds of grace."""
        self._client.set_least_rates(request, response, grace)

    def interim(self, status: str, fields: list[tuple[str, str]]) -> None:
        """Send an informational response (RFC 9110 §15.2). Raises OSError."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        self._client.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"))

    def upgrade(self, status: str, fields: list[tuple[str, str]]) -> tuple[ClientStream, bytes]:
        """Send the head of a 101. Returns the stream, with bytes that the client has sent early."""
        self.upgraded = True
        self.interim(status, fields)
        return self._client.detach()

    def __repr__(self) -> str:
        state = "upgraded" if self.upgraded else "complete" if self.complete else "body pending"
        return f"<HttpExchange {self.method} {self.target.partition('?')[0]} {self.peer[0] or 'unix'} {state}>"

    def _end_reading(self) -> AsyncResult[bytes] | None:
        """The later call that waits, if there is one; it is no longer registered."""
        self._reading, waiting_call, self._waiting_call = False, self._waiting_call, None
        return waiting_call

    def _next_piece(self) -> bytes:
        if not self._continue_sent:
            self._continue_sent = True
            if self.expects_continue:
                self._client.send(_CONTINUE)
        reader = self._request.message.body.reader
        if isinstance(reader, LengthReader):
            unreader = self._client.reader
            piece: bytes = unreader.read(None, read_ahead=reader.length)
            if len(piece) > reader.length:
                unreader.unread(piece[reader.length :])
                piece = piece[: reader.length]
            reader.length -= len(piece)
            return piece
        for chunk in reader.parser:
            if chunk:
                return bytes(chunk)
        reader.parser = None
        return b""
