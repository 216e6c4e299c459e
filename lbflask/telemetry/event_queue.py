"""What has happened, gathered and handed on in the background, so that no request waits for who wants to know.

A request only puts its event into a queue. Twenty times a second the events are given, in portions, to each reader:
the access log, the metrics, the hooks, the tracing. A reader that fails is reported once, and keeps nothing from the
others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from lbflask.background import BackgroundTask
from lbflask.telemetry.events import RequestEvent

#: How long an event may wait for company, in seconds. Requests stand still while events are read, so not for long.
FLUSH_EVERY = 0.05
#: Events are dropped, and counted, beyond this: readers that can't keep up must not eat the memory.
MAX_PENDING = 50_000
#: Events read in one go, while requests stand still.
PORTION = 128

log = logging.getLogger("lbflask")


#: An event, and when it was told, in seconds since the epoch.
TimedEvent = tuple[RequestEvent, float]


class EventSink(Protocol):
    """Whoever wants to know. All is called by one thread at a time, and must not wait for anything."""

    def take(self, portion: Sequence[TimedEvent]) -> None:
        """What has happened since; empty when nothing did."""
        ...

    def missed(self, count: int) -> None:
        """So many events were dropped."""
        ...


class EventQueue:
    """Gathers events and hands them to readers, from `start` to `stop`."""

    def __init__(self, readers: Sequence[EventSink]) -> None:
        self.readers = tuple(readers)
        self._pending: deque[TimedEvent] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._task = BackgroundTask("journal", self.flush, every=FLUSH_EVERY)
        self._failed: set[int] = set()

    def __call__(self, event: RequestEvent) -> None:
        """Note the event; never blocks."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append((event, time.time()))
        else:
            self._dropped += 1

    def set_sinks(self, readers: Sequence[EventSink]) -> None:
        """Hand events that are pending to the readers so far, later ones to these."""
        self.flush()
        self.readers = tuple(readers)

    def start(self) -> None:
        """Begin to hand on."""
        self._task.start()

    def flush(self) -> None:
        """Hand on what is pending now."""
        with self._lock:
            left = len(self._pending)
            while True:
                portion = [self._pending.popleft() for _ in range(min(left, PORTION))]
                left -= len(portion)
                self._for_each(partial(_take, portion))
                if left <= 0:
                    break
                time.sleep(0)  # lets requests have their turn, where threads are greenlets
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._for_each(lambda reader: reader.missed(dropped))

    def stop(self) -> None:
        """Hand on what is left."""
        self._task.stop(within=5)
        self.flush()
        while self._pending:
            self.flush()

    def _for_each(self, tell: Callable[[EventSink], None]) -> None:
        for number, reader in enumerate(self.readers):
            try:
                tell(reader)
            except Exception:
                if number not in self._failed:
                    self._failed.add(number)
                    log.exception("%s could not take what happened", type(reader).__name__)


def _take(portion: Sequence[TimedEvent], reader: EventSink) -> None:
    reader.take(portion)
