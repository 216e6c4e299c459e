"""Deletes what the fleet knows of names that are not configured any more, once it is of no use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from lbflask.checker.certificate_term import CertificateTerm
from lbflask.checker.challenge_display import ChallengeDisplay
from lbflask.core.certificate_demand import is_forgotten
from lbflask.core.certificate_orders import is_stale

#: Seconds between two passes over all names.
EVERY = 600.0

log = logging.getLogger("lbflask.checker")


class ForgottenCertificates:
    """The names in one term of a leader for which `is_wanted` is false.

    A certificate stays while it is valid, and an order for an hour: a checker that has reloaded its configuration may
    lead before others have, and a name may come back.
    """

    def __init__(self, term: CertificateTerm, display: ChallengeDisplay, is_wanted: Callable[[str], bool]) -> None:
        self._term = term
        self._display = display
        self._is_wanted = is_wanted

    def __repr__(self) -> str:
        return f"<ForgottenCertificates of {self._term!r}>"

    async def follow(self) -> None:
        """Delete now and then. Never ends; raises LeaseLost, StoreUnavailable."""
        while True:
            await self.forget()
            await asyncio.sleep(EVERY)

    async def forget(self) -> None:
        """Delete what is of no use now. Raises LeaseLost, StoreUnavailable."""
        for name in [name for name in self._term.names if not self._is_wanted(name)]:
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        state, now = self._term.names[name], self._term.now()
        if state.order is not None and is_stale(state.order, now):
            await self._display.withdraw(state.order)
            state = replace(state, order=None)
            await self._term.set_name(name, state)
        if is_forgotten(state, now):
            await self._term.forget(name)
            log.info("certificates: %s is forgotten", name)
