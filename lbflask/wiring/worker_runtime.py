"""Builds a worker from its configuration: store, fleet, connections, data plane, control plane, telemetry."""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, cast

from flask import Blueprint

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
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.model import Pool
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.app import ControlPaths, DataPlane, DataPlaneConfig, control_app, install
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from lbflask.upstream.resolver import SystemResolver
from lbflask.wiring.adapters import store_for, tls_settings_for
from lbflask.wiring.control import ControlPlane, identity
from lbflask.wiring.gauges import slot_gauges, worker_gauges
from lbflask.wiring.routes import PoolPipeline, entrance, limits_of
from lbflask.wiring.server_port import ServerPort, UnknownServer
from lbflask.wiring.telemetry import Telemetry

log = logging.getLogger("lbflask")

#: Seconds between two closings of upstream connections that were idle for too long.
SWEEP_INTERVAL = 2.0


class WorkerRuntime:
    """The parts of a worker and their life cycle (`proxy.app.Lifecycle`). `app` is the WSGI application."""

    def __init__(self, config: Config, server: ServerPort | None = None) -> None:
        self._server = server or UnknownServer()
        self._config, self._version = config, version(config)
        self._started_in = 0
        self._telemetry = Telemetry(config, self._server.metrics_directory)
        self._fleet = self._new_fleet(config)
        #: As of Lifecycle.
        self.reopen_logs, self.announce_config = self._telemetry.reopen_logs, self._fleet.announce_reload
        self._slots = Slots(self._fleet)
        self._buckets = Buckets(self._fleet)
        self._resolver = SystemResolver()
        self._dialer = self._new_dialer(config)
        self._certificates = config.backend_tls.contents()
        self._connections = ConnectionPool(time.monotonic, self._dialer)
        self._in_flight = InFlight()
        self._telemetry.watch(worker_gauges(self._fleet, lambda: self._connections, self._in_flight))
        self._telemetry.watch(slot_gauges(self._slots))
        self._new_request_id = request_ids()
        self._sweeper = BackgroundTask("idle-connections", self._sweep, every=SWEEP_INTERVAL)
        self._pools, front = self._build(config)
        self._control = ControlPlane(config, self._fleet, lambda: self._dialer, self._server)
        self.app = control_app(self._blueprints())
        admin_address = connection_address(config.admin_bind)
        self._plane = DataPlane(self.app.wsgi_app, front, admin_address=admin_address, lifecycle=self)
        install(self._plane, self.app)

    def __repr__(self) -> str:
        state = f"started in {self._started_in}" if self._started_in else "not started"
        return f"<WorkerRuntime {self._version} pools={[pool.name for pool in self._pools]} {state}>"

    @property
    def is_started(self) -> bool:
        """As of Lifecycle."""
        return self._started_in != 0

    def start(self) -> None:
        """As of Lifecycle. Raises ConfigError."""
        if self._started_in != os.getpid():
            self._started_in = os.getpid()
            self._telemetry.start()
            self._fleet.start()
            self._sweeper.start()

    def stop(self) -> None:
        """As of Lifecycle."""
        if self._started_in == os.getpid():
            self._started_in = 0
            self._sweeper.stop()
            self._slots.stop()
            self._fleet.stop()
            self._connections.close()
            self._telemetry.stop()

    def apply_config(self, config: Config) -> None:
        """As of Lifecycle. Requests and tunnels in flight keep the configuration that they began with.

        Settings that only new workers apply (config/diff.py) keep their values.
        """
        self._telemetry.apply_config(config)
        certificates = config.backend_tls.contents()
        if config.backend_tls != self._config.backend_tls or certificates != self._certificates:
            self._renew_connections(config, certificates)
        policies = {name: pool.ejection_rule() for name, pool in config.every_pool().items()}
        self._fleet.set_pools(policies, strict=config.tickets == "strict", config=version(config))
        pools, front = self._build(config)
        self._fleet.refresh()
        self._config, self._version, self._pools = config, version(config), pools
        self._plane.set_front(front)
        self._control.apply_config(config)
        self.announce_config()

    def _new_fleet(self, config: Config) -> Fleet:
        pools = config.every_pool()
        return Fleet(
            store_for(config, trip=self._telemetry.trip),
            list(pools),
            strict=config.tickets == "strict",
            report=log.warning,
            policies={name: pool.ejection_rule() for name, pool in pools.items()},
            worker=LocalWorker(identity(config)),
        )

    def _new_dialer(self, config: Config) -> Dialer:
        return Dialer(
            tls=tls_settings_for(config.backend_tls),
            forbidden=AdminAddress(config.admin_bind).is_peer,
            resolver=self._resolver,
            network_stream=self._server.network_stream,
        )

    def _build(self, config: Config) -> tuple[list[Pool], DataPlaneConfig]:
        """The parts that a reload replaces, around those that outlive it."""
        kept = RequestRules(frozenset(map(str.lower, config.keep_forwarded)))
        is_trusted = TrustedProxies(config.trusted_proxies)
        hops = HopCache(is_trusted, config.via or None, forwarded=config.forwarded, rules=kept)
        sinks = self._telemetry
        services = SharedServices(
            in_flight=self._in_flight,
            hops=hops,
            clock=time.monotonic,
            new_request_id=self._new_request_id,
            listeners=sinks.listeners,
            hooks=sinks.hooks,
            tracing=sinks.tracing,
        )
        session = forwarding_session(self._connections, between_bytes=config.timeouts.between_bytes)
        adapter = cast("BackendAdapter", session.get_adapter("http://"))  # the same for every scheme
        pools = [table.to_model(name) for name, table in config.every_pool().items()]
        pipelines = {pool.name: self._pipeline(pool, config, adapter, services) for pool in pools}
        handler = entrance(config, pipelines, services, limits_of(config, self._buckets))
        control_paths = ControlPaths({config.health_path: "/health", config.live_path: "/live"})
        return pools, DataPlaneConfig(handler=handler, control_paths=control_paths, body_limit=config.limits.body)

    def _pipeline(self, pool: Pool, config: Config, adapter: BackendAdapter, services: SharedServices) -> PoolPipeline:
        table, queue = config.every_pool()[pool.name], None
        settings = proxy_settings(table, config)
        if table.has_bounds():
            slots, traffic = self._slots.of(pool.name), self._fleet.traffic(pool.name)
            queue = SlotQueue(slots, traffic, table.queue.to_model(), time.monotonic)
        attempts = Attempts(pool.name, self._fleet, adapter, settings, services, queue)
        return PoolPipeline(PoolBalancer(pool, self._fleet), attempts, settings)

    def _blueprints(self) -> list[Blueprint]:
        gate = self._control.gate
        ending = self._server.draining
        health = health_view.blueprint(
            lambda: self._pools, self._fleet, self._worker_view, gate.may_see_details, ending
        )
        blueprints = [health, *self._control.blueprints()]
        if self._telemetry.counts:
            samples = partial(metrics_view.fleet_samples, lambda: self._pools, self._fleet)
            page = metrics_view.blueprint(self._telemetry.page, samples)
            gate.guard(page, Role.READ)
            blueprints.append(page)
        return blueprints

    def _worker_view(self) -> dict[str, Any]:
        """The process in the details of `/health`."""
        tasks = [task._asdict() for task in background.statuses()]
        facts = {"config_version": self._version, "request_parser": self._server.request_parser, "tasks": tasks}
        return {**self._in_flight.summary(), **facts}

    def _sweep(self) -> None:
        self._connections.sweep()  # of the configuration in effect

    def _renew_connections(self, config: Config, certificates: str) -> None:
        """Open new upstream connections by the new TLS settings; those in use are closed after their request."""
        old = self._connections
        self._dialer, self._certificates = self._new_dialer(config), certificates
        self._connections = ConnectionPool(time.monotonic, self._dialer)
        old.close()


def proxy_settings(pool: PoolConfig, config: Config) -> ProxySettings:
    """The settings by which requests are forwarded to the pool."""
    return ProxySettings(
        retries=config.retries.policy(),
        connect=config.timeouts.connect,
        first_byte=config.timeouts.first_byte,
        preserve_host=pool.preserve_host,
        via=config.via or None,
        retry_after=max(1, math.ceil(pool.health.soon)),
        is_trusted=TrustedProxies(config.trusted_proxies),
        request=config.timeouts.request or math.inf,
        tunnel_idle=config.timeouts.tunnel_idle,
        tunnels=config.limits.tunnels,
        pages=pool.pages,
    )


def request_ids() -> Callable[[], str]:
    """Unique ids: a random prefix for each process and a counter, since randomness for each request costs more."""
    ids: Iterator[str]

    def reset() -> None:
        nonlocal ids
        ids = map((secrets.token_hex(8) + "-{:x}").format, count(1))

    reset()
    os.register_at_fork(after_in_child=reset)
    return lambda: next(ids)
