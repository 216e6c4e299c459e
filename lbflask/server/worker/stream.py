"""A connected socket as the worker's greenlets use it.

gevent's own sockets try to read before they wait, and tell the kernel of each wait anew: two system calls for nothing
in most reads of a proxy, where the peer is still thinking. A stream registers for reading once, waits first, and learns
on the way when its peer has gone while nobody was reading.
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


class Stream:
    """One greenlet at a time may wait to read, and any number to write.

    Each wait registers its greenlet and removes nothing but that registration, since another greenlet may have begun to
    wait in the meantime. A greenlet that begins to read while another one reads takes its place: the other one sees a
    TimeoutError.
    """

    __slots__ = (
        "_hub",
        "_interrupted",
        "_on_gone",
        "_reader",
        "_recv",
        "_send",
        "_switch",
        "_watcher",
        "_watching",
        "_writers",
        "gone",
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
        self._on_gone: Callable[[], None] | None = None

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

    def set_on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call it in the hub, once, when the peer closes while no greenlet reads; None cancels it."""
        self._on_gone = callback

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
            watcher.start(self._on_readable_idle)
        if self._reader is not None:
            self._interrupt_reader()
        self._reader = reader = getcurrent()
        watcher.callback = reader.switch
        try:
            self._switch()
        finally:
            if self._reader is reader:
                self._reader = None
                watcher.callback = self._on_readable_idle
            else:
                self._end_interrupt(reader)

    def _interrupt_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._watcher.callback = self._on_readable_idle
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

    def _on_readable_idle(self) -> None:
        """In the hub: something has come, or the end, and nobody is reading."""
        self._watching = False
        self._watcher.stop()  # else it would call again and again, until somebody reads
        if self._at_end():
            self.gone = True
            if self._on_gone is not None:
                self._on_gone()

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
