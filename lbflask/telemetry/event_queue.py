"""Queues the events of requests and passes them to the event sinks in the background, so that no request waits.

A request only appends its event to a queue. Twenty times a second, batches of events are passed to each sink: access
log, metrics, hooks, tracing. A sink that raises is logged once and does not affect the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Final, Protocol

from lbflask.background import BackgroundTask
from lbflask.telemetry.events import RequestEvent

#: Seconds between flushes. Requests stand still during a flush, so batches must be small.
FLUSH_INTERVAL: Final = 0.05
#: Limit of the queue: events beyond it are dropped and counted, so that slow sinks do not fill the memory.
MAX_PENDING: Final = 50_000
#: Events passed to the sinks at once, while requests stand still.
BATCH: Final = 128

log = logging.getLogger("lbflask")


#: An event, and the time of its end in seconds since the epoch.
TimedEvent = tuple[RequestEvent, float]


class EventSink(Protocol):
    """A consumer of request events. Called from one thread at a time; must not block."""

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """Process the events since the last call; called at every flush, with an empty batch if there were none."""
        ...

    def dropped(self, count: int) -> None:
        """Note that `count` events were dropped before they reached the sink."""
        ...


class EventQueue:
    """Passes events to sinks, from `start` to `stop`."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self.sinks = tuple(sinks)
        self._pending: deque[TimedEvent] = deque()
        self._dropped_count = 0
        self._lock = threading.Lock()
        self._task = BackgroundTask("journal", self.flush, every=FLUSH_INTERVAL)
        self._failed_sinks: set[int] = set()

    def __repr__(self) -> str:
        return f"<EventQueue pending={len(self._pending)} dropped={self._dropped_count} sinks={len(self.sinks)}>"

    def __call__(self, event: RequestEvent) -> None:
        """Queue the event; never blocks."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append((event, time.time()))
        else:
            self._dropped_count += 1

    def set_sinks(self, sinks: Sequence[EventSink]) -> None:
        """Replace the sinks, after the present ones have got what is pending."""
        self.flush()
        self.sinks = tuple(sinks)

    def start(self) -> None:
        """Flush in the background."""
        self._task.start()

    def flush(self) -> None:
        """Pass the events that are pending now to the sinks."""
        with self._lock:
            left = len(self._pending)
            while True:
                batch = [self._pending.popleft() for _ in range(min(left, BATCH))]
                left -= len(batch)
                self._for_each(methodcaller("consume", batch))
                if left <= 0:
                    break
                time.sleep(0)  # lets requests run where threads are greenlets
            dropped, self._dropped_count = self._dropped_count, 0
            if dropped:
                self._for_each(methodcaller("dropped", dropped))

    def stop(self) -> None:
        """Stop flushing in the background, and pass the remaining events to the sinks."""
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
                    log.exception("%s failed to process events", type(sink).__name__)
