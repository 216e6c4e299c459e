"""Runs the discovery source of a pool while this checker leads it, and keeps the latest result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from lbflask.checker.store_calls import RETRY_INTERVAL
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import SourceCause, SourceFailure
from lbflask.core.model import Backend
from lbflask.discovery.source import DiscoverySource, follow
from lbflask.store.ports import StoreUnavailable

Publish = Callable[[tuple[Backend, ...]], Awaitable[None]]
PublishFailure = Callable[[SourceFailure | None], Awaitable[None]]


class DiscoveryTask:
    """Follows the source of a pool."""

    def __init__(self, source: DiscoverySource, pool: str, *, retry_interval: float = RETRY_INTERVAL) -> None:
        self._source = source
        self._pool = pool
        self._retry_interval = retry_interval
        #: The backends of the latest result; empty until there is one.
        self.backends: tuple[Backend, ...] = ()
        #: Whether the source has given a result, which may be empty.
        self.has_result = False
        self._checks: dict[tuple[str, str], HealthCheck] = {}

    def __repr__(self) -> str:
        return f"<DiscoveryTask {self._pool} {self._source}: {len(self.backends)} backends>"

    async def run(self, publish: Publish, publish_failure: PublishFailure, now: Callable[[], float]) -> None:
        """Publish each result, each failed poll, and the end of a failure; while the store is unavailable, retry. Never
        ends. Other exceptions are raised. `now` is the store's time, in seconds since the epoch.
        """
        failure: SourceFailure | None = None
        is_first = True

        async def report(reason: str, cause: SourceCause) -> None:
            nonlocal failure, is_first
            before, failure = failure, None
            if reason:
                since = now() if before is None else before.since
                failure = SourceFailure(str(self._source), reason, since, cause)
            if is_first or failure is not None or before is not None:
                await self._insist(partial(publish_failure, failure))
            is_first = False

        async for result in follow(self._source, self._pool, report=report):
            self.backends, self.has_result = tuple(one.backend for one in result), True
            self._checks = {(one.backend.id, one.backend.url): one.check for one in result if one.check is not None}
            await self._insist(partial(publish, self.backends))

    def check_for(self, backend: Backend) -> HealthCheck | None:
        """The check that the source gives for this backend; None if it gives none."""
        return self._checks.get((backend.id, backend.url))

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await write()
            except StoreUnavailable:
                await asyncio.sleep(self._retry_interval)
