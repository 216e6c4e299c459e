"""The log lines about what this process runs out of: one at once, and then few, however many requests it costs."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from lbflask.core.faults import Resource, Shortage

#: Seconds between two lines about the same resource.
EVERY = 30.0

REQUEST_FAILED = "a request got 503 for it, and no backend is blamed"


class ShortageLog:
    """Logs shortages, with `outcome` as what comes of each. Threads may share it; `clock` gives steady seconds."""

    def __init__(
        self,
        log: logging.Logger | None = None,
        outcome: str = REQUEST_FAILED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log or logging.getLogger("lbflask")
        self._outcome = outcome
        self._clock = clock
        self._due: dict[Resource, float] = {}
        self._held: defaultdict[Resource, int] = defaultdict(int)
        self._lock = threading.Lock()

    def note(self, fault: Shortage) -> None:
        """Log it, or count it for the next line if there was one about the resource within `EVERY` seconds."""
        resource, now = fault.resource, self._clock()
        with self._lock:
            if now < self._due.get(resource, now):
                self._held[resource] += 1
                return
            self._due[resource] = now + EVERY
            held = self._held.pop(resource, 0)
        more = f" ({held} more since the last such line)" if held else ""
        self._log.error("%s: %s%s", fault.reason, self._outcome, more)
