"""Orders certificates for names that clients ask for, while a checker leads. It trusts no wish in the store: patterns,
permission and limits are checked here once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from lbflask.checker.certificate_orders import REVIEW, Orders
from lbflask.checker.certificate_term import CertificateTerm
from lbflask.checker.store_calls import StoreCalls
from lbflask.core import certificate_demand as demand
from lbflask.core.certificate_demand import DemandRule, demanded_names
from lbflask.core.certificate_orders import NameState, is_stale

#: Seconds between two reads of the wishes, and the wishes that are taken at a time.
POLL, BATCH = 1.0, 20

log = logging.getLogger("lbflask.checker")


@dataclass(frozen=True, slots=True)
class DemandSettings:
    """Which names may have a certificate on demand: by the rule, and by `permits`, which may block."""

    rule: DemandRule
    permits: Callable[[str], bool]


class CertificateDemand:
    """The names on demand in one term of a leader."""

    def __init__(self, settings: DemandSettings, term: CertificateTerm, orders: Orders, ask: StoreCalls) -> None:
        self._rule = settings.rule
        self._permits = settings.permits
        self._term = term
        self._orders = orders
        self._ask = ask
        self._kept: set[str] = set()
        self._begun: list[float] = []  # when first orders began
        self._is_full_logged = False

    def __repr__(self) -> str:
        return f"<CertificateDemand {len(self._kept)} names>"

    async def follow(self) -> None:
        """Keep the certificates of all names on demand, and order further ones. Never ends; raises LeaseLost,
        StoreUnavailable.
        """
        known = self._known()
        self._begun = [at for name in known for at in self._state(name).attempts.tries]
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in known:
                    if not demand.is_given_up(self._state(name)):
                        self._begin(tasks, name)
                while True:
                    await self._forget_old()
                    for name in await self._term.take_wishes(BATCH):
                        if self._is_acceptable(name):
                            self._begin(tasks, name)
                    await asyncio.sleep(POLL)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _begin(self, tasks: asyncio.TaskGroup, name: str) -> None:
        self._kept.add(name)
        tasks.create_task(self._keep(name))

    def _known(self) -> tuple[str, ...]:
        return demanded_names(self._term.state(), self._rule)

    def _state(self, name: str) -> NameState:
        return self._term.names.get(name, NameState())

    def _is_acceptable(self, name: str) -> bool:
        if not self._rule.matches(name) or name in self._kept:
            return False
        known = self._known()
        if name not in known and len({*known, *self._kept}) >= demand.MAX_DEMANDED:
            if not self._is_full_logged:
                self._is_full_logged = True
                log.warning("certificates: %d names on demand are as many as possible", demand.MAX_DEMANDED)
            return False
        return True

    async def _keep(self, name: str) -> None:
        """Have a certificate for the name until it is refused, has failed too often, or is over."""
        try:
            while self._is_of_use(name):
                begins, state, now = await self._orders.begins(name), self._state(name), self._term.now()
                if begins > now:
                    if demand.is_given_up(state):
                        return
                    await asyncio.sleep(min(REVIEW, begins - now))
                elif await self._may_begin(name):
                    await self._orders.attempt(name)
                elif state.certificate is None:
                    return  # a client that asks again begins anew
                else:
                    await asyncio.sleep(REVIEW)
        finally:
            self._kept.discard(name)

    def _is_of_use(self, name: str) -> bool:
        state = self._state(name)
        return state == NameState() or not demand.is_forgotten(state, self._term.now())

    async def _may_begin(self, name: str) -> bool:
        """Whether an order may begin, or goes on."""
        state, now = self._state(name), self._term.now()
        if state.order is not None and not is_stale(state.order, now):
            return True
        if state.certificate is not None:
            return await self._ask(self._permits, name)
        if not demand.has_room(self._begun, self._rule.per_hour, now):
            log.info("certificates: %s waits: %d orders on demand began within an hour", name, self._rule.per_hour)
            return False
        self._begun = [*self._begun[-self._rule.per_hour :], now]  # before the question: others may ask meanwhile
        if await self._ask(self._permits, name):
            return True
        self._begun.remove(now)
        return False

    async def _forget_old(self) -> None:
        now = self._term.now()
        for name in self._known():
            if name not in self._kept and demand.is_forgotten(self._state(name), now):
                await self._term.forget(name)
                log.info("certificates: %s is forgotten", name)
