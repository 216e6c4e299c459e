"""A socket of the standard library as a network stream."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD

from lbflask.upstream.stream import SocketOptions

_NO_BYTES = bytes(4)


class SocketStream:
    """A blocking socket as a network stream."""

    __slots__ = ("close", "fileno", "recv", "send", "setblocking", "setsockopt", "shutdown")

    def __init__(self, sock: socket.socket) -> None:
        self.recv = sock.recv
        self.send = sock.send
        self.fileno = sock.fileno
        self.setblocking = sock.setblocking
        self.setsockopt = sock.setsockopt
        self.shutdown = sock.shutdown
        self.close = sock.close

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fileno()}>"

    def silent(self) -> bool:
        """See NetworkStream. The kernel counts the unread bytes; the end of the stream does not count."""
        return ioctl(self.fileno(), FIONREAD, _NO_BYTES) == _NO_BYTES


def blocking(sock: socket.socket) -> SocketStream:
    """The socket in blocking mode, without a time-out: the deadline sweeper ends waits that last too long."""
    sock.setblocking(True)
    return SocketStream(sock)


def reset_at_close(sock: SocketOptions) -> None:
    """Have `close` send a reset, for a stream that breaks off.

    An orderly end does not reach a peer whose window is closed: it probes the window, a connection in FIN-WAIT-2
    acknowledges the probes, and its writer stays blocked for a minute (RFC 9293 §3.8.6.1).
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
