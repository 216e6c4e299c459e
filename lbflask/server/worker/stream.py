"""A connected socket as the worker's greenlets use it.

gevent's own sockets try to read before they wait, and tell the kernel of each wait anew: two system calls for nothing
in most reads of a proxy, where the peer is still thinking. A stream registers for reading once, waits first, and learns
on the way when its peer has gone while nobody was reading.
"""

from __future__ import annotations

import _socket
import errno
import os
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent import get_hub, getcurrent

READ = 1
WRITE = 2
#: How plain HTTP begins: with a method, which is a token (RFC 9110 §5.6.2), or with an empty line before it. TLS begins
#: with the type of a handshake record, the byte 22 (RFC 8446 §5.1).
_HTTP_BEGINS = re.compile(rb"[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]")


class Stream:
    """One greenlet at a time may wait to read, and any number to write.

    Each wait registers its greenlet and removes nothing but that registration, since another greenlet may have begun to
    wait in the meantime. A greenlet that begins to read while another one reads takes its place: the other one sees a
    TimeoutError.
    """

    __slots__ = (
        "_hub",
        "_interrupted",
        "_reader",
        "_recv",
        "_send",
        "_switch",
        "_watcher",
        "_watching",
        "_writers",
        "gone",
        "on_gone",
        "sock",
    )

    def __init__(self, sock: _socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._recv = sock.recv
        self._send = sock.send
        self._hub = get_hub()
        self._switch = self._hub.switch
        self._watcher: Any = self._hub.loop.io(sock.fileno(), READ)
        self._watching = False
        self._reader: Any = None
        self._writers: dict[Any, Any] = {}  # greenlets that wait to write, each with its watcher
        self._interrupted: list[Any] = []  # greenlets that wait, and are about to see a TimeoutError
        self.gone = False
        #: Called in the hub, once, when the peer is seen to have gone while nobody was reading.
        self.on_gone: Callable[[], None] | None = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next bytes, at most `size`; empty at the end. Raises OSError, TimeoutError when interrupted.

        With flags it does not wait, and may raise BlockingIOError.
        """
        if flags:
            return self._recv(size, flags)
        while True:
            # Also when there is more to read at once: one long body must not keep all others waiting.
            self._await_readable()
            try:
                return self._recv(size)
            except BlockingIOError:
                continue

    def recv_at_once(self, size: int) -> bytes:
        """What has come already, at most `size`; empty when that is nothing, or the end."""
        try:
            return self._recv(size)
        except OSError:
            return b""

    def send(self, data: bytes | memoryview) -> int:
        """Send some of it, and say how much. Raises OSError, TimeoutError when interrupted."""
        while True:
            try:
                return self._send(data)
            except BlockingIOError:
                self._await_writable()

    def silent(self) -> bool:
        """Whether nothing has come, and no end, since it was last read, as far as the hub has seen. Asks nobody."""
        return self._watching

    def interrupt(self) -> None:
        """End all waits that are under way with a TimeoutError."""
        if self._reader is not None:
            self._interrupt_reader()
        for writer, watcher in self._writers.items():
            watcher.stop()
            self._interrupt(writer)

    def shutdown(self, how: int) -> None:
        """As of a socket."""
        self.sock.shutdown(how)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """As of a socket."""
        self.sock.setsockopt(level, option, value)

    def setblocking(self, flag: bool) -> None:
        """As of a socket; a stream blocks its greenlet in any case."""

    def fileno(self) -> int:
        """As of a socket."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close at once; whoever waits sees a TimeoutError."""
        self.interrupt()
        self._watching = False
        self._watcher.stop()
        self._watcher.close()
        self.sock.close()

    def _await_readable(self) -> None:
        watcher = self._watcher
        if not self._watching:
            if self.sock.fileno() < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._watching = True
            watcher.start(self._stirred)
        if self._reader is not None:
            self._interrupt_reader()
        self._reader = reader = getcurrent()
        watcher.callback = reader.switch
        try:
            self._switch()
        finally:
            if self._reader is reader:
                self._reader = None
                watcher.callback = self._stirred
            else:
                self._end_interrupt(reader)

    def _interrupt_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._watcher.callback = self._stirred
        self._interrupt(reader)

    def _interrupt(self, waiting: Any) -> None:
        if waiting not in self._interrupted:
            self._interrupted.append(waiting)
            # Not thrown from here: this greenlet would take the hub's place.
            self._hub.loop.run_callback(self._throw, waiting)

    def _throw(self, waiting: Any) -> None:
        """In the hub: end the wait, unless something else has ended it since it was interrupted."""
        if waiting in self._interrupted:
            waiting.throw(TimeoutError())

    def _end_interrupt(self, waiting: Any) -> None:
        if waiting in self._interrupted:
            self._interrupted.remove(waiting)

    def _stirred(self) -> None:
        """In the hub: something has come, or the end, and nobody is reading."""
        self._watching = False
        self._watcher.stop()  # else it would call again and again, until somebody reads
        if self._at_end():
            self.gone = True
            if self.on_gone is not None:
                self.on_gone()

    def _at_end(self) -> bool:
        """Whether what has come is the end."""
        try:
            return not self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _await_writable(self) -> None:
        writer = getcurrent()
        self._writers[writer] = watcher = self._hub.loop.io(self.sock.fileno(), WRITE)
        watcher.start(writer.switch)
        try:
            self._switch()
        finally:
            del self._writers[writer]
            self._end_interrupt(writer)
            watcher.stop()
            watcher.close()


class PlainHttp(Exception):
    """What a client sends to a listener with TLS is plain HTTP."""


class TlsStream(Stream):
    """The server's side of TLS over a stream (RFC 8446). Handshakes when it is first read.

    Records leave in the order in which they were made, whichever greenlet made them and whichever sends them: an
    interrupted greenlet leaves the rest of its record to the next one.
    """

    __slots__ = ("_ahead", "_incoming", "_outgoing", "_plain", "_shaken", "_tls", "_unsent")

    def __init__(self, sock: _socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = memoryview(b"")
        self._shaken = False
        self._plain: bool | None = None  # until something has come
        self._ahead = b""

    def recv(self, size: int, flags: int = 0) -> bytes:  # noqa: ARG002 - there is no peeking into TLS
        """As of a stream. Raises PlainHttp when the client speaks that, after which the stream is plain, and
        ssl.SSLError, which is an OSError, for anything else that is no TLS.
        """
        if not self._shaken:
            if self._plain:
                return super().recv(size)
            self._shake_hands()
        if self._ahead:
            ahead, self._ahead = self._ahead[:size], self._ahead[size:]
            return ahead
        try:
            return bytes(self._until_done(lambda: self._tls.read(size)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def recv_at_once(self, size: int) -> bytes:
        """As of a stream: what was decrypted already."""
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        return ahead

    def send(self, data: bytes | memoryview) -> int:
        """As of a stream."""
        if self._plain:
            return super().send(data)
        sent: int = self._tls.write(data[: 1 << 16])
        self._flush()
        return sent

    def _shake_hands(self) -> None:
        if self._plain is None:
            first = super().recv(1 << 16)
            self._plain = _HTTP_BEGINS.match(first) is not None
            if self._plain:
                raise PlainHttp
            self._take(first)
        self._until_done(self._tls.do_handshake)
        self._shaken = True

    def _until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._answer()
                self._take(super().recv(1 << 16))
            else:
                self._answer()
                return done

    def _take(self, encrypted: bytes) -> None:
        if encrypted:
            self._incoming.write(encrypted)
        else:
            self._incoming.write_eof()

    def _answer(self) -> None:
        """Send what reading has made (RFC 8446 §4.6.3). A greenlet that waits to write does it as well."""
        if self._outgoing.pending and not self._writers:
            self._flush()

    def _flush(self) -> None:
        """Send all records that were made. Raises OSError, TimeoutError when interrupted."""
        while self._push():
            self._await_writable()

    def _push(self) -> bool:
        """Send what can be sent at once. Whether there are records left. Raises OSError."""
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
            self._take(self._recv(1 << 16))
            self._ahead += self._tls.read(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return not self._ahead

    def shutdown(self, how: int) -> None:
        """As of a socket; the end of writing is told by TLS first (RFC 8446 §6.1).

        An end of both directions waits for nothing, so that it may come from outside.
        """
        if self._shaken and how != socket.SHUT_RD:
            with suppress(OSError):
                while more := self._tls.read(1 << 16):  # which `unwrap` would refuse, and all that follows it
                    self._ahead += more
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                if how == socket.SHUT_WR:
                    self._flush()
                else:
                    self._push()
        super().shutdown(how)
