"""Builds and runs the checkers of all pools. Loads neither Flask nor `requests`."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from lbflask.background import Restarts
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import CheckedPool, PoolChecker
from lbflask.checker.publisher import CheckerState
from lbflask.checker.store_calls import StoreCalls, follow_messages
from lbflask.config.admin_address import AdminAddress
from lbflask.config.pools import PoolConfig
from lbflask.config.schema import Config
from lbflask.config.traffic import PoolTrafficConfig
from lbflask.core.checks import HealthCheck
from lbflask.core.hook_api import HealthChange
from lbflask.core.model import Backend
from lbflask.discovery.source import Screened
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.resolver import SystemResolver
from lbflask.wiring.adapters import source_for, store_for, tls_settings_for
from lbflask.wiring.automatic_certificates import issuer_for
from lbflask.wiring.descriptor_limit import room_for

if TYPE_CHECKING:
    from lbflask.checker.certificate_issuer import CertificateIssuer

#: Concurrent probes, if the limit of open files allows as many.
MAX_PROBES = 4096
#: Seconds for a command of the store. No request waits for it, and the first write of many backends is long.
STORE_TIMEOUT = 0.5
#: Seconds of one wait for messages of a subscription.
LISTEN_FOR = 0.5


class _Running(NamedTuple):
    """A checker and its inputs; it is replaced when they change."""

    inputs: tuple[object, ...]
    checker: PoolChecker
    task: asyncio.Task[None]


class _Issuing(NamedTuple):
    """The orders of certificates and their inputs; replaced when they change."""

    inputs: tuple[object, ...]
    issuer: CertificateIssuer
    task: asyncio.Task[None]


class CheckerRuntime:
    """The checkers of all pools, with one store client and one limit of concurrent probes."""

    def __init__(self, config: Config, on_health_change: Callable[[HealthChange], None] | None = None) -> None:
        self._config = config
        self._on_health_change = on_health_change
        self._store = store_for(config, STORE_TIMEOUT)
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._resolver = SystemResolver()
        self._running: dict[str, _Running] = {}
        self._issuing: _Issuing | None = None
        self._changed = asyncio.Event()
        self._stopping = False

    def apply_config(self, config: Config) -> None:
        """Check by this configuration. Health and leadership of pools that stay are kept.

        Another store or namespace needs another CheckerRuntime.
        """
        self._config = config
        self._changed.set()

    def stop(self) -> None:
        """End after the probes in progress are published, and release the leadership."""
        self._stopping = True
        self._changed.set()

    def __repr__(self) -> str:
        return f"<CheckerRuntime {self._holder} pools={sorted(self._running)} stopping={self._stopping}>"

    async def run(self, reload: Callable[[], object]) -> None:
        """Check until stopped. `reload` is called when a worker has announced a changed configuration."""
        async with asyncio.TaskGroup() as tasks:
            follower = tasks.create_task(self._follow_reloads(reload))
            while not self._stopping:
                await self._reconcile(tasks)
                await self._reconcile_issuer(tasks)
                await self._changed.wait()
                self._changed.clear()
            follower.cancel()
            for running in self._running.values():
                running.checker.stop()
            if self._issuing is not None:
                self._issuing.issuer.stop()
        self._store.close()

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        """Run one checker for each configured pool: start, replace and stop checkers."""
        config, pools, running = self._config, self._config.every_pool(), self._running
        probe_limit = max(1, room_for(MAX_PROBES) // len(pools))
        inputs = {
            name: (name == min(pools), *_checker_inputs(name, table, config, probe_limit))
            for name, table in pools.items()
        }
        leaving = {name: one for name, one in running.items() if inputs.get(name) != one.inputs}
        for name, one in leaving.items():
            one.checker.stop(keep_lead=name in pools)
            del running[name]
        if leaving:
            await asyncio.wait([one.task for one in leaving.values()])
        for name, table in pools.items():
            if name not in running:
                predecessor = leaving[name].checker.state if name in leaving else None
                checker = self._checker(name, table, config, probe_limit, predecessor)
                running[name] = _Running(inputs[name], checker, tasks.create_task(checker.run()))

    async def _reconcile_issuer(self, tasks: asyncio.TaskGroup) -> None:
        """Order certificates as configured. An error in what is configured keeps the orders as they are."""
        config, before = self._config, self._issuing
        lease = min(table.health.lease for table in config.every_pool().values())
        inputs = (config.tls.acme, config.tls.acme.domains and config.tls.acme.every_key(), lease)
        if before is not None and before.inputs == inputs:
            return
        settings = LeaderSettings(self._holder, lease, lease, 1)
        issuer = issuer_for(config, self._store, settings)
        if before is not None:
            before.issuer.stop(keep_lead=issuer is not None)
            await asyncio.wait([before.task])
            self._issuing = None
        if issuer is not None:
            self._issuing = _Issuing(inputs, issuer, tasks.create_task(issuer.run()))

    def _checker(
        self, name: str, table: PoolConfig, config: Config, probe_limit: int, predecessor: CheckerState | None
    ) -> PoolChecker:
        tls = tls_settings_for(config.traffic(name).backend_tls)
        checked = CheckedPool(
            table.to_model(name),
            partial(check_of, table, table.checks()),
            Prober(tls, self._resolver, AdminAddress(config.admin_bind).is_peer, table.opening),
            discovery_task_for(name, table, config.admin_bind),
            self._on_health_change,
            watches_answers=name == min(config.every_pool()),
        )
        settings = LeaderSettings(self._holder, table.health.interval, table.health.lease, probe_limit)
        return PoolChecker(checked, self._store, settings, predecessor)

    async def _follow_reloads(self, reload: Callable[[], object]) -> None:
        """Call `reload` at each announcement of a worker."""
        call, restarts = StoreCalls(1), Restarts("the follower of reloads")

        async def act(messages: Collection[str]) -> None:
            if messages:
                reload()

        try:
            while True:
                try:
                    await follow_messages(call, self._store.watch_reloads, LISTEN_FOR, act)
                except Exception as error:  # noqa: BLE001 - logged; the follower is restarted
                    await asyncio.sleep(restarts.failed(error))
        finally:
            call.close()


def _checker_inputs(name: str, table: PoolConfig, config: Config, probe_limit: int) -> tuple[object, ...]:
    """All settings from which the checker of the pool is built. The table may be the top level of the configuration."""
    tls = config.traffic(name).backend_tls
    keys = PoolConfig.model_fields.keys() - PoolTrafficConfig.model_fields.keys()
    settings = (getattr(table, key) for key in sorted(keys))
    return (*settings, tls, tls.contents(), config.admin_bind, probe_limit)


def check_of(table: PoolConfig, configured: Mapping[str, HealthCheck], backend: Backend) -> HealthCheck:
    """The health check of the backend: as configured for it, or as for its pool."""
    return configured.get(backend.id) or table.usual_check(backend)


def discovery_task_for(pool: str, table: PoolConfig, admin_bind: str = "") -> DiscoveryTask | None:
    """The discovery of further backends of the pool; None without a source."""
    source = source_for(table)
    if source is None:
        return None
    admin = AdminAddress(admin_bind)

    def objection(backend: Backend) -> str:
        return f"is the admin listener, {admin_bind!r}" if admin.is_backend(backend) else ""

    return DiscoveryTask(Screened(source, pool, objection), pool)
