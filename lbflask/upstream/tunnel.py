"""Passes bytes both ways after a connection has switched protocols (RFC 9110 §7.8)."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Final, Protocol

from lbflask.core.faults import LEAVES
from lbflask.upstream.deadlines import SWEEPER
from lbflask.upstream.shortage import start_thread
from lbflask.upstream.socket_stream import reset_at_close
from lbflask.upstream.stream import NEVER, READ_SIZE, NetworkStream, SocketOptions

_CLIENT: Final = "the client hung up"
_BACKEND: Final = "the backend broke off the connection"


class TunnelEnd(SocketOptions, Protocol):
    """One end of a tunnel. `recv` and `send` block the calling thread or greenlet only."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes; empty at the end. Raises OSError."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """Send a part of the data; its size. Raises OSError."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End one direction or both."""
        ...


class Tunnel:
    """Two joined streams. The end of a direction is passed on, and the other direction may continue.

    `idle` seconds without a byte in either direction end the tunnel. `up` and `down` count the bytes passed to the
    backend and to the client.
    """

    __slots__ = ("_backend", "_broken", "_client", "_expires", "_idle", "down", "ended", "timed_out", "up")

    def __init__(self, client: TunnelEnd, backend: NetworkStream, idle: float) -> None:
        self._client = client
        self._backend = backend
        self._idle = idle
        self._expires = NEVER
        self.up = 0
        self.down = 0
        self.timed_out = False
        self.ended = False  #: from outside
        self._broken: str | None = None  # how; empty if that is not known

    def __repr__(self) -> str:
        return f"<Tunnel up={self.up} down={self.down}{' timed out' if self.timed_out else ''}>"

    @property
    def cut(self) -> str:
        """Why it has not ended by an orderly end of both directions; empty if it has."""
        if self.timed_out:
            return f"nothing was said for {self._idle:g} s"
        return LEAVES if self.ended else self._broken or ""

    def run(self, from_client: bytes = b"", from_backend: bytes = b"") -> None:
        """Pass bytes until both directions have ended, first those that arrived with the heads. Closes the stream of
        the backend. Raises OSError when no thread can be started.
        """
        self._restart_idle_time()
        upward = start_thread(self._pass_up, "tunnel", from_client)
        try:
            SWEEPER.watch(self)
            self._pass_down(from_backend)
        except BaseException:
            self._cut()
            raise
        finally:
            upward.join()
            SWEEPER.forget(self)
            self._backend.close()

    def end(self) -> None:
        """End both directions. Any thread may call it."""
        self.ended = True
        self._cut()

    def check_deadline(self, now: float) -> None:
        """End the tunnel when it was idle for too long."""
        if self._expires <= now:
            self.timed_out = True
            self._cut()

    def _restart_idle_time(self) -> None:
        self._expires = time.monotonic() + self._idle

    def _pass_up(self, data: bytes) -> None:
        side = _CLIENT
        try:
            while data or (data := self._client.recv(READ_SIZE)):
                self._restart_idle_time()
                self.up += len(data)
                side = _BACKEND
                _send_all(self._backend, data)
                data, side = b"", _CLIENT
            side = ""
            self._backend.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break_off(error, side)

    def _pass_down(self, data: bytes) -> None:
        side = _BACKEND
        try:
            while data or (data := self._backend.recv(READ_SIZE)):
                self._restart_idle_time()
                self.down += len(data)
                side = _CLIENT
                _send_all(self._client, data)
                data, side = b"", _BACKEND
            side = ""
            self._client.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break_off(error, side)

    def _break_off(self, error: OSError, side: str) -> None:
        """A read of this side or a write to it has failed; one that was interrupted is not to blame on it."""
        if self._broken is None:
            self._broken = "" if isinstance(error, TimeoutError) else side
        for stream in (self._client, self._backend):
            reset_at_close(stream)
        self._cut()

    def _cut(self) -> None:
        for stream in (self._client, self._backend):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)


def _send_all(stream: TunnelEnd, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        sent = stream.send(rest)
        rest = rest[sent:]
