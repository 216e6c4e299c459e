"""Watches what the clients of the fleet get, for events about unusual errors.

Workers report the answers to all of their clients in each of their pools, so one checker judges for the whole fleet:
the one that leads the first pool by name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from lbflask.checker.store_calls import StoreCalls
from lbflask.core.answer_shares import AnswerShares, ShareChange
from lbflask.core.fleet_stats import recent_answers
from lbflask.store.ports import CheckerStore, StoreUnavailable

#: Seconds between two observations.
OBSERVE_EVERY = 2.0


class AnswerWatch:
    """Reads the reports in `pool` while its checker leads."""

    def __init__(self, pool: str, store: CheckerStore, call: StoreCalls, every: float = OBSERVE_EVERY) -> None:
        self._pool = pool
        self._store = store
        self._call = call
        self._every = every
        self._shares = AnswerShares()

    def __repr__(self) -> str:
        return f"<AnswerWatch {self._pool} {self._shares}>"

    async def run(self, report: Callable[[ShareChange], None]) -> None:
        """Report each change. Never ends; while the store is unavailable nothing is judged."""
        while True:
            await asyncio.sleep(self._every)
            with suppress(StoreUnavailable):
                roster = await self._call(self._store.read_roster, self._pool)
                for change in self._shares.judge(recent_answers(roster.workers), time.monotonic()):
                    report(change)
