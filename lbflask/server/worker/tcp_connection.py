"""A client connection without HTTP, as the application gets it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from lbflask.server.worker.client_connection import ClientConnection
from lbflask.server.worker.client_stream import ClientStream

#: Bytes of one read of the first message.
_STEP: Final = 16_384


class NoServerName(Exception):
    """The client has not begun with a first message of TLS in time. The text says why."""


class TcpConnection:
    """A connection of the client at `peer`, an address and a port, by the listener of that label. `server_name` is what
    the client asks for, empty if it was not read; `early` are the bytes that were read for it.
    """

    def __init__(self, client: ClientConnection, server_name: str = "", early: bytes = b"") -> None:
        self._client = client
        self.peer = (client.peer, client.peer_port)
        self.local = client.local
        self.listener = client.listener
        self.server_name = server_name
        self.early = early

    def __repr__(self) -> str:
        return f"<TcpConnection {self.peer[0] or 'unix'} {self.listener} {self.server_name or '-'}>"

    def detach(self) -> ClientStream:
        """The stream, without deadlines, for a tunnel."""
        return self._client.detach()[0]

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call it once when the client hangs up; None cancels it."""
        self._client.notify_when_gone(callback)


def begin(client: ClientConnection, read_name: Callable[[bytes], str | None] | None) -> TcpConnection | None:
    """The connection, with the name that the client asks for if `read_name` reads one: all of its first message is
    read within the time for a request head. None at the end of the connection before the first byte.

    Raises NoServerName, OSError.
    """
    if read_name is None:
        return TcpConnection(client)
    client.read_deadline.set_expires(time.monotonic() + client.timeouts.head)
    early = b""
    while True:
        try:
            data = client.stream.recv(_STEP)
        except TimeoutError:
            if not client.read_deadline.expired:
                raise
            raise NoServerName("no first message of TLS has arrived in time") from None
        if not data:
            if early:
                raise NoServerName("the connection ended within the first message of TLS")
            return None
        early += data
        try:
            name = read_name(early)
        except ValueError as error:
            raise NoServerName(str(error)) from None
        if name is not None:
            return TcpConnection(client, name, early)
