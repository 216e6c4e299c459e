"""Connections kept for reuse, per backend, the most recently used first.

A backend may close an idle connection while a request is on its way, and nothing shows whether it has acted on that
request. Requests that can be sent again may use a connection for as long as it is kept. All others use one only as long
as backends hardly ever close it: gunicorn, the usual backend, does so after 2 s (ADR 0027).
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from heapq import nsmallest
from typing import Final, Protocol

from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.dialer import Dialer

#: Seconds for which a connection is kept without a request, unless its pool has another setting; nginx has the same.
MAX_IDLE: Final = 60.0
#: Seconds for which a connection may have been idle when a request uses it that cannot be sent again.
SURE_IDLE: Final = 1.5
#: Seconds after which a connection is not reused, so that changed DNS records take effect, unless its pool has another
#: setting.
MAX_AGE: Final = 3600.0
#: Idle connections of one worker to one backend, unless its pool has another setting.
MAX_KEPT: Final = 512
#: Requests of one connection, unless its pool has another setting.
UNLIMITED: Final = 1 << 62


#: An idle connection, and since when it is idle.
_Idle = tuple[UpstreamConnection, float]


class ConnectionOpener(Protocol):
    """The part of a Dialer that a pool uses."""

    def open(self, address: Address, timeout: float, now: float, opening: bytes, /) -> UpstreamConnection:
        """A new connection with these first bytes. Raises Fault."""
        ...


class ConnectionPool:
    """Idle connections. Threads and greenlets may share it; `clock` returns seconds of a monotonic clock."""

    def __init__(self, clock: Callable[[], float], dialer: ConnectionOpener | None = None) -> None:
        self._clock = clock
        self._dialer: ConnectionOpener = dialer or Dialer()
        self._idle: defaultdict[str, list[_Idle]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False
        self.opened = 0  #: connections, since the start
        self.reused = 0  #: requests over a connection that had carried one before

    def __repr__(self) -> str:
        return f"<ConnectionPool idle={self.idle} opened={self.opened} reused={self.reused}>"

    def take(
        self, origin: str, once: bool, max_idle: float = MAX_IDLE, max_age: float = MAX_AGE
    ) -> UpstreamConnection | None:
        """A connection to the server of that URL, idle for at most `max_idle` seconds, without unread bytes, and opened
        at most `max_age` seconds ago; or None.

        For a request that can be sent only `once` it was idle for at most SURE_IDLE, and the backend has not closed it.
        """
        now = self._clock()
        idle = self._idle[origin]
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:
                return None
            seconds = now - since
            if seconds > max_idle or (once and seconds > SURE_IDLE):
                connection.close()
                if seconds > max_idle:
                    self._drop_all(idle)  # they have been idle for longer still
                return None
            usable = connection.is_alive() if once or seconds > SURE_IDLE else connection.is_silent()
            if now - connection.opened_at > max_age or not usable:
                connection.close()
                continue
            self.reused += 1
            return connection

    def open(self, address: Address, timeout: float, opening: bytes = b"") -> UpstreamConnection:
        """A new connection, with the first bytes of `opening` unless it is empty. Raises Fault."""
        connection = self._dialer.open(address, timeout, self._clock(), opening)
        self.opened += 1
        return connection

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return sum(map(len, self._idle.values()))

    def give_back(self, origin: str, connection: UpstreamConnection, most: int = MAX_KEPT) -> None:
        """Keep the connection for another request if it may carry one and fewer than `most` are kept."""
        idle = self._idle[origin]
        if self._closed or not connection.reusable or len(idle) >= most:
            connection.close()
            return
        idle.append((connection, self._clock()))

    def sweep(self, max_idle: Mapping[str, float], most: int = sys.maxsize) -> None:
        """Close connections that their backends have closed, those that were idle for more than the seconds of their
        origin in `max_idle`, and all to other origins; of the rest, all but the `most` that were used last.
        """
        now = self._clock()
        for origin, idle in list(self._idle.items()):
            limit = max_idle.get(origin, -1.0)
            while (oldest := _pop_oldest(idle)) is not None:
                if now - oldest[1] <= limit and oldest[0].is_silent():
                    idle.insert(0, oldest)
                    break
                oldest[0].close()
            else:
                # A connection that is given back at this moment may be lost with the list, which closes it too.
                self._idle.pop(origin, None)
        self._reduce(self.idle - most)

    def _reduce(self, count: int) -> None:
        """Close so many of the connections that have been idle for longest; all if there are fewer."""
        moments = (moment for idle in list(self._idle.values()) for _, moment in list(idle))
        oldest_moments = nsmallest(count, moments)
        if not oldest_moments:
            return
        since = oldest_moments[-1]
        for idle in list(self._idle.values()):
            while (oldest := _pop_oldest(idle)) is not None:
                if oldest[1] > since:
                    idle.insert(0, oldest)
                    break
                oldest[0].close()

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
