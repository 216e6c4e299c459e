"""Bytes passed both ways, unseen, once a connection has switched protocols (RFC 9110 §7.8)."""

from __future__ import annotations

import math
import socket
import time
from contextlib import suppress
from typing import Protocol

from lbflask.upstream.connection import NetworkStream, SocketOptions, reset_at_close
from lbflask.upstream.deadlines import WATCHDOG
from lbflask.upstream.shortage import start_thread

READ_SIZE = 65_536


class TunnelEnd(SocketOptions, Protocol):
    """One end of a tunnel; `recv` and `send` block the caller, and nobody else."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes; empty at the end. Raises OSError."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """Send some of it. Raises OSError."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End one direction or both."""
        ...


class Tunnel:
    """Two wires, joined. Each end's close is passed on; either direction may end before the other.

    `idle` is how many seconds of silence in both directions end it. `up` and `down` count the bytes that were passed to
    the backend and to the client.
    """

    __slots__ = ("_backend", "_client", "_expires", "_idle", "down", "timed_out", "up")

    def __init__(self, client: TunnelEnd, backend: NetworkStream, idle: float) -> None:
        self._client = client
        self._backend = backend
        self._idle = idle
        self._expires = math.inf
        self.up = 0
        self.down = 0
        self.timed_out = False

    def run(self, from_client: bytes = b"", from_backend: bytes = b"") -> None:
        """Pass bytes until both directions have ended, those first that came early. Closes the backend's wire.

        Raises OSError when it cannot begin.
        """
        self._stir()
        upward = start_thread(self._pass_up, "tunnel", from_client)
        try:
            WATCHDOG.watch(self)
            self._pass_down(from_backend)
        except BaseException:
            self._cut()
            raise
        finally:
            upward.join()
            WATCHDOG.forget(self)
            self._backend.close()

    def look(self, now: float) -> None:
        """End it when it has been silent for too long."""
        if self._expires <= now:
            self.timed_out = True
            self._cut()

    def _stir(self) -> None:
        self._expires = time.monotonic() + self._idle

    def _pass_up(self, data: bytes) -> None:
        try:
            while data or (data := self._client.recv(READ_SIZE)):
                self._stir()
                self.up += len(data)
                _send_all(self._backend, data)
                data = b""
            self._backend.shutdown(socket.SHUT_WR)
        except OSError:
            self._break_off()

    def _pass_down(self, data: bytes) -> None:
        try:
            while data or (data := self._backend.recv(READ_SIZE)):
                self._stir()
                self.down += len(data)
                _send_all(self._client, data)
                data = b""
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            self._break_off()

    def _break_off(self) -> None:
        for wire in (self._client, self._backend):
            reset_at_close(wire)
        self._cut()

    def _cut(self) -> None:
        for wire in (self._client, self._backend):
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)


def _send_all(wire: TunnelEnd, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[wire.send(rest) :]
