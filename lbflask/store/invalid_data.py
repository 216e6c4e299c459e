"""The log of invalid values in the store: each key is logged once an hour, however often it is read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

#: Seconds after which a key is logged again if its value is still invalid.
LOG_AGAIN_AFTER = 3600.0
#: Limit of the keys that are remembered.
MAX_KEYS = 1000

log = logging.getLogger("lbflask.store")


class InvalidDataLog:
    """Threads may share it. `clock` is steady, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<InvalidDataLog of {len(self._logged)} keys>"

    def note(self, keys: Iterable[str]) -> None:
        """Note that the values of these keys are invalid and ignored; a field of a hash follows its key and a space."""
        now = self._clock()
        with self._lock:
            new = [key for key in keys if now - self._logged.get(key, -LOG_AGAIN_AFTER) >= LOG_AGAIN_AFTER]
            if len(self._logged) + len(new) > MAX_KEYS:
                self._logged.clear()
            self._logged |= dict.fromkeys(new, now)
        if new:
            more = f" and {len(new) - 1} more like it" if len(new) > 1 else ""
            log.warning("the store holds an invalid value at %.200r%s: it is ignored", new[0], more)


#: Shared by all clients of a process, so that each key is logged once.
INVALID_DATA = InvalidDataLog()
