"""The client of a connection whose peer is a proxy: what the proxy states in a header of the PROXY protocol, before
the first byte of TLS or of HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from lbflask.server.worker.client_connection import ClientConnection

#: Reads a header: its size and the client's address and port, or None for them; None while it is incomplete. Raises
#: ValueError for bytes that begin none.
ReadHeader = Callable[[bytes], tuple[int, tuple[str, str] | None] | None]

#: Bytes that are looked at in one step.
_STEP: Final = 4096


class NoProxyHeader(Exception):
    """A proxy has not sent a valid header in time, so the client is unknown. The text says why."""


def receive_client(client: ClientConnection, read_header: ReadHeader) -> bool:
    """Read the header of a connection within the time for a request head, and no byte more. Returns False at the end of
    the connection before the first byte: a probe of the port. Raises NoProxyHeader, OSError.
    """
    client.read_deadline.set_expires(time.monotonic() + client.timeouts.head)
    received = b""
    while True:
        try:
            arrived = client.stream.peek(_STEP)
        except TimeoutError:
            if not client.read_deadline.expired:
                raise
            raise NoProxyHeader("no header of the PROXY protocol has arrived in time") from None
        if not arrived:
            if received:
                raise NoProxyHeader("the connection ended within the header of the PROXY protocol")
            return False
        try:
            found = read_header(received + arrived)
        except ValueError as error:
            raise NoProxyHeader(str(error)) from None
        if found is not None:
            client.stream.take_raw(found[0] - len(received))
            if found[1] is not None:
                client.set_client(found[1][0], found[1][1])
            return True
        client.stream.take_raw(len(arrived))
        received += arrived
