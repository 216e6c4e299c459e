"""Taking new connections from a listener."""

from __future__ import annotations

import _socket
from collections.abc import Callable
from typing import Any

from gevent import get_hub

#: Seconds for which a worker that holds more connections than another leaves the listener alone.
STEP_BACK = 0.002
#: Seconds without new connections when there is no room for one: too many already, or no file descriptor left.
NO_ROOM = 0.1

Taken = Callable[[_socket.socket, Any], None]


class Acceptor:
    """Accepts connections unless the worker is `full`, and hands each to `taken` at once, in the hub.

    With `alone` the worker takes all that are there; otherwise one at a time, and after a step back when `yields` says
    that another worker should have the first try. What it does not take stays in the listener's backlog. `failed` is
    called with what the system says when it refuses to hand over a connection; it must not wait for anything.
    """

    def __init__(
        self,
        listener: Any,
        taken: Taken,
        *,
        alone: bool,
        yields: Callable[[], bool],
        full: Callable[[], bool],
        failed: Callable[[OSError], None],
    ) -> None:
        self._listener = listener
        self._accept = listener._sock._accept
        self._taken = taken
        self._yields = yields
        self._full = full
        self._failed = failed
        self._most = 64 if alone else 1
        self._may_yield = not alone
        loop = get_hub().loop
        self._readable: Any = loop.io(listener.fileno(), 1)
        # With a repetition, and stopped when they go off: one that is only started anew goes off at once, since libev
        # keeps what was left of its time.
        self._pause: Any = loop.timer(STEP_BACK, STEP_BACK)
        self._no_room: Any = loop.timer(NO_ROOM, NO_ROOM)
        self._readable.start(self._came)

    def resume(self) -> None:
        """A client has left: look at once whether there is room now."""
        if self._no_room.active:
            self._after_pause()

    def close(self) -> None:
        """Take no more, and let go of the listener: what still arrives is for the other processes that have it."""
        for watcher in (self._readable, self._pause, self._no_room):
            watcher.stop()
            watcher.close()
        self._listener.close()

    def _came(self) -> None:
        if self._may_yield and self._yields():
            self._readable.stop()
            self._pause.again(self._after_pause, update=True)
        else:
            self._take()

    def _after_pause(self) -> None:
        self._pause.stop()
        self._no_room.stop()
        self._readable.start(self._came)
        self._take()

    def _take(self) -> None:
        for _ in range(self._most):
            if self._full():
                self._pause_for_room()
                return
            try:
                descriptor, address = self._accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                self._pause_for_room()
                return
            self._taken(_socket.socket(fileno=descriptor), address)

    def _pause_for_room(self) -> None:
        self._readable.stop()
        self._no_room.again(self._after_pause, update=True)
