"""A worker's parts, joined: store, session, data plane, app."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, cast

from flask import Flask

from lbflask import background
from lbflask.background import BackgroundTask
from lbflask.config.admin_address import AdminAddress
from lbflask.config.field_types import connection_address
from lbflask.config.pools import PoolConfig
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.control import health as health_view
from lbflask.control import metrics as metrics_view
from lbflask.core.admin_tokens import Role
from lbflask.core.http.fields import RequestRules
from lbflask.core.http.request_origin import TrustedProxies
from lbflask.core.model import Pool
from lbflask.core.reload import ReloadOutcome
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.app import WSGI, DataPlane, DataPlaneConfig, Lifecycle, OwnPaths, create_app
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.context import HopCache, InFlightCounts, ProxySettings, SharedServices
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from lbflask.upstream.resolver import SystemResolver
from lbflask.wiring.adapters import store_for, tls_settings_for
from lbflask.wiring.control import ControlPlane, identity
from lbflask.wiring.routes import PoolPipeline, entrance, limits_of
from lbflask.wiring.telemetry import Telemetry, of_the_slots, of_the_worker

AdapterFor = Callable[[str], BackendAdapter]

log = logging.getLogger("lbflask")

#: Seconds between two looks for connections that nobody would take any more.
SWEEP_EVERY = 2.0


class WorkerRuntime:
    """The parts of a worker, and their beginning and end."""

    def __init__(self, config: Config) -> None:
        pools = config.every_pool()
        self._config, self._version = config, version(config)
        self._telemetry = Telemetry(config)
        self._store = store_for(config, trip=self._telemetry.trip)
        self._fleet = Fleet(
            self._store,
            list(pools),
            strict=config.tickets == "strict",
            report=log.warning,
            rules={name: table.ejection_rule() for name, table in pools.items()},
            who=identity(config),
        )
        self._slots = Slots(self._fleet)
        self._buckets = Buckets(self._fleet)
        self._resolver = SystemResolver()
        self._dialer = dialer_for(config, self._resolver)
        self._certificates = config.backend_tls.contents()
        self._connections = ConnectionPool(time.monotonic, self._dialer)
        self._occupancy = InFlightCounts()
        self._telemetry.watch(of_the_worker(self._fleet, lambda: self._connections, self._occupancy))
        self._telemetry.watch(of_the_slots(self._slots))
        self._new_request_id = request_ids()
        self._sweeping = BackgroundTask("idle-connections", self._sweep, every=SWEEP_EVERY)
        self._pools, front = self._built(config)
        self._control = ControlPlane(config, self._fleet, lambda: self._dialer, self._ask_reload)
        health = health_view.blueprint(
            lambda: self._pools, self._fleet, self._worker, self._control.gate.may_see_details
        )
        views = [health, *self._control.blueprints()]
        if self._telemetry.counts:
            samples = partial(metrics_view.fleet_samples, lambda: self._pools, self._fleet)
            page = metrics_view.blueprint(self._telemetry.page, samples)
            self._control.gate.guard(page, Role.READ)
            views.append(page)
        self.app: Flask = create_app(
            views,
            partial(self._data_plane, front=front, admin_address=connection_address(config.admin_bind)),
        )

    def apply(self, config: Config) -> None:
        """Serve by this configuration from now on. Requests and tunnels in flight go on with the one they began with.

        What only a new worker takes over (config/diff.py) is left as it is. Raises OSError, and changes nothing, when
        the access log can't be opened.
        """
        self._telemetry.apply(config)
        certificates = config.backend_tls.contents()
        if config.backend_tls != self._config.backend_tls or certificates != self._certificates:
            self._renew_connections(config, certificates)
        rules = {name: table.ejection_rule() for name, table in config.every_pool().items()}
        self._fleet.use(rules, strict=config.tickets == "strict", config=version(config))
        pools, front = self._built(config)
        self._fleet.look()
        self._config, self._version = config, version(config)
        self._pools, self._plane.front = pools, front
        self._control.apply(config)
        self._fleet.announce()

    def _built(self, config: Config) -> tuple[list[Pool], DataPlaneConfig]:
        """All that a configuration makes, around the parts that outlive it. A start and a reload both come here."""
        kept = RequestRules(frozenset(map(str.lower, config.keep_forwarded)))
        is_trusted = TrustedProxies(config.trusted_proxies)
        hops = HopCache(is_trusted, config.via or None, forwarded=config.forwarded, rules=kept)
        told = self._telemetry
        house = SharedServices(
            self._occupancy, hops, time.monotonic, self._new_request_id, told.listeners, told.hooks, told.tracing
        )
        session = forwarding_session(self._connections, between_bytes=config.timeouts.between_bytes)
        adapter = cast("BackendAdapter", session.get_adapter("http://"))  # which is that of every scheme
        pools = {name: (table, table.to_model(name)) for name, table in config.every_pool().items()}
        lanes = {
            name: self._lane(pool, table, rules_of(table, config), adapter, house)
            for name, (table, pool) in pools.items()
        }
        whereto = entrance(config, lanes, house, limits_of(config, self._buckets))
        own_paths = OwnPaths({config.health_path: "/health", config.live_path: "/live"})
        front = DataPlaneConfig(whereto, own_paths, config.limits.body)
        return [pool for _, pool in pools.values()], front

    def _lane(
        self, pool: Pool, table: PoolConfig, rules: ProxySettings, adapter: BackendAdapter, house: SharedServices
    ) -> PoolPipeline:
        waiting = None
        if table.has_bounds():
            slots, traffic = self._slots.of(pool.name), self._fleet.traffic(pool.name)
            waiting = SlotQueue(slots, traffic, table.queue.to_model(), time.monotonic)
        attempts = Attempts(pool.name, self._fleet, adapter, rules, house, waiting)
        return PoolPipeline(PoolBalancer(pool, self._fleet), attempts, rules)

    def _data_plane(self, control: WSGI, front: DataPlaneConfig, admin_address: object) -> DataPlane:
        life = Lifecycle(
            self._start,
            self._stop,
            self._telemetry.reopen_logs,
            self._use_wire,
            self.apply,
            self._fleet.announce,
            partial(setattr, self._telemetry, "directory"),
            self._control.end_streams_when,
        )
        self._plane = DataPlane(control, front, admin_address=admin_address, life=life)
        return self._plane

    def _start(self) -> None:
        self._telemetry.start()
        self._fleet.start()
        self._sweeping.start()

    def _stop(self) -> None:
        self._sweeping.stop()
        self._slots.stop()
        self._fleet.stop()
        self._connections.close()
        self._telemetry.stop()

    def _sweep(self) -> None:
        self._connections.sweep()  # those of the configuration in effect

    def _worker(self) -> dict[str, Any]:
        """What this process tells of itself."""
        tasks = [task._asdict() for task in background.statuses()]
        return {**self._occupancy.told(), "config_version": self._version, "tasks": tasks}

    def _ask_reload(self) -> ReloadOutcome:
        return self._plane.ask_reload()

    def _use_wire(self, wire: Callable[[socket.socket], Any]) -> None:
        self._dialer.wire = wire

    def _renew_connections(self, config: Config, certificates: str) -> None:
        """Connections to backends from now on are made by these rules. Those in use are closed after their request."""
        dialer, old = dialer_for(config, self._resolver), self._connections
        dialer.wire = self._dialer.wire
        self._dialer, self._connections = dialer, ConnectionPool(time.monotonic, dialer)
        self._certificates = certificates
        old.close()


def dialer_for(config: Config, resolver: SystemResolver) -> Dialer:
    """What opens connections to backends."""
    return Dialer(tls_settings_for(config.backend_tls), AdminAddress(config.admin_bind).is_peer, resolver)


def rules_of(table: PoolConfig, config: Config) -> ProxySettings:
    """By which rules requests go to the pool."""
    return ProxySettings(
        config.retries.policy(),
        config.timeouts.connect,
        config.timeouts.first_byte,
        table.preserve_host,
        config.via or None,
        max(1, math.ceil(table.health.soon)),
        TrustedProxies(config.trusted_proxies),
        config.timeouts.request or math.inf,
        config.timeouts.tunnel_idle,
        config.limits.tunnels,
        table.pages,
    )


def request_ids() -> Callable[[], str]:
    """Unique ids: chance once a process, then counting, since chance for each request would cost more than it gives."""
    prefix, numbers = "", count(1)

    def begin() -> None:
        nonlocal prefix, numbers
        prefix, numbers = secrets.token_hex(8), count(1)

    def new() -> str:
        return f"{prefix}-{next(numbers):x}"

    begin()
    os.register_at_fork(after_in_child=begin)
    return new
