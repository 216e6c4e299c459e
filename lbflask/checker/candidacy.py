"""Leads whenever no other checker does: the loop that all tasks of a leader share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from lbflask.background import Restarts
from lbflask.checker.leadership import STANDBY_POLLS_PER_LEASE, WAITING, Leadership, LeaseLost
from lbflask.store.ports import StoreUnavailable


class Candidacy:
    """One checker's wish to lead. `name` is that of its work, in the log after an error.

    `lead` works under an epoch until `stopping` is set; it may raise LeaseLost and StoreUnavailable. `stand_by` is
    called when another checker is found to lead.
    """

    def __init__(
        self,
        name: str,
        leadership: Leadership,
        lead: Callable[[int], Awaitable[None]],
        stand_by: Callable[[], None] = lambda: None,
    ) -> None:
        self._leadership = leadership
        self._lead = lead
        self._stand_by = stand_by
        self._restarts = Restarts(name)
        self._keeps_lead = False
        self.stopping = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Candidacy for {self._leadership!r}>"

    def stop(self, *, keep_lead: bool = False) -> None:
        """End `run` soon. `keep_lead` keeps the lease for a successor."""
        self._keeps_lead = keep_lead
        self.stopping.set()

    async def run(self) -> None:
        """Lead whenever no other checker does, until stopped."""
        while not self.stopping.is_set():
            try:
                await self._lead_if_free()
            except Exception as error:  # noqa: BLE001 - it is logged, and the work starts again
                await self._pause(self._restarts.failed(error))
        if not self._keeps_lead:
            await self._leadership.release()

    async def _lead_if_free(self) -> None:
        leadership = self._leadership
        try:
            lease = await leadership.acquire()
            if lease is None:
                self._stand_by()
                leadership.set_role("standing by: another checker leads")
                await self._pause(leadership.settings.lease / STANDBY_POLLS_PER_LEASE)
                return
            leadership.set_role(f"leading, epoch {lease.epoch}")
            await self._lead(lease.epoch)
        except StoreUnavailable as error:
            leadership.set_role(f"{WAITING}: {error}")
            await self._pause(leadership.settings.retry_interval)
        except LeaseLost as lost:
            leadership.set_role(f"no longer leading: {lost}")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
