"""A client connection, and the time limits of its reads and writes."""

from __future__ import annotations

import math
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import SEEK_END
from typing import Any, Final

from lbflask.server.worker.client_stream import ClientStream
from lbflask.server.worker.deadline_reader import MAX_CHUNK, DeadlineReader
from lbflask.server.worker.http_date import http_date
from lbflask.server.worker.least_rate import LeastRate
from lbflask.server.worker.read_deadline import ReadDeadline
from lbflask.server.worker.response_writer import SendfileRegion

#: Seconds and bytes that are read and discarded after the last response (RFC 9112 §9.6).
LINGER: Final = 2.0
LINGER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds for a request head, and between two reads or writes of a body."""

    head: float = 10.0
    body: float = 30.0


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """What connections have by their listener: its name for the application, and whether clients use TLS.

    `sends_header` is whether the peer at an address is a proxy that begins each connection with a header of the PROXY
    protocol; None where no peer is. `context_for` chooses the TLS context in place of that of WorkerOptions.
    With `tcp` connections are passed on as they are, by `WorkerOptions.pass_on`; `read_name` reads the name that a
    client asks for in its first bytes: None while they are incomplete, ValueError for other bytes.
    """

    name: str = ""
    tls: bool = False
    sends_header: Callable[[str], bool] | None = None
    context_for: Callable[[bytes], ssl.SSLContext] | None = None
    tcp: bool = False
    read_name: Callable[[bytes], str | None] | None = None


_PLAIN: Final = ListenerOptions()


class ClientConnection:
    """A client connection: its stream, its reader, and the deadlines of its reads and writes."""

    def __init__(
        self,
        stream: ClientStream,
        addr: Any,
        timeouts: ClientTimeouts,
        listener: ListenerOptions = _PLAIN,
        hsts: str = "",
    ) -> None:
        self.stream = stream
        self.addr = addr
        self.timeouts = timeouts
        self.scheme = "https" if listener.tls else "http"
        self.listener = listener.name
        self.hsts = hsts if listener.tls else ""
        self.read_deadline = ReadDeadline()
        self.reader = DeadlineReader(stream, self.read_deadline)
        self._first = b""
        self.served = 0
        self.idle = True
        self.send_expires = math.inf
        self.deadline = math.inf  #: of the whole response, in seconds of the steady clock
        self._least_rate: LeastRate | None = None  # of the response
        self._is_watched = False  # for the present request
        sock = stream.sock
        inet = isinstance(addr, tuple)
        self.peer: str = addr[0] if inet else ""
        self.peer_port = str(addr[1]) if inet else ""
        local = sock.getsockname()
        self.local = local[:2] if isinstance(local, tuple) else local
        if isinstance(local, tuple):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.identity = (self.peer, self.scheme)
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
        if self._is_watched:
            self._end_watch()
        try:
            return self._await_first(seconds)
        except TimeoutError:
            # A request may have arrived since `end_idle_wait` found none: the interrupt comes after other work.
            if self.read_deadline.expired or not self.stream.unread():
                return False
        finally:
            self.idle = False
        try:
            return self._await_first(self.timeouts.head)
        except TimeoutError:
            return False

    def _await_first(self, seconds: float) -> bool:
        """Wait for the first bytes of a request, unless they are in the buffer. False at the end of the connection."""
        deadline, reader = self.read_deadline, self.reader
        first: bytes = reader.take_buffered() if reader.buf.seek(0, SEEK_END) else b""
        if not first:
            deadline.set_expires(time.monotonic() + seconds)
            first = self.stream.recv(MAX_CHUNK)
            if not first:
                return False
        self._first = first
        deadline.set_head(time.monotonic() + self.timeouts.head)
        return True

    def set_busy(self) -> None:
        """A stop of the worker waits for the connection, which is not for requests."""
        self.idle = False

    def take_first(self) -> bytes:
        """The first bytes of the request, which are not in the buffer of the reader."""
        first, self._first = self._first, b""
        return first

    def begin_request(self, proxy_info: dict[str, Any] | None) -> None:
        """The head of a request is complete: count the request, and limit each read of its body.

        `proxy_info` is what the PROXY protocol states, before the first request and for the whole connection.
        """
        self.served += 1
        self.deadline = math.inf
        self.read_deadline.set_body(self.timeouts.body)
        if proxy_info and proxy_info["client_addr"]:
            self.set_client(proxy_info["client_addr"], str(proxy_info["client_port"]))

    def set_client(self, address: str, port: str) -> None:
        """The client is not the peer, but the one that the peer forwards: it is so for all of the connection."""
        self.peer, self.peer_port = address, port
        self.identity = (address, self.scheme)

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

    def notify_when_blocked(self, callback: Callable[[], None]) -> None:
        """Call `callback`, once, when a write of the present response has to wait for the client."""
        self._is_watched = True
        self.stream.set_on_blocked(callback)

    def set_least_rates(self, request: float, response: float, grace: float) -> None:
        """Limit the present request: bytes per second of its body and of its response, 0 for no limit, after `grace`
        seconds of waiting.
        """
        self._is_watched = True
        self.read_deadline.set_least_rate(LeastRate(request, grace) if request else None)
        self._least_rate = LeastRate(response, grace) if response else None

    def _end_watch(self) -> None:
        self._is_watched = False
        self._least_rate = None
        self.stream.set_on_blocked(None)

    def detach(self) -> tuple[ClientStream, bytes]:
        """Leave the stream to a tunnel. Returns it, with bytes that were read ahead."""
        self.read_deadline.set_expires(math.inf)
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
        (RFC 9112 §9.6); at most LINGER seconds, or until `end_idle_wait`.
        """
        if not drain:
            return
        deadline, left = self.read_deadline, LINGER_BYTES
        self.idle = True  # its request has its response
        with suppress(OSError):
            self.stream.interrupt()  # a greenlet that still reads the body of the request
            deadline.set_last(time.monotonic() + LINGER)
            self.stream.shutdown(socket.SHUT_WR)
            while left > 0 and not deadline.expired and (data := self.stream.recv(1 << 16)):
                left -= len(data)

    def expire_at(self, now: float) -> None:
        """Interrupt a read or write whose deadline has passed. After a read an error response can still be sent."""
        if self.read_deadline.expires <= now:
            self.read_deadline.set_expired()
        elif self.send_expires > now:
            return
        self.send_expires = math.inf
        self.read_deadline.set_expires(math.inf)
        self.stream.interrupt()

    def send(self, data: bytes) -> None:
        """Send all data. Raises OSError, also after a time-out of a write or of the whole response."""
        if self._least_rate is not None:
            self._send_in_time(data, self._least_rate)
            return
        self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
        sent = self.stream.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
                sent = self.stream.send(rest)
                rest = rest[sent:]
        self.send_expires = math.inf

    def send_file(self, region: SendfileRegion) -> None:
        """Send a part of a file, or as much of it as the file still has. Raises OSError, as `send`."""
        least_rate = self._least_rate
        while region.left:
            began = time.monotonic()
            self.send_expires = min(began + self.timeouts.body, self.deadline)
            if least_rate is not None:
                self.send_expires = min(self.send_expires, began + least_rate.left())
            sent = self.stream.send_file(region.fd, region.offset, region.left)
            if not sent:
                break
            region.advance(sent)
            if least_rate is not None:
                least_rate.add(sent, time.monotonic() - began)
        self.send_expires = math.inf

    def _send_in_time(self, data: bytes, least_rate: LeastRate) -> None:
        rest = memoryview(data)
        while rest:
            began = time.monotonic()
            self.send_expires = min(began + self.timeouts.body, self.deadline, began + least_rate.left())
            sent = self.stream.send(rest)
            least_rate.add(sent, time.monotonic() - began)
            rest = rest[sent:]
        self.send_expires = math.inf

    def end_idle_wait(self) -> None:
        """End the wait for a request, from another greenlet, unless one has arrived: it is served.

        A shutdown of the socket's receiving side would end the wait as well. But a request that has just arrived is
        still read then, and the end behind it looks as if the client had hung up.
        """
        if not self.stream.unread():
            self.stream.interrupt()

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
