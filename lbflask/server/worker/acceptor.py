"""Accepts new connections of a listener."""

from __future__ import annotations

import _socket
import socket
import sys
from collections.abc import Callable
from typing import Any

from gevent import get_hub

#: Seconds until the next accept when another worker has fewer connections.
BACKOFF = 0.002
#: Seconds until the next accept when the worker is full, or has no file descriptor left.
FULL_BACKOFF = 0.1
#: Connections that are accepted before other greenlets run.
BATCH = 64
#: `tcpi_unacked` of a listener: connections in its backlog (Linux, tcp_info in linux/tcp.h).
_BACKLOG = slice(24, 28)

OnAccept = Callable[[_socket.socket, Any], None]


class Acceptor:
    """Accepts connections unless the worker is `full`, and passes each to `on_accept` at once, in the hub.

    `share` is called with the number of pending connections, and returns the part of this worker, which it accepts at
    once, up to BATCH. After a share of 0 it accepts one after BACKOFF: another worker should try first. Connections
    that are not accepted stay in the listener's backlog. `on_failure` is called with the error of the system when it
    cannot hand over a connection; it must not block.
    """

    def __init__(
        self,
        listener: Any,
        on_accept: OnAccept,
        *,
        share: Callable[[int], int],
        full: Callable[[], bool],
        on_failure: Callable[[OSError], None],
    ) -> None:
        self._listener = listener
        self._accept = listener._sock._accept
        self._on_accept = on_accept
        self._share = share
        self._full = full
        self._on_failure = on_failure
        loop = get_hub().loop
        self._readable: Any = loop.io(listener.fileno(), 1)
        # Repeating timers that are stopped when they fire: libev would fire a one-shot timer at once when it is started
        # again, since it keeps the remaining time.
        self._pause: Any = loop.timer(BACKOFF, BACKOFF)
        self._no_room: Any = loop.timer(FULL_BACKOFF, FULL_BACKOFF)
        self._readable.start(self._on_readable)

    def resume(self) -> None:
        """A client has left: accept at once if the worker waits until it has room."""
        if self._no_room.active:
            self._after_pause()

    def close(self) -> None:
        """Stop accepting, and close the listener in this process; other processes that share it go on."""
        for watcher in (self._readable, self._pause, self._no_room):
            watcher.stop()
            watcher.close()
        self._listener.close()

    def _on_readable(self) -> None:
        share = self._share(backlog(self._listener))
        if share > 0:
            self._accept_batch(min(share, BATCH))
        else:
            self._readable.stop()
            self._pause.again(self._after_pause, update=True)

    def _after_pause(self) -> None:
        self._pause.stop()
        self._no_room.stop()
        self._readable.start(self._on_readable)
        self._accept_batch(1)

    def _accept_batch(self, size: int) -> None:
        for _ in range(size):
            if self._full():
                self._pause_for_room()
                return
            try:
                descriptor, address = self._accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._on_failure(error)
                self._pause_for_room()
                return
            self._on_accept(_socket.socket(fileno=descriptor), address)

    def _pause_for_room(self) -> None:
        self._readable.stop()
        self._no_room.again(self._after_pause, update=True)


def backlog(listener: socket.socket) -> int:
    """Connections of a readable listener that wait to be accepted; 1 where the kernel does not count them, as for a
    unix socket.
    """
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BACKLOG.stop)
    except OSError:
        return 1
    return max(1, int.from_bytes(info[_BACKLOG], sys.byteorder))
