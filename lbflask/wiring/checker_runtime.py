"""The checker's parts, joined. Loads no Flask and no `requests`."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from lbflask.background import Restarts
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import CheckedPool, PoolChecker
from lbflask.checker.publisher import CheckerState
from lbflask.checker.store_calls import follow_messages
from lbflask.config.admin_address import AdminAddress
from lbflask.config.pools import PoolConfig
from lbflask.config.schema import Config
from lbflask.core.checks import HealthCheck
from lbflask.core.hook_api import HealthChange
from lbflask.core.model import Backend
from lbflask.discovery.source import Screened
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.resolver import SystemResolver
from lbflask.wiring.adapters import source_for, store_for, tls_settings_for
from lbflask.wiring.descriptor_limit import room_for

#: Probes under way at once, where the system's limit of open files leaves room for as many.
MOST_PROBES = 4096
#: Seconds for an answer of the store. No request waits for it, and the first word about many backends is a long one.
STORE_TIMEOUT = 0.5
#: Seconds for which a subscription is waited on in one go.
LISTEN_FOR = 0.5


class _Running(NamedTuple):
    """A checker, and all that made it: while that is the same, the checker is."""

    made_of: tuple[object, ...]
    checker: PoolChecker
    task: asyncio.Task[None]


class CheckerRuntime:
    """The checkers of all pools, over one connection to the store and one measure of probes."""

    def __init__(self, config: Config, on_flip: Callable[[HealthChange], None] | None = None) -> None:
        self._config = config
        self._on_flip = on_flip
        self._store = store_for(config, STORE_TIMEOUT)
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._resolver = SystemResolver()
        self._running: dict[str, _Running] = {}
        self._news = asyncio.Event()
        self._stopping = False

    def apply_config(self, config: Config) -> None:
        """Check by this configuration from now on. What is known of backends that stay is kept, and so is the lead of
        their pools. Another store or namespace is left to other Checkers.
        """
        self._config = config
        self._news.set()

    def stop(self) -> None:
        """End soon: probes under way are finished and published, and the lead is given up."""
        self._stopping = True
        self._news.set()

    async def run(self, reload: Callable[[], object]) -> None:
        """Check until stopped. `reload` is called when the fleet says that the configuration has changed."""
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self._hear(reload))
            while not self._stopping:
                await self._settle(tasks)
                await self._news.wait()
                self._news.clear()
            hearing.cancel()
            for running in self._running.values():
                running.checker.stop()
        self._store.close()

    async def _settle(self, tasks: asyncio.TaskGroup) -> None:
        """Have a checker for each pool, as it is configured now."""
        config, pools, before = self._config, self._config.every_pool(), self._running
        most = max(1, room_for(MOST_PROBES) // len(pools))
        made_of = {name: _makings(table, config, most) for name, table in pools.items()}
        leaving = {name: one for name, one in before.items() if made_of.get(name) != one.made_of}
        for name, one in leaving.items():
            one.checker.stop(keep_lead=name in pools)
            del before[name]
        if leaving:
            await asyncio.wait([one.task for one in leaving.values()])
        for name, table in pools.items():
            if name not in before:
                predecessor = leaving[name].checker.state if name in leaving else None
                checker = self._checker(name, table, most, predecessor)
                before[name] = _Running(made_of[name], checker, tasks.create_task(checker.run()))

    def _checker(self, name: str, table: PoolConfig, most: int, predecessor: CheckerState | None) -> PoolChecker:
        config = self._config
        checked = CheckedPool(
            table.to_model(name),
            partial(check_of, table, table.checks()),
            Prober(tls_settings_for(config.backend_tls), self._resolver, AdminAddress(config.admin_bind).is_peer),
            finding_for(name, table, config.admin_bind),
            self._on_flip,
        )
        settings = LeaderSettings(self._holder, table.health.interval, table.health.lease, most)
        return PoolChecker(checked, self._store, settings, predecessor)

    async def _hear(self, reload: Callable[[], object]) -> None:
        """Wait for word that the configuration has changed."""
        thread, restarts = ThreadPoolExecutor(1, thread_name_prefix="reloads"), Restarts("the word of reloads")
        ask = partial(asyncio.get_running_loop().run_in_executor, thread)

        async def act(messages: Collection[str]) -> None:
            if messages:
                reload()

        try:
            while True:
                try:
                    await follow_messages(ask, self._store.watch_reloads, LISTEN_FOR, act)
                except Exception as error:  # noqa: BLE001 - it is logged, and ends nothing for good
                    await asyncio.sleep(restarts.failed(error))
        finally:
            thread.shutdown(wait=False)


def _makings(table: PoolConfig, config: Config, most: int) -> tuple[object, ...]:
    """Of the table, which may be the top level, what makes the pool; and what else makes its checker."""
    tls = config.backend_tls
    return (*(getattr(table, name) for name in PoolConfig.model_fields), tls, tls.contents(), config.admin_bind, most)


def check_of(table: PoolConfig, own: Mapping[str, HealthCheck], backend: Backend) -> HealthCheck:
    """How the backend is checked: as it is configured, or like any other of its pool."""
    found = own.get(backend.id)
    return table.usual_check(backend) if found is None else found


def finding_for(pool: str, table: PoolConfig, admin_bind: str = "") -> DiscoveryTask | None:
    """What finds further backends of the pool; None if it has only those that are configured."""
    source = source_for(table)
    if source is None:
        return None
    admin = AdminAddress(admin_bind)

    def refuses(backend: Backend) -> str:
        return f"is the admin listener, {admin_bind!r}" if admin.is_backend(backend) else ""

    return DiscoveryTask(Screened(source, pool, refuses), pool)
