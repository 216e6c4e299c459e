"""A client's connection, and how long it is waited for."""

from __future__ import annotations

import math
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gunicorn.http.unreader import SocketUnreader

from lbflask.server.worker.response_writer import http_date

if TYPE_CHECKING:
    from lbflask.server.worker.request_parser import ParsedRequest
    from lbflask.server.worker.stream import Stream

NEVER = math.inf
#: Seconds, and bytes, for which a client may go on sending when it has its last answer (RFC 9112 §9.6).
LINGER = 2.0
LINGER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds a client gets: for a request head, and between two bytes of a body either way."""

    head: float = 10.0
    body: float = 30.0


class ClientConnection:
    """A client's connection."""

    def __init__(self, stream: Stream, addr: Any, patience: ClientTimeouts, scheme: str = "http") -> None:
        self.stream = stream
        self.addr = addr
        self.patience = patience
        self.scheme = scheme
        self.reader = DeadlineReader(stream)
        self.served = 0
        self.idle = True
        self.send_expires = NEVER
        self.deadline = NEVER  #: when all of the response must have been taken, in seconds of the steady clock
        sock = stream.sock
        inet = isinstance(addr, tuple)
        self.peer: str = addr[0] if inet else ""
        self.peer_port = str(addr[1]) if inet else ""
        local = sock.getsockname()
        self.local = local[:2] if isinstance(local, tuple) else local
        if isinstance(local, tuple):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.identity = (self.peer, scheme)
        self.environ = {
            "gunicorn.socket": sock,
            "lbflask.local": self.local,
            "SERVER_NAME": str(self.local[0]) if isinstance(local, tuple) else str(local),
            "SERVER_PORT": str(self.local[1]) if isinstance(local, tuple) else "",
        }

    def await_request(self, seconds: float) -> bool:
        """Wait for the first byte of a request; False when none comes. The head then has its deadline."""
        self.idle = True
        self.stream.on_gone = None  # whoever wanted to know has had the answer
        try:
            return self.reader.await_first(seconds, self.patience.head)
        except TimeoutError:
            return False
        finally:
            self.idle = False

    def begin(self, request: ParsedRequest) -> None:
        """A request has been read: count it, and time its body by the byte from now on."""
        self.served += 1
        self.deadline = NEVER
        self.reader.patience = self.patience.body
        self.reader.expires = NEVER
        if request.proxy_protocol_info and request.proxy_protocol_info["client_addr"]:
            # Stands before the first request, and speaks for all of the connection.
            self.peer = request.proxy_protocol_info["client_addr"]
            self.peer_port = str(request.proxy_protocol_info["client_port"])
            self.identity = (self.peer, self.scheme)

    def say(self, status: int, reason: str, told: str) -> int:
        """A short answer of the server's own, on a connection that is about to close. The bytes of its body, or 0 when
        the client does not take it.
        """
        body = f"{status} {reason}: {told}\n".encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nDate: {http_date()}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            self.send(head.encode("latin-1") + body)
        except OSError:
            return 0
        return len(body)

    def leave(self, *, drain: bool) -> None:
        """Close politely: with `drain`, only after the client had time to read (RFC 9112 §9.6).

        Whatever the client does, that takes no longer than LINGER, and no longer than `hang_up` allows.
        """
        if not drain:
            return
        reader, left = self.reader, LINGER_BYTES
        self.idle = True  # its request has been answered
        with suppress(OSError):
            self.stream.interrupt()  # the greenlet that still reads the request's body
            reader.expires, reader.expired = time.monotonic() + LINGER, False
            self.stream.shutdown(socket.SHUT_WR)
            while left > 0 and not reader.expired and (data := self.stream.recv(1 << 16)):
                left -= len(data)

    def expire_at(self, now: float) -> None:
        """End, from outside, a wait for this client that has lasted too long. A read can still be answered."""
        if self.reader.expires <= now:
            self.reader.expired = True
        elif self.send_expires > now:
            return
        self.reader.expires = self.send_expires = NEVER
        self.stream.interrupt()

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError, also when the client takes no byte of it for too long, or not all in time."""
        self.send_expires = min(time.monotonic() + self.patience.body, self.deadline)
        sent = self.stream.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self.send_expires = min(time.monotonic() + self.patience.body, self.deadline)
                rest = rest[self.stream.send(rest) :]
        self.send_expires = NEVER

    def hang_up(self) -> None:
        """End the wait for a request, from outside."""
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Close with a reset: a response that was cut must look cut, even one that lasts until the close."""
        with suppress(OSError):
            self.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close."""
        with suppress(OSError):
            self.stream.close()


class DeadlineReader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader with patience: a head has one deadline for all of it, a body one for each read.

    `expires` is until when the present read may last.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, max_chunk=16_384)
        self.expires = NEVER
        self.expired = False
        self.patience: float | None = None
        self._first = b""

    def await_first(self, seconds: float, head: float) -> bool:
        """Wait until there is a byte to read, and give the rest of the head its deadline. False at the end."""
        if self.buf.tell():
            self._first = self.take_buffered()
        else:
            self.expires = time.monotonic() + seconds
            self._first = self.sock.recv(self.mxchunk)
            if not self._first:
                return False
        self.patience = None
        self.expires = time.monotonic() + head
        return True

    def take_first(self) -> bytes:
        """What came first; it is not in the buffer."""
        first, self._first = self._first, b""
        return first

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises TimeoutError."""
        if self.patience is not None:
            self.expires = time.monotonic() + self.patience
        data: bytes = super().chunk(size_hint)
        if self.patience is not None:
            self.expires = NEVER
        if self.expired:
            raise TimeoutError  # what trickles in after that comes too late
        return data
