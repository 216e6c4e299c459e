"""Builds the parts that forward requests to each pool, by the settings of the pool and of the route."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.core.http.header_edits import edits_of
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slots import PoolSlots
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.upstream.connection_pool import UNLIMITED, ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from lbflask.wiring.compression import compression
from lbflask.wiring.static_files import internal_files


class PoolPipeline(NamedTuple):
    """The parts that dispatchers to one pool share."""

    balancer: PoolBalancer
    attempts: Attempts
    settings: ProxySettings


class PoolPipelines:
    """The pipelines of one configuration. `by_pool` has that of each pool, for requests without a route and by routes
    that override nothing. `slots_of` returns the slots of a pool, `connections_of` its
    connections.
    """

    def __init__(
        self,
        config: Config,
        services: SharedServices,
        fleet: Fleet,
        slots_of: Callable[[str], PoolSlots],
        connections_of: Callable[[str], ConnectionPool],
    ) -> None:
        self._config = config
        self._services = services
        self._fleet = fleet
        self._slots_of = slots_of
        self._connections_of = connections_of
        self.by_pool = {name: self._of_pool(name) for name in config.every_pool()}

    def __repr__(self) -> str:
        return f"PoolPipelines({', '.join(self.by_pool)})"

    def of(self, pool: str, route: RouteConfig) -> PoolPipeline:
        """The pipeline for requests by the route to the pool: the pool's own, unless the route overrides a setting."""
        shared = self.by_pool[pool]
        if not route.set_traffic():
            return shared
        settings = proxy_settings(self._config, pool, route)
        return PoolPipeline(shared.balancer, self._attempts(pool, settings, shared.attempts.slot_queue), settings)

    def _of_pool(self, name: str) -> PoolPipeline:
        table, queue = self._config.every_pool()[name], None
        if table.has_bounds():
            queue = SlotQueue(self._slots_of(name), self._fleet.traffic(name), table.queue.to_model(), time.monotonic)
        settings = proxy_settings(self._config, name)
        balancer = PoolBalancer(table.to_model(name), self._fleet)
        return PoolPipeline(balancer, self._attempts(name, settings, queue), settings)

    def _attempts(self, pool: str, settings: ProxySettings, queue: SlotQueue | None) -> Attempts:
        session = forwarding_session(
            self._connections_of(pool),
            between_bytes=settings.between_bytes,
            max_idle=settings.max_idle,
            max_kept=settings.max_idle_connections,
            per_attempt=settings.per_attempt,
            max_age=settings.max_age,
            max_requests=settings.max_requests,
        )
        adapter = cast("BackendAdapter", session.get_adapter("http://"))  # the same for every scheme
        return Attempts(pool, self._fleet, adapter.transport, settings, self._services, queue)


def proxy_settings(config: Config, pool: str = "", route: RouteConfig | None = None) -> ProxySettings:
    """The settings by which requests by the route are forwarded to the pool; without a pool, those of local replies."""
    tables = [level.table for level in config.traffic_levels(pool, route)]
    traffic, table = config.traffic(pool, route), config.every_pool()[pool] if pool else config
    health, version = table.health, table.proxy_version if pool else 0
    return ProxySettings(
        retries=traffic.retries.policy(),
        connect=traffic.timeouts.connect,
        first_byte=traffic.timeouts.first_byte,
        between_bytes=traffic.timeouts.between_bytes,
        max_idle=traffic.backend_keepalive,
        max_idle_connections=0 if version else traffic.max_idle_connections,  # each one states its client
        max_age=traffic.backend_max_age,
        max_requests=traffic.backend_max_requests or UNLIMITED,
        per_attempt=traffic.timeouts.per_attempt or math.inf,
        preserve_host=traffic.preserve_host,
        host=traffic.host,
        via=config.via or None,
        retry_after=max(1, math.ceil(health.soon)),
        is_trusted=TrustedProxies(config.trusted_proxies),
        request=traffic.timeouts.request or math.inf,
        tunnel_idle=traffic.timeouts.tunnel_idle,
        tunnels=config.limits.tunnels,
        body_limit=traffic.limits.body,
        pages=traffic.pages,
        pages_for_all=traffic.error_pages_for == "all",
        cors=traffic.cors.to_model(),
        internal_files=internal_files(traffic.internal_files),
        compression=compression(traffic.compression),
        end_waits=health.end_waits,
        closes_when_down=health.long_connections == "close",
        buffering=traffic.buffering.policy(),
        request_edits=edits_of(*(table.request_headers.to_model() for table in tables)),
        proxy_version=version,
        passes_certificates=any(listener.client_certificates for listener in config.listeners),
        response_edits=edits_of(*(table.response_headers.to_model() for table in tables)),
    )
