"""A client connection, gunicorn's reader of its bytes, and their time limits."""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gunicorn.http.unreader import SocketUnreader

from lbflask.server.worker.http_date import http_date

if TYPE_CHECKING:
    from lbflask.server.worker.stream import Stream

#: Seconds and bytes that are read and discarded after the last response (RFC 9112 §9.6).
LINGER = 2.0
LINGER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds for a request head, and between two reads or writes of a body."""

    head: float = 10.0
    body: float = 30.0


class DeadlineReader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader with time limits: one deadline for a whole head, one for each read of a body.

    `expires` is the deadline of the present read, infinite if the present request needs no more. `read_timeout` is the
    limit of each read of a body, None while a head is read.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, max_chunk=16_384)
        self.expires = math.inf
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
            self.expires = math.inf
        if self.expired:
            raise TimeoutError  # bytes that arrive after the deadline are too late
        return data


class ClientConnection:
    """A client connection: its stream, its reader, and the deadlines of its reads and writes."""

    def __init__(self, stream: Stream, addr: Any, timeouts: ClientTimeouts, scheme: str = "http") -> None:
        self.stream = stream
        self.addr = addr
        self.timeouts = timeouts
        self.scheme = scheme
        self.reader = DeadlineReader(stream)
        self.served = 0
        self.idle = True
        self.send_expires = math.inf
        self.deadline = math.inf  #: of the whole response, in seconds of the steady clock
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
        """Wait `seconds` for a request; its head has a deadline from its first byte on. False if none arrives."""
        self.idle = True
        self.stream.set_on_gone(None)
        try:
            return self.reader.await_first(seconds, self.timeouts.head)
        except TimeoutError:
            return False
        finally:
            self.idle = False

    def begin_request(self, proxy_info: dict[str, Any] | None) -> None:
        """The head of a request is complete: count the request, and limit each read of its body.

        `proxy_info` is what the PROXY protocol states, before the first request and for the whole connection.
        """
        self.served += 1
        self.deadline = math.inf
        self.reader.read_timeout, self.reader.expires = self.timeouts.body, math.inf
        if proxy_info and proxy_info["client_addr"]:
            self.peer, self.peer_port = proxy_info["client_addr"], str(proxy_info["client_port"])
            self.identity = (self.peer, self.scheme)

    def set_response_deadline(self, deadline: float) -> None:
        """The client must have taken the whole response by then, in seconds of the steady clock."""
        self.deadline = deadline

    def notify_when_gone(self, callback: Callable[[], None] | None) -> None:
        """Call `callback`, once, in the hub or here, when the client has hung up; None cancels it.

        At most one callback is registered. It belongs to the present request: this class alone registers it at the
        stream, and cancels it when the next request is awaited or the stream is detached.
        """
        self.stream.set_on_gone(callback)
        if callback is not None and self.stream.gone:
            callback()

    def detach(self) -> tuple[Stream, bytes]:
        """Leave the stream to a tunnel. Returns it, with bytes that were read ahead."""
        self.reader.expires = math.inf
        self.notify_when_gone(None)
        return self.stream, self.reader.take_buffered()

    def send_error(self, status: int, reason: str, detail: str) -> int:
        """Send a minimal error response before closing. Returns the bytes of its body, 0 if the client has gone."""
        body = f"{status} {reason}: {detail}\n".encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nDate: {http_date()}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            self.send(head.encode("latin-1") + body)
        except OSError:
            return 0
        return len(body)

    def graceful_close(self, *, drain: bool) -> None:
        """Half-close. With `drain`, read and discard until the client closes, so that it can read the response
        (RFC 9112 §9.6); at most LINGER seconds, or until `shutdown_read`.
        """
        if not drain:
            return
        reader, left = self.reader, LINGER_BYTES
        self.idle = True  # its request has its response
        with suppress(OSError):
            self.stream.interrupt()  # a greenlet that still reads the body of the request
            reader.expires, reader.expired = time.monotonic() + LINGER, False
            self.stream.shutdown(socket.SHUT_WR)
            while left > 0 and not reader.expired and (data := self.stream.recv(1 << 16)):
                left -= len(data)

    def expire_at(self, now: float) -> None:
        """Interrupt a read or write whose deadline has passed. After a read an error response can still be sent."""
        if self.reader.expires <= now:
            self.reader.expired = True
        elif self.send_expires > now:
            return
        self.send_expires = math.inf
        self.reader.expires = math.inf
        self.stream.interrupt()

    def send(self, data: bytes) -> None:
        """Send all data. Raises OSError, also after a time-out of a write or of the whole response."""
        self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
        sent = self.stream.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
                rest = rest[self.stream.send(rest) :]
        self.send_expires = math.inf

    def shutdown_read(self) -> None:
        """Make a wait for a request end, from another greenlet."""
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RD)

    def reset(self) -> None:
        """Close with a TCP reset, so that the client sees an incomplete response as such even without a length."""
        with suppress(OSError):
            self.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __repr__(self) -> str:
        state = "idle" if self.idle else "busy"
        return f"<ClientConnection {self.peer or 'unix'}:{self.peer_port} {self.scheme} {state} served={self.served}>"

    def close(self) -> None:
        """Close."""
        with suppress(OSError):
            self.stream.close()
