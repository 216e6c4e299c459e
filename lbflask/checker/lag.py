"""Whether the checks of a pool keep their pace: a checker that is too slow notices failures late, and should say so."""

from __future__ import annotations

import logging

log = logging.getLogger("lbflask.checker")


class LagMonitor:
    """Of checks that are due every `interval` seconds."""

    def __init__(self, pool: str, interval: float) -> None:
        self._pool = pool
        self._interval = interval
        self._behind = False

    def note(self, late: float) -> None:
        """Tell once that the checks fall behind, and once that they no longer do."""
        if late > self._interval and not self._behind:
            self._behind = True
            log.warning(
                "pool %s: checks are %.1f s late, so failures are noticed later: raise health.interval, or give the "
                "checker a faster machine", self._pool, late,
            )  # fmt: skip
        elif self._behind and late < self._interval / 10:
            self._behind = False
            log.info("pool %s: checks are on time again", self._pool)
