"""What the source of a pool's backends finds while the pool is led: told to the fleet, and kept in case it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lbflask.checker.subscription import RETRY_EVERY
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import DiscoveredBackend
from lbflask.core.model import Backend
from lbflask.discovery.source import DiscoverySource, follow
from lbflask.store.ports import StoreUnavailable

Tell = Callable[[tuple[Backend, ...]], Awaitable[None]]


class DiscoveryTask:
    """Follows the source of a pool."""

    def __init__(self, source: DiscoverySource, pool: str) -> None:
        self._source = source
        self._pool = pool
        self._found: tuple[DiscoveredBackend, ...] = ()
        #: Whether anything was found yet, be it nobody.
        self.found = False
        self._checks: dict[tuple[str, str], HealthCheck] = {}

    @property
    def backends(self) -> tuple[Backend, ...]:
        """What was found last; nobody until then."""
        return tuple(found.backend for found in self._found)

    async def run(self, tell: Tell) -> None:
        """Tell what is found, first of all and whenever it changes, and again while the store is gone. Never ends.

        Raises what `tell` raises.
        """
        async for found in follow(self._source, self._pool):
            self._found, self.found = found, True
            self._checks = {(one.backend.id, one.backend.url): one.check for one in found if one.check is not None}
            await self._tell(tell)

    def check_of(self, backend: Backend) -> HealthCheck | None:
        """The check that the source has said for this backend itself, if it was found there."""
        return self._checks.get((backend.id, backend.url))

    async def _tell(self, tell: Tell) -> None:
        while True:
            try:
                return await tell(self.backends)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_EVERY)
