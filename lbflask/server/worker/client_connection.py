"""A client's connection, and how long it is waited for."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbflask.server.worker.deadline_reader import NEVER, DeadlineReader
from lbflask.server.worker.http_date import http_date

if TYPE_CHECKING:
    from lbflask.server.worker.stream import Stream

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

    def __init__(self, stream: Stream, addr: Any, timeouts: ClientTimeouts, scheme: str = "http") -> None:
        self.stream = stream
        self.addr = addr
        self.timeouts = timeouts
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
        self.notify_when_gone(None)
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
        self.deadline = NEVER
        self.reader.begin_body(self.timeouts.body)
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
        self.reader.suspend()
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
        """Close politely: with `drain`, only after the client had time to read (RFC 9112 §9.6).

        Whatever the client does, that takes no longer than LINGER, and no longer than `shutdown_read` allows.
        """
        if not drain:
            return
        reader, left = self.reader, LINGER_BYTES
        self.idle = True  # its request has been answered
        with suppress(OSError):
            self.stream.interrupt()  # the greenlet that still reads the request's body
            reader.drain_until(time.monotonic() + LINGER)
            self.stream.shutdown(socket.SHUT_WR)
            while left > 0 and not reader.expired and (data := self.stream.recv(1 << 16)):
                left -= len(data)

    def expire_at(self, now: float) -> None:
        """End, from outside, a wait for this client that has lasted too long. A read can still be answered."""
        if self.reader.expires <= now:
            self.reader.expire()
        elif self.send_expires > now:
            return
        self.send_expires = NEVER
        self.reader.suspend()
        self.stream.interrupt()

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError, also when the client takes no byte of it for too long, or not all in time."""
        self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
        sent = self.stream.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self.send_expires = min(time.monotonic() + self.timeouts.body, self.deadline)
                rest = rest[self.stream.send(rest) :]
        self.send_expires = NEVER

    def shutdown_read(self) -> None:
        """End the wait for a request, from outside."""
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RD)

    def reset(self) -> None:
        """Close with a reset: a response that was cut must look cut, even one that lasts until the close."""
        with suppress(OSError):
            self.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close."""
        with suppress(OSError):
            self.stream.close()
