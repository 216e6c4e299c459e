"""TLS towards clients over a stream."""

from __future__ import annotations

import _socket
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from lbflask.server.worker.stream import Stream, Subject, TlsFacts

#: The first byte of plain HTTP: of a method, which is a token (RFC 9110 §5.6.2), or of an empty line before it. TLS
#: starts with the type of a handshake record, the byte 22 (RFC 8446 §5.1).
_HTTP_START = re.compile(rb"[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]")
#: The protocol of a challenge by TLS-ALPN (RFC 8737 §4): a connection ends with its handshake, which no certificate of
#: a client is demanded for.
CHALLENGE_PROTOCOL = "acme-tls/1"
#: Bytes of one read from the socket, and of one encryption: four of the largest records (RFC 8446 §5.1).
FLIGHT = 1 << 16
#: What all streams of the process read into, since no greenlet runs between a read and the use of its bytes: encrypted
#: bytes of a socket, and the content of their records.
_ENCRYPTED = memoryview(bytearray(FLIGHT))
_CONTENT = memoryview(bytearray(FLIGHT))


class PlainHttp(Exception):
    """A client sends plain HTTP to a listener with TLS."""


class TlsStream(Stream):
    """The server side of TLS over a stream (RFC 8446). The first read does the handshake.

    Records are sent in the order of their encryption, by any greenlet: an interrupted greenlet leaves the rest of its
    record to the next one. `context_for` may choose another context by the first bytes of the client. `on_handshake` is
    called when a handshake that has begun ends: with its error, or None, and with whether a session was resumed.
    """

    def __init__(
        self,
        sock: _socket.socket,
        context: ssl.SSLContext,
        on_handshake: Callable[[Exception | None, bool], None] | None = None,
        context_for: Callable[[bytes], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(sock)
        self._recv_into = sock.recv_into
        self._on_handshake = on_handshake
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._context = context
        self._context_for = context_for
        self._begin(context)
        self._unsent = memoryview(b"")
        self._handshake_done = False
        self._plain: bool | None = None  # None until the first byte
        self._ahead = b""
        self._ended = False  # by the client's close_notify, or by the end of the connection
        self._facts: TlsFacts | None = None
        self._certificates: tuple[bytes, ...] | None = None  # None until they are asked for

    def _begin(self, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # Into a buffer it returns a number, which its annotation does not have.
        self._read = cast("Callable[[int, memoryview], int]", self._tls.read)

    @property
    def tls_facts(self) -> TlsFacts:
        """As of a stream, once the handshake is done."""
        if self._facts is None:
            certificate = self._tls.getpeercert() or {}
            self._facts = self._tls.version() or "", cast("Subject", certificate.get("subject", ()))
        return self._facts

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """As of a stream, once the handshake is done."""
        if self._certificates is None:
            leaf = self._tls.getpeercert(binary_form=True)
            self._certificates = () if leaf is None else _verified_chain(self._tls) or (leaf,)
        return self._certificates

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
        incoming = self._incoming
        while not self._ended:
            # OpenSSL would report by an exception that nothing has arrived.
            if incoming.pending or incoming.eof or self._tls.pending():
                try:
                    content = self._decrypt(size)
                except ssl.SSLWantReadError:
                    pass
                else:
                    self._flush_if_idle()
                    return content
            self._flush_if_idle()
            self._receive()
        return b""

    def recv_at_once(self, size: int) -> bytes:
        """As of a stream: bytes that are decrypted already."""
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        return ahead

    def send(self, data: bytes | memoryview) -> int:
        """As of a stream."""
        if self._plain:
            return super().send(data)
        taken: int = self._tls.write(data if len(data) <= FLIGHT else memoryview(data)[:FLIGHT])
        if not self._unsent:
            records, sent = self._outgoing.read(), 0
            try:
                sent = self._send(records)
            except BlockingIOError:
                pass
            if sent == len(records):
                return taken
            self._unsent = memoryview(records)[sent:]
        self._flush()
        return taken

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """As of a stream; the file is read, since its bytes are encrypted here."""
        return self._send_read(fd, offset, count)

    def _handshake(self) -> None:
        if self._plain is None:
            first = super().recv(FLIGHT)
            if not first:  # a probe of a port, or a browser that connects in advance
                raise ConnectionAbortedError
            self._plain = _HTTP_START.match(first) is not None
            if self._plain:
                self._end_handshake(PlainHttp())
            if self._context_for is not None and (context := self._context_for(first)) is not self._context:
                self._begin(context)
            self._feed(first)
        try:
            self._shake()
        except OSError as error:
            with suppress(OSError):
                self._push()  # the alert, by which the client learns the reason (RFC 8446 §6.2)
            self._end_handshake(error)
        self._handshake_done = True
        self._end_handshake(None)
        if self._tls.selected_alpn_protocol() == CHALLENGE_PROTOCOL:
            raise ConnectionAbortedError

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush_if_idle()
                self._receive()
            else:
                self._flush_if_idle()
                return

    def _end_handshake(self, error: Exception | None) -> None:
        """Raises the error."""
        ended, self._on_handshake = self._on_handshake, None
        if ended is not None:
            ended(error, error is None and bool(self._tls.session_reused))
        if error is not None:
            raise error

    def _decrypt(self, size: int) -> bytes:
        """The content of the records that have arrived, at most `size` bytes; empty at the end.

        Raises ssl.SSLWantReadError if they have none, and ssl.SSLError for what is no TLS.
        """
        size, count = min(size, FLIGHT), 0
        try:
            count = more = self._read(size, _CONTENT)
            while more and count < size and self._incoming.pending:
                more = self._read(size - count, _CONTENT[count:])
                count += more
            self._ended = not more  # by close_notify
        except ssl.SSLWantReadError:
            if not count:
                raise
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        return bytes(_CONTENT[:count])

    def _receive(self) -> None:
        """Wait for encrypted bytes, or for the end of the connection. Raises OSError, TimeoutError when interrupted."""
        while True:
            self._await_readable()
            try:
                self._receive_now()
            except BlockingIOError:
                continue
            return

    def _receive_now(self) -> None:
        count = self._recv_into(_ENCRYPTED)
        self._feed(_ENCRYPTED[:count])

    def _feed(self, encrypted: bytes | memoryview) -> None:
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
                sent = self._send(self._unsent)
                self._unsent = self._unsent[sent:]
            except BlockingIOError:
                return True
        return False

    def _at_end(self) -> bool:
        try:
            self._receive_now()
            self._ahead += self._decrypt(FLIGHT)
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
                while more := self._decrypt(FLIGHT):  # `unwrap` would fail while data is pending
                    self._ahead += more
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                if how == socket.SHUT_WR:
                    self._flush()
                else:
                    self._push()
        super().shutdown(how)


def _verified_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The client's certificate in DER and those that vouch for it, up to an authority that is trusted. The method is
    public from Python 3.13 on.
    """
    public: Any = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return tuple(public())
    inner: Any = tls
    found = inner._sslobj.get_verified_chain() or ()
    return tuple([ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in found])
