"""A backend under TLS 1.3 that chooses when its session tickets leave (RFC 8446 §4.6.1), and in how many pieces."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from devtools.scripted_backend import Peer, Script

READ_SIZE = 65_536


class TicketingPeer:
    """The backend's end of a connection under TLS. `tickets` are held until the script sends them."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unread = b""
        self._until_done(self._tls.do_handshake)
        self.tickets = self._outgoing.read()
        assert self._tls.version() == "TLSv1.3"
        assert self.tickets

    def send_raw(self, *pieces: bytes) -> None:
        """Send these bytes as they are: records, or parts of them."""
        for piece in pieces:
            self._peer.send(piece)

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._peer.send(self._outgoing.read())

    def read(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._unread += self._until_done(lambda: self._tls.read(READ_SIZE))
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        return head

    def _until_done(self, step: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                return step() or b""
            except ssl.SSLWantReadError:
                if flight := self._outgoing.read():
                    self._peer.send(flight)
                data = self._peer.read_some()
                if not data:
                    raise OSError("the other side has gone") from None
                self._incoming.write(data)


def ticketing(context: ssl.SSLContext, script: Callable[[TicketingPeer], None]) -> Script:
    """The script, under TLS with this context."""
    return lambda peer: script(TicketingPeer(peer, context))
