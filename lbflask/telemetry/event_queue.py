"""What has happened, gathered and handed on in the background, so that no request waits for who wants to know.

A request only puts its event into a queue. Twenty times a second the events are given, in batches, to each sink:
the access log, the metrics, the hooks, the tracing. A sink that fails is reported once, and keeps nothing from the
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
FLUSH_INTERVAL = 0.05
#: Events are dropped, and counted, beyond this: sinks that can't keep up must not eat the memory.
MAX_PENDING = 50_000
#: Events read in one go, while requests stand still.
BATCH = 128

log = logging.getLogger("lbflask")


#: An event, and when it was told, in seconds since the epoch.
TimedEvent = tuple[RequestEvent, float]


class EventSink(Protocol):
    """Whoever wants to know. All is called by one thread at a time, and must not wait for anything."""

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """What has happened since; empty when nothing did."""
        ...

    def dropped(self, count: int) -> None:
        """So many events were dropped."""
        ...


class EventQueue:
    """Gathers events and hands them to sinks, from `start` to `stop`."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self.sinks = tuple(sinks)
        self._pending: deque[TimedEvent] = deque()
        self._dropped_count = 0
        self._lock = threading.Lock()
        self._task = BackgroundTask("journal", self.flush, every=FLUSH_INTERVAL)
        self._failed_sinks: set[int] = set()

    def __call__(self, event: RequestEvent) -> None:
        """Note the event; never blocks."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append((event, time.time()))
        else:
            self._dropped_count += 1

    def set_sinks(self, sinks: Sequence[EventSink]) -> None:
        """Replace the sinks, after the present ones have got what is pending."""
        self.flush()
        self.sinks = tuple(sinks)

    def start(self) -> None:
        """Begin to hand on."""
        self._task.start()

    def flush(self) -> None:
        """Hand on what is pending now."""
        with self._lock:
            left = len(self._pending)
            while True:
                batch = [self._pending.popleft() for _ in range(min(left, BATCH))]
                left -= len(batch)
                self._for_each(partial(_consume, batch))
                if left <= 0:
                    break
                time.sleep(0)  # lets requests have their turn, where threads are greenlets
            dropped, self._dropped_count = self._dropped_count, 0
            if dropped:
                self._for_each(lambda sink: sink.dropped(dropped))

    def stop(self) -> None:
        """Hand on what is left."""
        self._task.stop(within=5)
        self.flush()
        while self._pending:
            self.flush()

    def _for_each(self, call: Callable[[EventSink], None]) -> None:
        for number, sink in enumerate(self.sinks):
            try:
                call(sink)
            except Exception:
                if number not in self._failed_sinks:
                    self._failed_sinks.add(number)
                    log.exception("%s could not take what happened", type(sink).__name__)


def _consume(batch: Sequence[TimedEvent], sink: EventSink) -> None:
    sink.consume(batch)
