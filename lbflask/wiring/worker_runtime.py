"""Builds a worker from its configuration: store, fleet, connections, data plane, control plane, telemetry."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, count
from typing import Any

from flask import Blueprint

from lbflask import background
from lbflask.background import BackgroundTask
from lbflask.build import build
from lbflask.config.admin_address import AdminAddress
from lbflask.config.certificates import CertificateFile
from lbflask.config.field_types import connection_address
from lbflask.config.render import published, version
from lbflask.config.schema import Config
from lbflask.config.tls import BackendTLSConfig
from lbflask.control import challenges
from lbflask.control import health as health_view
from lbflask.control import metrics as metrics_view
from lbflask.control.doctor.findings import AuthTrouble
from lbflask.core.admin_tokens import Role
from lbflask.core.certificate_orders import CertificateState
from lbflask.core.handshakes import Handshake, Handshakes, failure_of
from lbflask.core.http.fields import RequestRules
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.long_connections import closings
from lbflask.core.model import Closing, Pool
from lbflask.core.reserves import Reserves
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.app import control_app, install
from lbflask.proxy.data_plane import DataPlane, DataPlaneConfig
from lbflask.proxy.first_byte_waits import FirstByteWaits
from lbflask.proxy.long_connections import LongConnections
from lbflask.proxy.services import HopCache, InFlight, SharedServices
from lbflask.proxy.upload_watch import UploadWatch
from lbflask.telemetry.metrics.recorder import Sample
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.resolver import SystemResolver
from lbflask.wiring import buffers, descriptor_limit
from lbflask.wiring.adapters import store_for, tls_settings_for
from lbflask.wiring.authentication import Authentication, AuthParts
from lbflask.wiring.automatic_certificates import shared_certificates_for
from lbflask.wiring.backend_connections import BackendConnections
from lbflask.wiring.control import ControlPlane, identity
from lbflask.wiring.free_space import measured
from lbflask.wiring.fronts import Fronts, counting, guarded, limited
from lbflask.wiring.gauges import (
    auth_counters,
    descriptor_gauges,
    handshake_counters,
    slot_gauges,
    upload_gauges,
    wait_gauges,
    worker_gauges,
)
from lbflask.wiring.listeners import listener_of
from lbflask.wiring.pipelines import PoolPipeline, PoolPipelines
from lbflask.wiring.routes import entrance, limits_of
from lbflask.wiring.server_port import ServerPort, UnknownServer
from lbflask.wiring.tcp_listeners import tcp_listeners
from lbflask.wiring.telemetry import Telemetry

log = logging.getLogger("lbflask")

#: Seconds between two sweeps of idle connections to backends.
SWEEP_INTERVAL = 2.0


class WorkerRuntime:
    """The parts of a worker and their life cycle (`proxy.data_plane.Lifecycle`). `app` is the WSGI application."""

    def __init__(self, config: Config, server: ServerPort | None = None) -> None:
        self._server = server or UnknownServer()
        self._config, self._version = config, version(config)
        self._started_in = 0
        self._in_flight = InFlight()
        self._waits = FirstByteWaits(self._in_flight, time.monotonic)
        self._uploads = UploadWatch(self._in_flight, time.monotonic)
        self._handshakes = Handshakes()
        self._worker = LocalWorker(
            identity(config, self._server.metrics_directory),
            stopping=self._server.draining,
            waits=self._waits.of_pool,
            end_waits=self._waits.end,
            handshakes=self._handshakes.recent,
            expected=lambda: self._server.expected_workers,
            reserves=self._reserves,
            uploads=self._uploads.of_pool,
            turns=self._server.turns,
        )
        self._worker.set_config(self._version, published(config))
        self._telemetry = Telemetry(config, self._server.metrics_directory, self._worker.answers)
        self._fleet = self._new_fleet(config)
        #: As of Lifecycle.
        self.reopen_logs, self.announce_config = self._telemetry.reopen_logs, self._fleet.announce_reload
        self._long_connections = LongConnections(self._in_flight, self._fleet.now)
        self._slots = Slots(self._fleet)
        self._buckets = Buckets(self._fleet)
        self._buffers = buffers.buffer_store(config)
        self._resolver = SystemResolver()
        dialer_for = partial(self._new_dialer, AdminAddress(config.admin_bind).is_peer)
        self._connections = BackendConnections(config, dialer_for, time.monotonic)
        self._auth_parts = AuthParts(self._server.beside, dialer_for)
        self._authentication = Authentication(config, self._auth_parts)
        self._telemetry.watch(worker_gauges(self._fleet, self._connections, self._in_flight))
        self._telemetry.watch(wait_gauges(self._fleet, self._waits))
        self._telemetry.watch(upload_gauges(self._fleet, self._uploads))
        self._telemetry.watch(slot_gauges(self._slots))
        self._telemetry.watch(descriptor_gauges)
        self._telemetry.watch(buffers.buffer_gauges(self._buffers))
        self._telemetry.watch(partial(handshake_counters, self._handshakes))
        self._telemetry.watch(partial(auth_counters, self._auth_parts.counts))
        self._new_request_id = request_ids()
        self._shared_certificates = shared_certificates_for(config, self._set_automatic)
        self._sweeper = BackgroundTask("idle-connections", self._sweep, every=SWEEP_INTERVAL)
        self._pipelines, fronts = self._build(config, self._authentication)
        self._fronts = fronts
        self._control = ControlPlane(config, self._fleet, self._connections, self._server, self._auth_troubles)
        self.app = control_app(self._blueprints())
        admin_address = connection_address(config.admin_bind)
        self._plane = DataPlane(self.app.wsgi_app, fronts.open, admin_address=admin_address, lifecycle=self)
        self._fleet.bans.set_listener(self._choose_front)
        install(self._plane, self.app)

    def __repr__(self) -> str:
        state = f"started in {self._started_in}" if self._started_in else "not started"
        return f"<WorkerRuntime {self._version} pools={[*self._pipelines]} {state}>"

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
            self._authentication.start()
            if self._shared_certificates is not None:
                self._shared_certificates.start()

    def stop(self) -> None:
        """As of Lifecycle."""
        if self._started_in == os.getpid():
            self._started_in = 0
            self._sweeper.stop()
            self._authentication.stop()
            if self._shared_certificates is not None:
                self._shared_certificates.stop()
            self._slots.stop()
            self._fleet.stop()
            self._connections.close()
            self._telemetry.stop()

    def record_handshake(self, error: Exception | None, resumed: bool) -> None:
        """As of Lifecycle."""
        self._handshakes.count(Handshake.COMPLETED if error is None else failure_of(error), resumed=resumed)

    def wish_certificate(self, name: str) -> None:
        """As of Lifecycle."""
        if self._shared_certificates is not None:
            self._shared_certificates.wish(name)

    def record_certificates(self, files: tuple[CertificateFile, ...]) -> None:
        """As of Lifecycle."""
        self._control.set_certificates(files)

    def _set_automatic(self, state: CertificateState) -> None:
        """Present these automatic certificates, and show what is known of them."""
        self._server.set_certificates(state)
        self._control.set_automatic(state)

    def apply_config(self, config: Config) -> None:
        """As of Lifecycle. Requests and tunnels in flight keep the configuration that they began with.

        Settings that only new workers apply (config/diff.py) keep their values.
        """
        self._telemetry.apply_config(config)
        self._connections.apply_config(config)
        policies = {name: pool.ejection_rule() for name, pool in config.every_pool().items()}
        self._fleet.set_pools(
            policies, strict=config.tickets == "strict", config=version(config), settings=published(config)
        )
        before, authentication = self._authentication, Authentication(config, self._auth_parts, self._authentication)
        pipelines, fronts = self._build(config, authentication)
        if self.is_started:
            authentication.start()
        before.stop(authentication)
        self._authentication = authentication
        buffers.apply_config(self._buffers, config)
        self._fleet.refresh()
        self._config, self._version, self._pipelines = config, version(config), pipelines
        self._fronts = fronts
        self._choose_front()
        self._control.apply_config(config)
        self.announce_config()

    def _choose_front(self) -> None:
        """Serve by the front that fits the bans: without any, requests pass no check of them."""
        self._plane.set_front(self._fronts.guarded if self._fleet.bans.are_there else self._fronts.open)

    def _new_fleet(self, config: Config) -> Fleet:
        pools = config.every_pool()
        return Fleet(
            store_for(config, trip=self._telemetry.trip),
            list(pools),
            strict=config.tickets == "strict",
            report=log.warning,
            policies={name: pool.ejection_rule() for name, pool in pools.items()},
            worker=self._worker,
        )

    def _new_dialer(self, forbidden: Callable[[Any], bool], tls: BackendTLSConfig, opening: bytes = b"") -> Dialer:
        return Dialer(
            tls=tls_settings_for(tls),
            forbidden=forbidden,
            resolver=self._resolver,
            network_stream=self._server.network_stream,
            opening=opening,
        )

    def _build(self, config: Config, authentication: Authentication) -> tuple[dict[str, PoolPipeline], Fronts]:
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
            note_answer=sinks.note_answer,
            hooks=sinks.hooks,
            tracing=sinks.tracing,
            logs_facts=sinks.logs_facts,
            buffers=self._buffers,
        )
        pipelines = PoolPipelines(config, services, self._fleet, self._slots.of, self._connections.of_pool)
        limits = limits_of(config, self._buckets)
        handler, control_paths = entrance(config, pipelines, services, limits, authentication)
        if self._shared_certificates is not None:
            authorization = self._shared_certificates.authorization
            control_paths = control_paths.with_challenges(authorization, challenges.PATH)
        front = DataPlaneConfig(
            handler=counting(config, limited(config, handler, services), services, self._fleet.bans),
            control_paths=control_paths,
            listener_of=listener_of(config),
            hsts="" if config.tls.hsts is None else config.tls.hsts.line(),
            tcp=tcp_listeners(config, pipelines.by_pool, services, self._connections.dialer),
        )
        return pipelines.by_pool, Fronts(front, guarded(config, front, services, self._fleet.bans))

    def _blueprints(self) -> list[Blueprint]:
        gate = self._control.gate
        views = self._pools, self._fleet, self._worker_view
        health = health_view.blueprint(*views, gate.may_see_details, self._server.draining)
        blueprints = [health, *self._control.blueprints()]
        if self._shared_certificates is not None:
            blueprints.append(challenges.blueprint(self._shared_certificates.authorization))
        if self._telemetry.counts:
            page = metrics_view.blueprint(self._telemetry.page, self._samples)
            gate.guard(page, Role.READ)
            blueprints.append(page)
        return blueprints

    def _samples(self) -> Iterator[Sample]:
        """The state of the fleet for a scrape."""
        yield from metrics_view.fleet_samples(self._pools, self._fleet)
        yield from metrics_view.ban_samples(self._fleet)
        yield from metrics_view.instance_samples(self._control.instances())
        yield from metrics_view.certificate_samples(self._control.certificates)
        if self._shared_certificates is not None:
            acme, known = self._config.tls.acme, self._shared_certificates.state
            yield from metrics_view.automatic_certificate_samples(acme.domains, known)
            if acme.demand is not None:
                yield from metrics_view.demanded_certificate_samples(acme.demand, known)
        yield from metrics_view.backend_certificate_samples(self._pools, self._fleet, self._control.certificate_expiry)

    def _worker_view(self) -> dict[str, Any]:
        """The process in the details of `/health`."""
        tasks = [task._asdict() for task in background.statuses()]
        return {
            **self._in_flight.summary(),
            "build": build(),
            "config_version": self._version,
            "request_parser": self._server.request_parser,
            "tasks": tasks,
        }

    def _reserves(self, now: float) -> Reserves:
        lost = self._telemetry.lost_lines(now)
        places = chain(self._telemetry.places(), buffers.spool_place(self._config))
        nearly_full = tuple(one for one in measured(places) if one.is_scarce)
        return Reserves(descriptor_limit.used_and_limit(), lost, nearly_full)

    def _auth_troubles(self) -> list[AuthTrouble]:
        return self._authentication.troubles()

    def _sweep(self) -> None:
        self._connections.sweep(self._pipelines)
        self._long_connections.sweep(self._closings())

    def _closings(self) -> Iterator[tuple[str, Mapping[str, Closing]]]:
        for name, pipeline in self._pipelines.items():
            yield name, closings(self._fleet.snapshot(name), when_down=pipeline.settings.closes_when_down)

    def _pools(self) -> list[Pool]:
        return [pipeline.balancer.pool for pipeline in self._pipelines.values()]


def request_ids() -> Callable[[], str]:
    """Unique ids: a random prefix for each process and a counter, since randomness for each request costs more."""
    ids: Iterator[str]

    def reset() -> None:
        nonlocal ids
        ids = map((secrets.token_hex(8) + "-{:x}").format, count(1))

    reset()
    os.register_at_fork(after_in_child=reset)
    return lambda: next(ids)
