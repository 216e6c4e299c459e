"""A connected socket for the greenlets of a worker.

gevent's own sockets try to read before they wait, and register each wait with the kernel: two system calls without
effect for most reads of a proxy, whose peer has not sent yet. A stream registers for reading once, waits first, and so
also detects that the peer has closed while no greenlet reads.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from gevent import get_hub, getcurrent

READ = 1
WRITE = 2
#: Bytes of a file that one sendfile(2) sends, and that are read at once where it cannot.
SENDFILE = 1 << 19
PREAD = 1 << 16
#: The file system does not support it.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

#: The subject of a certificate, as Python's `ssl` has it: sets of attributes, each a type and a value.
Subject = tuple[tuple[tuple[str, str], ...], ...]
#: The version of TLS, such as `TLSv1.3`, and the subject of the client's certificate; both are empty without one.
TlsFacts = tuple[str, Subject]
NO_TLS: TlsFacts = ("", ())


class Stream:
    """One greenlet at a time may wait to read, and any number to write.

    Each wait registers its greenlet and removes only that registration, since another greenlet may wait by then. A
    greenlet that starts to read while another one reads replaces it: the other one gets a TimeoutError.
    """

    def __init__(self, sock: _socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fileno = sock.fileno
        self.setsockopt = sock.setsockopt
        self._recv = sock.recv
        self._send = sock.send
        self._hub = get_hub()
        self._switch = self._hub.switch
        self._watcher: Any = self._hub.loop.io(sock.fileno(), READ)
        self._watching = False
        self._reader: Any = None
        self._writers: dict[Any, Any] = {}  # waiting greenlets, each with its watcher
        self._interrupted: list[Any] = []  # waiting greenlets that are about to get a TimeoutError
        self.gone = False
        self._on_gone: Callable[[], None] | None = None
        self._on_blocked: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "gone" if self.gone else "reading" if self._reader is not None else "idle"
        return f"<{type(self).__name__} fd={self.fileno()} {state} writers={len(self._writers)}>"

    @property
    def tls_facts(self) -> TlsFacts:
        """What is known of TLS on it."""
        return NO_TLS

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """The client's certificate in DER, which is verified, followed by those that vouch for it; empty without."""
        return ()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next bytes, at most `size`; empty at the end. Raises OSError, TimeoutError when interrupted.

        With flags it does not wait, and may raise BlockingIOError.
        """
        if flags:
            return self._recv(size, flags)
        while True:
            # Waits even if there is more to read: a long body must not delay all other greenlets.
            self._await_readable()
            try:
                return self._recv(size)
            except BlockingIOError:
                continue

    def recv_at_once(self, size: int) -> bytes:
        """Bytes that have arrived, at most `size`; empty if there are none, or at the end."""
        try:
            return self._recv(size)
        except OSError:
            return b""

    def peek(self, size: int) -> bytes:
        """The next bytes as they arrive at the socket, below any TLS, at most `size`; empty at the end. They stay there
        until `take_raw` has them. Raises OSError, TimeoutError when interrupted.
        """
        while True:
            self._await_readable()
            try:
                return self._recv(size, socket.MSG_PEEK)
            except BlockingIOError:
                continue

    def take_raw(self, size: int) -> None:
        """Discard bytes that `peek` has returned. Raises OSError."""
        self._recv(size)

    def send(self, data: bytes | memoryview) -> int:
        """Send a part of the data. Returns its length. Raises OSError, TimeoutError when interrupted."""
        while True:
            try:
                return self._send(data)
            except BlockingIOError:
                self._await_writable()

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send a part of the file, of `count` bytes from `offset` on. Returns its length, 0 at the end of the file.

        Raises OSError, TimeoutError when interrupted. Waits first, as `recv` does: a large file must not delay all
        other greenlets. A read from a slow disk does: SENDFILE bounds it.
        """
        while True:
            self._await_writable()
            try:
                return os.sendfile(self.fileno(), fd, offset, min(count, SENDFILE))
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                return self._send_read(fd, offset, count)

    def _send_read(self, fd: int, offset: int, count: int) -> int:
        data = os.pread(fd, min(count, PREAD), offset)
        return self.send(data) if data else 0

    def silent(self) -> bool:
        """Whether the hub has seen neither data nor the end since the last read. Makes no system call."""
        return self._watching

    def unread(self) -> bool:
        """Whether bytes, or the end, have arrived at the socket and were not read."""
        try:
            self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass  # the next read raises it
        return True

    def set_on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call it in the hub, once, when the peer closes while no greenlet reads; None cancels it."""
        self._on_gone = callback

    def set_on_blocked(self, callback: Callable[[], None] | None) -> None:
        """Call it once, in the greenlet that writes, when a write is about to wait for the peer; None cancels it."""
        self._on_blocked = callback

    def interrupt(self) -> None:
        """End all waits in progress with a TimeoutError."""
        if self._reader is not None:
            self._interrupt_reader()
        for writer, watcher in self._writers.items():
            watcher.stop()
            self._interrupt(writer)

    def shutdown(self, how: int) -> None:
        """As of a socket."""
        self.sock.shutdown(how)

    def setblocking(self, flag: bool) -> None:
        """As of a socket, without effect: a stream blocks its greenlet in any case."""

    def close(self) -> None:
        """Close at once; waiting greenlets get a TimeoutError."""
        self.interrupt()
        self._watching = False
        self._watcher.stop()
        self._watcher.close()
        self.sock.close()

    def _await_readable(self) -> None:
        if not self._watching:
            if self.fileno() < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._watching = True
            self._watcher.start(self._on_readable)
        if self._reader is not None:
            self._interrupt_reader()
        self._reader = reader = getcurrent()
        try:
            self._switch()
        finally:
            if self._reader is reader:
                self._reader = None
            else:
                self._end_interrupt(reader)

    def _interrupt_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._interrupt(reader)

    def _interrupt(self, waiting: Any) -> None:
        if waiting not in self._interrupted:
            self._interrupted.append(waiting)
            # Thrown by the hub: a throw from here would switch away from the present greenlet.
            self._hub.loop.run_callback(self._throw, waiting)

    def _throw(self, waiting: Any) -> None:
        """Hub callback: end the wait, unless it has ended since the interrupt."""
        if waiting in self._interrupted:
            waiting.throw(TimeoutError())

    def _end_interrupt(self, waiting: Any) -> None:
        if waiting in self._interrupted:
            self._interrupted.remove(waiting)

    def _on_readable(self) -> None:
        """Hub callback: readable (data or EOF)."""
        reader = self._reader
        if reader is not None:
            reader.switch()
            return
        self._watching = False
        self._watcher.stop()  # a level-triggered watcher would fire until the next read
        if self._at_end():
            self.gone = True
            if self._on_gone is not None:
                self._on_gone()

    def _at_end(self) -> bool:
        """Whether the peer has closed, and no data is pending."""
        try:
            return not self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _await_writable(self) -> None:
        if self._on_blocked is not None:
            on_blocked, self._on_blocked = self._on_blocked, None
            on_blocked()
        writer = getcurrent()
        self._writers[writer] = watcher = self._hub.loop.io(self.fileno(), WRITE)
        watcher.start(writer.switch)
        try:
            self._switch()
        finally:
            del self._writers[writer]
            self._end_interrupt(writer)
            watcher.stop()
            watcher.close()
