"""What stands in the store and is not ours to read: logged once, however often it is met."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

#: Seconds after which a place is logged again, if it is met again.
FORGOTTEN_AFTER = 3600.0
#: Places that are remembered.
MOST_PLACES = 1000

log = logging.getLogger("lbflask.store")


class InvalidDataLog:
    """Threads may share it. `clock` is steady, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._met: dict[str, float] = {}

    def note(self, places: Iterable[str]) -> None:
        """What these places hold is ignored: keys, those of a hash with the field."""
        now = self._clock()
        with self._lock:
            new = [place for place in places if now - self._met.get(place, -FORGOTTEN_AFTER) >= FORGOTTEN_AFTER]
            if len(self._met) + len(new) > MOST_PLACES:
                self._met.clear()
            self._met |= dict.fromkeys(new, now)
        if new:
            more = f" and {len(new) - 1} more like it" if len(new) > 1 else ""
            log.warning("the store holds what lbflask does not write at %.200r%s: it is ignored", new[0], more)


#: One for all clients of a process, so that each place is logged once.
COMPLAINTS = InvalidDataLog()
