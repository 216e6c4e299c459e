"""A request that waits for a slot of a backend, and how its wait can end without one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Takes the callback that is called when the client is gone; None for none.
OnGone = Callable[[Callable[[], None] | None], None]


class QueueFull(Exception):
    """The queue has reached its limit."""


class QueueTimeout(Exception):
    """No slot became free in time."""


class ClientGone(Exception):
    """The client closed its connection while its request waited."""


def _event() -> threading.Event:
    """As a function, because gevent replaces the class in a worker, after this module was loaded."""
    return threading.Event()


@dataclass(slots=True, eq=False)
class SlotWaiter:
    """A queued request, with the ids of the backends of which it accepts a slot. `notified` is set when it was granted
    one, or when its client is gone; `left` means that it left the queue without one.
    """

    backends: Sequence[str]
    since: float
    notified: threading.Event = field(default_factory=_event)
    granted: str = ""
    gone: bool = False
    left: bool = False

    def grant(self, backend: str) -> None:
        """Note that the request has a slot of the backend."""
        self.granted = backend
        self.notified.set()

    def leave(self) -> None:
        """Note that the request left the queue without a slot."""
        self.left = True

    def abandon(self) -> None:
        """Note that the client is gone."""
        self.gone = True
        self.notified.set()
