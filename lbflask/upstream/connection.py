"""One HTTP/1.1 connection to a backend: a request out, a response in, byte-exact (RFC 9112).

Whatever goes wrong comes out as a Fault that says who is to blame and how far the request had got. Foreign exceptions
end here. Reading is strict: a response whose end can't be told for certain is a fault of the backend's.
"""

from __future__ import annotations

import errno
import math
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD

import httptools

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import NO_BODY, BadFraming, Framing, response_framing
from lbflask.upstream.watchdog import WATCHDOG

READ_SIZE = 65_536
NEVER = math.inf
#: Bytes of a response head (and of the interim heads before it); nginx and HAProxy allow 4 to 32 KiB.
MAX_HEAD = 65_536
_NO_BYTES = bytes(4)


class Connection:
    """A connected socket that carries one exchange at a time."""

    __slots__ = ("_sock", "expired", "expires", "idle_since", "opened_at", "served")

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.settimeout(None)
        self._sock = sock
        self.opened_at = now
        self.idle_since = now
        self.served = 0
        self.expires = NEVER  #: until when the present wait may last; the watchdog reads it
        self.expired = False
        WATCHDOG.watch(self)

    def exchange(
        self,
        method: str,
        head: bytes,
        body: Iterable[bytes] | None,
        chunked: bool,
        first_byte: float,
        between_bytes: float,
    ) -> Answer:
        """Send the request and read the head of the final response. Raises Fault.

        `body` yields non-empty pieces, which are sent as they come. The client's own failure to deliver it passes
        through as the Fault that the iterable raises.
        """
        answer = Answer(self, method)
        self._send(answer, head, body, chunked, between_bytes)
        answer.read_head(first_byte, between_bytes)
        self.served += 1
        return answer

    def _send(
        self, answer: Answer, head: bytes, body: Iterable[bytes] | None, chunked: bool, between_bytes: float
    ) -> None:
        try:
            self._send_all(head, between_bytes)
            if body is not None:
                self._send_body(body, chunked, between_bytes)
        except OSError as error:
            if self.expired:
                reason = f"took no byte of the request for {between_bytes:g} s"
                raise Fault(Blame.BACKEND, Stage.SEND, 504, reason, reused=self.served > 0) from None
            # A backend may answer before it has read the whole request, and close (RFC 9112 §9.5): look for it.
            if body is None or error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise self._failed(answer, Stage.SEND, _told(error)) from None
            answer.request_cut = True

    def _send_body(self, body: Iterable[bytes], chunked: bool, between_bytes: float) -> None:
        """Send the pieces as they come; waiting for the client's next one does not count."""
        for piece in body:
            self._send_all(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece, between_bytes)
        if chunked:
            self._send_all(b"0\r\n\r\n", between_bytes)

    def _send_all(self, data: bytes, patience: float) -> None:
        """Send all of it; the backend must take some of it every `patience` seconds. Raises OSError."""
        sock = self._sock
        self.expires = time.monotonic() + patience
        sent = sock.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:  # not sendall, which would not show that the backend takes its time
                self.expires = time.monotonic() + patience
                rest = rest[sock.send(rest) :]
        self.expires = NEVER

    def receive(self, answer: Answer, timeout: float, stage: Stage) -> bytes:
        """The next bytes; empty at the end of the stream. Raises Fault."""
        self.expires = time.monotonic() + timeout
        try:
            data = self._sock.recv(READ_SIZE)
        except OSError as error:
            if not self.expired:
                raise self._failed(answer, stage, _told(error)) from None
            data = b""
        self.expires = NEVER
        if self.expired:
            reason = f"silent for {timeout:g} s"
            raise Fault(Blame.BACKEND, stage, 504, reason, reused=self.served > 0, answered=answer.begun)
        return data

    def expire(self) -> None:
        """The wait has lasted too long: end it. Called by the watchdog."""
        self.expired = True
        self.expires = NEVER
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _failed(self, answer: Answer, stage: Stage, reason: str) -> Fault:
        return Fault(Blame.BACKEND, stage, 502, reason, reused=self.served > 0, answered=answer.begun)

    def silent(self) -> bool:
        """Whether nothing has come that nobody asked for, which would be taken for the next response (RFC 9112 §9.2).

        Costs half of what `quiet` does, and does not see a closed connection.
        """
        return ioctl(self._sock.fileno(), FIONREAD, _NO_BYTES) == _NO_BYTES

    def quiet(self) -> bool:
        """Whether an idle connection is still good: the backend has neither closed it nor said anything."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._sock.settimeout(None)
        return False

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        WATCHDOG.forget(self)
        self._sock.close()


class Answer:
    """A backend's response: its head, and then its body as pieces, as they arrive."""

    __slots__ = (
        "_between_bytes",
        "_connection",
        "_keep_alive",
        "_method",
        "_parser",
        "_pieces",
        "_started",
        "begun",
        "complete",
        "fields",
        "framing",
        "junk",
        "reason",
        "request_cut",
        "status",
    )

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._method = method
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._keep_alive = False
        self._between_bytes = 0.0
        self._started = False
        self.begun = False  #: at least one byte came
        self.complete = False
        self.junk = False  #: more came than the response
        self.request_cut = False  #: the backend closed before it had read the request
        self.status = 0
        self.reason = ""
        self.fields: Fields = []
        self.framing: Framing = NO_BODY

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.complete and self._keep_alive and not self.junk and not self.request_cut

    @property
    def connection(self) -> Connection:
        """The connection it came over."""
        return self._connection

    def read_head(self, first_byte: float, between_bytes: float) -> None:
        """Read until the head of the final response is known; interim responses (1xx) are passed over."""
        self._between_bytes = between_bytes
        read = 0
        timeout = first_byte
        while not self._started:
            data = self._connection.receive(self, timeout, Stage.WAIT)
            if not data:
                raise self._fault("closed the connection before its response" + (" was complete" if read else ""))
            self.begun = True
            timeout = between_bytes
            read += len(data)
            self._feed(data)
            if not self._started and read > MAX_HEAD:
                raise self._fault(f"the response head is longer than {MAX_HEAD} bytes")

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Fault at stage BODY when it ends too early.

        The first piece is empty when none came with the head, which then need not wait for one.
        """
        if not self._pieces and not self.complete:
            yield b""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self.complete:
                return
            data = self._connection.receive(self, self._between_bytes, Stage.BODY)
            if data:
                self._feed(data)
            elif self.framing.length is None and not self.framing.chunked:
                self.complete = True  # RFC 9112 §6.3: its end is the connection's
            else:
                raise Fault(Blame.BACKEND, Stage.BODY, 502, "closed the connection within its response", answered=True)

    def whole(self) -> bytes | None:
        """The body, when all of it is here already; else None."""
        if not self.complete:
            return None
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self.junk = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise self._fault("switched protocols, which it was not asked to do") from None
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                raise self._fault(str(cause)) from None
            if not self.complete:
                raise self._fault(f"not an HTTP response: {error}") from None
            self.junk = True
        if self.complete:
            self._parser = None  # it refers to us: without this each response would wait for the garbage collector

    def _fault(self, reason: str) -> Fault:
        stage = Stage.BODY if self._started else Stage.WAIT
        reused = self._connection.served > 0
        return Fault(Blame.BACKEND, stage, 502, reason, reused=reused, answered=self.begun)

    # What httptools calls.

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, if the backend sent one, or a part of it."""
        self.reason += reason.decode("latin-1")  # in parts, when it came in parts

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field line; those after the head are trailers, which are not passed on."""
        if not self._started:
            self.fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The end of a head: an interim one is forgotten, the final one decides the framing."""
        parser = self._parser
        if self.complete or parser is None:
            self.junk = True
            return
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise _Refused("switched protocols, which it was not asked to do")
            if status < 100:
                raise _Refused(f"not an HTTP response: the status {status:03d}")
            self.fields = []
            self.reason = ""
            return
        self.status = status
        try:
            self.framing = response_framing(self._method, status, self.fields)
        except BadFraming as error:
            raise _Refused(str(error)) from None
        self._started = True
        self._keep_alive = parser.should_keep_alive()
        if self._method == "HEAD":
            # llhttp does not know what was asked, and waits for a body that will not come (RFC 9112 §6.3, rule 1).
            self.complete = True
            self._keep_alive = parser.get_http_version() == "1.1" and not _closes(self.fields)

    def on_body(self, data: bytes) -> None:
        """Some of the body, without its chunk framing."""
        if self.complete:
            self.junk = True
        else:
            self._pieces.append(data)

    def on_message_begin(self) -> None:
        """Something begins after the response has ended: nothing that was asked for."""
        if self.complete:
            self.junk = True

    def on_message_complete(self) -> None:
        """The end of an interim or of the final response."""
        if self._started:
            self.complete = True


class _Refused(Exception):
    """The response must not be passed on; raised within a parser's callback."""


def _closes(fields: Fields) -> bool:
    return any(name.lower() == "connection" and "close" in value.lower() for name, value in fields)


def _told(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
