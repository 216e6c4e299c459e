"""Connections kept for reuse, latest first, each backend's apart.

A connection is dropped before the backend is likely to close it: gunicorn, the usual backend, closes after 2 s of
silence, and a request that meets the closing can be lost.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.dialer import Dialer

#: Seconds a connection may have been idle when it is taken.
MAX_IDLE = 1.5
#: Seconds after which a connection is not taken again, so that changed DNS records are noticed.
MAX_AGE = 3600.0
#: Idle connections kept for one backend by one worker.
MAX_KEPT = 512


class ConnectionPool:
    """Idle connections. Threads and greenlets may share it; `clock` gives steady seconds."""

    def __init__(self, clock: Callable[[], float], dialer: Dialer | None = None) -> None:
        self._clock = clock
        self._dialer = dialer or Dialer()
        self._idle: defaultdict[str, list[UpstreamConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False
        self.opened = 0  #: connections, so far
        self.reused = 0  #: times that one was taken again

    def take(self, origin: str, careful: bool) -> UpstreamConnection | None:
        """An idle connection to the server of that URL with nothing unread on it, or None.

        `careful` also looks whether the backend has closed it meanwhile.
        """
        now = self._clock()
        idle = self._idle[origin]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            silence = now - connection.idle_since
            if silence > MAX_IDLE:
                # Those below have been idle for longer still.
                connection.close()
                self._drop_all(idle)
                return None
            if now - connection.opened_at > MAX_AGE or not (connection.quiet() if careful else connection.silent()):
                connection.close()
                continue
            self.reused += 1
            return connection

    def open(self, address: Address, timeout: float) -> UpstreamConnection:
        """A new connection. Raises Fault."""
        connection = self._dialer.open(address, timeout, self._clock())
        self.opened += 1
        return connection

    @property
    def idle(self) -> int:
        """Connections kept now."""
        return sum(map(len, self._idle.values()))

    def give_back(self, origin: str, connection: UpstreamConnection) -> None:
        """Keep the connection for another request."""
        idle = self._idle[origin]
        if self._closed or len(idle) >= MAX_KEPT:
            connection.close()
            return
        connection.idle_since = self._clock()
        idle.append(connection)

    def sweep(self) -> None:
        """Close what has been idle for so long that nobody would take it: above all, to backends that are gone."""
        now = self._clock()
        for origin, idle in list(self._idle.items()):
            while (oldest := _oldest(idle)) is not None:
                if now - oldest.idle_since <= MAX_IDLE:
                    idle.insert(0, oldest)
                    break
                oldest.close()
            else:
                # A connection that is given back in this very moment may be lost with it, which closes it too.
                self._idle.pop(origin, None)

    def close(self) -> None:
        """Close all idle connections, and those that are given back later."""
        self._closed = True
        for idle in self._idle.values():
            self._drop_all(idle)

    def _drop_all(self, idle: list[UpstreamConnection]) -> None:
        with self._lock:
            dropped, idle[:] = list(idle), []
        for connection in dropped:
            connection.close()


def _oldest(idle: list[UpstreamConnection]) -> UpstreamConnection | None:
    """Taken off the list, since others take from its other end meanwhile."""
    try:
        return idle.pop(0)
    except IndexError:
        return None
