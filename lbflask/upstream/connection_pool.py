"""Connections kept for reuse, per backend, the most recently used first.

A connection is dropped before the backend is likely to close it: gunicorn, the usual backend, closes after 2 s without
a request, and a request that crosses the close can be lost.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.dialer import Dialer

#: Seconds for which a connection may have been idle when it is reused.
MAX_IDLE = 1.5
#: Seconds after which a connection is not reused, so that changed DNS records take effect.
MAX_AGE = 3600.0
#: Idle connections of one worker to one backend.
MAX_KEPT = 512


#: An idle connection, and since when it is idle.
_Idle = tuple[UpstreamConnection, float]


class ConnectionPool:
    """Idle connections. Threads and greenlets may share it; `clock` returns seconds of a monotonic clock."""

    def __init__(self, clock: Callable[[], float], dialer: Dialer | None = None) -> None:
        self._clock = clock
        self._dialer = dialer or Dialer()
        self._idle: defaultdict[str, list[_Idle]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False
        self.opened = 0  #: connections, since the start
        self.reused = 0  #: requests over a connection that had carried one before

    def __repr__(self) -> str:
        return f"<ConnectionPool idle={self.idle} opened={self.opened} reused={self.reused}>"

    def take(self, origin: str, check_alive: bool) -> UpstreamConnection | None:
        """An idle connection to the server of that URL without unread bytes, or None.

        `check_alive` also checks whether the backend has closed it.
        """
        now = self._clock()
        idle = self._idle[origin]
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:
                return None
            if now - since > MAX_IDLE:
                connection.close()
                self._drop_all(idle)  # they have been idle for longer still
                return None
            usable = connection.is_alive() if check_alive else connection.is_silent()
            if now - connection.opened_at > MAX_AGE or not usable:
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
        """The number of idle connections."""
        return sum(map(len, self._idle.values()))

    def give_back(self, origin: str, connection: UpstreamConnection) -> None:
        """Keep the connection for another request if it may carry one, else close it."""
        idle = self._idle[origin]
        if self._closed or not connection.reusable or len(idle) >= MAX_KEPT:
            connection.close()
            return
        idle.append((connection, self._clock()))

    def sweep(self) -> None:
        """Close connections that have been idle for longer than `MAX_IDLE`, such as those to removed backends."""
        now = self._clock()
        for origin, idle in list(self._idle.items()):
            while (oldest := _pop_oldest(idle)) is not None:
                if now - oldest[1] <= MAX_IDLE:
                    idle.insert(0, oldest)
                    break
                oldest[0].close()
            else:
                # A connection that is given back at this moment may be lost with the list, which closes it too.
                self._idle.pop(origin, None)

    def close(self) -> None:
        """Close all idle connections, and those that are given back later."""
        self._closed = True
        for idle in self._idle.values():
            self._drop_all(idle)

    def _drop_all(self, idle: list[_Idle]) -> None:
        with self._lock:
            dropped, idle[:] = list(idle), []
        for connection, _ in dropped:
            connection.close()


def _pop_oldest(idle: list[_Idle]) -> _Idle | None:
    """Removed from the list, because other threads remove from its other end."""
    try:
        return idle.pop(0)
    except IndexError:
        return None
