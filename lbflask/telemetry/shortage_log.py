"""Logs shortages of this process (descriptors, ports, memory …): one line at once, then one in `INTERVAL` seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from lbflask.core.faults import Resource, Shortage

#: Seconds between two lines about the same resource.
INTERVAL = 30.0

REQUEST_FAILED = "a request got 503 for it, and no backend is blamed"


class ShortageLog:
    """Logs shortages; `outcome` is the consequence named in the line. Thread-safe; `clock` returns steady seconds."""

    def __init__(
        self,
        log: logging.Logger | None = None,
        outcome: str = REQUEST_FAILED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log or logging.getLogger("lbflask")
        self._outcome = outcome
        self._clock = clock
        self._next_line: dict[Resource, float] = {}
        self._suppressed: defaultdict[Resource, int] = defaultdict(int)
        self._lock = threading.Lock()

    def note(self, fault: Shortage) -> None:
        """Log it; within `INTERVAL` seconds of a line about the same resource, count it for the next one."""
        resource, now = fault.resource, self._clock()
        with self._lock:
            if now < self._next_line.get(resource, now):
                self._suppressed[resource] += 1
                return
            self._next_line[resource] = now + INTERVAL
            suppressed = self._suppressed.pop(resource, 0)
        more = f" ({suppressed} more since the last such line)" if suppressed else ""
        self._log.error("%s: %s%s", fault.reason, self._outcome, more)
