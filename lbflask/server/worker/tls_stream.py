"""TLS towards clients over a stream."""

from __future__ import annotations

import _socket
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lbflask.server.worker.stream import Stream

#: The first byte of plain HTTP: of a method, which is a token (RFC 9110 §5.6.2), or of an empty line before it. TLS
#: starts with the type of a handshake record, the byte 22 (RFC 8446 §5.1).
_HTTP_START = re.compile(rb"[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]")


class PlainHttp(Exception):
    """A client sends plain HTTP to a listener with TLS."""


class TlsStream(Stream):
    """The server side of TLS over a stream (RFC 8446). The first read does the handshake.

    Records are sent in the order of their encryption, by any greenlet: an interrupted greenlet leaves the rest of its
    record to the next one.
    """

    def __init__(self, sock: _socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = memoryview(b"")
        self._handshake_done = False
        self._plain: bool | None = None  # None until the first byte
        self._ahead = b""

    def recv(self, size: int, flags: int = 0) -> bytes:  # noqa: ARG002 - there is no peeking into TLS
        """As of a stream. Raises PlainHttp for a client without TLS, after which the stream is plain, and ssl.SSLError,
        an OSError, for anything else that is no TLS.
        """
        if not self._handshake_done:
            if self._plain:
                return super().recv(size)
            self._handshake()
        if self._ahead:
            return self.recv_at_once(size)
        try:
            return bytes(self._until_done(lambda: self._tls.read(size)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def recv_at_once(self, size: int) -> bytes:
        """As of a stream: bytes that are decrypted already."""
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        return ahead

    def send(self, data: bytes | memoryview) -> int:
        """As of a stream."""
        if self._plain:
            return super().send(data)
        sent: int = self._tls.write(data[: 1 << 16])
        self._flush()
        return sent

    def _handshake(self) -> None:
        if self._plain is None:
            first = super().recv(1 << 16)
            self._plain = _HTTP_START.match(first) is not None
            if self._plain:
                raise PlainHttp
            self._feed(first)
        self._until_done(self._tls.do_handshake)
        self._handshake_done = True

    def _until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush_if_idle()
                self._feed(super().recv(1 << 16))
            else:
                self._flush_if_idle()
                return done

    def _feed(self, encrypted: bytes) -> None:
        if encrypted:
            self._incoming.write(encrypted)
        else:
            self._incoming.write_eof()

    def _flush_if_idle(self) -> None:
        """Send records that reading has produced (RFC 8446 §4.6.3), unless a waiting writer sends them."""
        if self._outgoing.pending and not self._writers:
            self._flush()

    def _flush(self) -> None:
        """Send all pending records. Raises OSError, TimeoutError when interrupted."""
        while self._push():
            self._await_writable()

    def _push(self) -> bool:
        """Send records without waiting. Returns whether some are left. Raises OSError."""
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            try:
                self._unsent = self._unsent[self._send(self._unsent) :]
            except BlockingIOError:
                return True
        return False

    def _at_end(self) -> bool:
        try:
            self._feed(self._recv(1 << 16))
            self._ahead += self._tls.read(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return not self._ahead

    def shutdown(self, how: int) -> None:
        """As of a socket; sends close_notify before the end of writing (RFC 8446 §6.1).

        A shutdown of both directions does not wait, so that any greenlet may call it.
        """
        if self._handshake_done and how != socket.SHUT_RD:
            with suppress(OSError):
                while more := self._tls.read(1 << 16):  # `unwrap` would fail while data is pending
                    self._ahead += more
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                if how == socket.SHUT_WR:
                    self._flush()
                else:
                    self._push()
        super().shutdown(how)
