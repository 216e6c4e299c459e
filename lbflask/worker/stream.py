"""A connected socket as the worker's greenlets use it.

gevent's own sockets try to read before they wait, and tell the kernel of each wait anew: two system calls for nothing
in most reads of a proxy, where the peer is still thinking. A stream registers for reading once, waits first, and learns
on the way when its peer has gone while nobody was reading.
"""

from __future__ import annotations

import _socket
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent import get_hub, getcurrent
from gevent.lock import BoundedSemaphore

READ = 1
WRITE = 2


class Stream:
    """One reader and one writer at a time may wait; they may be different greenlets."""

    __slots__ = (
        "_hub",
        "_reader",
        "_recv",
        "_send",
        "_switch",
        "_watcher",
        "_watching",
        "_writer",
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
        self._writer: Any = None
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
        """Let whoever waits for the peer see a TimeoutError."""
        for waiting in (self._reader, self._writer):
            if waiting is not None:
                # Not thrown from here: this greenlet would take the hub's place.
                self._hub.loop.run_callback(waiting.throw, TimeoutError())
        self._reader = self._writer = None
        self._watcher.callback = self._stirred  # not the one who is about to be told

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
        self._watcher.stop()
        self._watcher.close()
        self.sock.close()

    def _await_readable(self) -> None:
        watcher = self._watcher
        if not self._watching:
            self._watching = True
            watcher.start(self._stirred)
        self._reader = reader = getcurrent()
        watcher.callback = reader.switch
        try:
            self._switch()
        finally:
            self._reader = None
            watcher.callback = self._stirred

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
        watcher = self._hub.loop.io(self.sock.fileno(), WRITE)
        self._writer = getcurrent()
        watcher.start(self._writer.switch)
        try:
            self._switch()
        finally:
            self._writer = None
            watcher.stop()
            watcher.close()


class TlsStream(Stream):
    """The server's side of TLS over a stream (RFC 8446). Handshakes when it is first read."""

    __slots__ = ("_ahead", "_flushing", "_incoming", "_outgoing", "_shaken", "_tls")

    def __init__(self, sock: _socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._flushing = BoundedSemaphore()
        self._shaken = False
        self._ahead = b""

    def recv(self, size: int, flags: int = 0) -> bytes:  # noqa: ARG002 - there is no peeking into TLS
        """As of a stream. Raises ssl.SSLError, which is an OSError, for what is no TLS."""
        if not self._shaken:
            self._until_done(self._tls.do_handshake)
            self._shaken = True
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
        sent: int = self._tls.write(data[: 1 << 16])
        self._flush()
        return sent

    def _until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._take(super().recv(1 << 16))
            else:
                self._flush()
                return done

    def _take(self, encrypted: bytes) -> None:
        if encrypted:
            self._incoming.write(encrypted)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if not self._outgoing.pending:
            return  # a reader, nearly always: it must not wait for a writer
        with self._flushing:  # else the one's record would get into the middle of the other's
            rest = memoryview(self._outgoing.read())
            while rest:
                rest = rest[super().send(rest) :]

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
        """As of a socket; the end of writing is told by TLS first (RFC 8446 §6.1)."""
        if self._shaken and how != socket.SHUT_RD:
            with suppress(OSError):
                while more := self._tls.read(1 << 16):  # which `unwrap` would refuse, and all that follows it
                    self._ahead += more
            with suppress(OSError):
                self._tls.unwrap()
            with suppress(OSError):
                self._flush()
        super().shutdown(how)
