"""Builds the handler of all requests: the dispatcher of the pool `default`, or a router by the configured routes."""

from __future__ import annotations

import time
from collections.abc import Callable

from lbflask.config.routes import RouteConfig
from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.core.http.paths import plain_path
from lbflask.core.route_match import named_paths
from lbflask.core.routing import Route, RouteTable
from lbflask.core.traffic_split import WeightedSplit
from lbflask.files.file_cache import FileCache
from lbflask.fleet.rate_limiter import Buckets
from lbflask.proxy.data_plane import ControlPaths
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.mirroring import Mirroring
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.router import Handler, RootHandler, Router, TrafficSplitter
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.wiring.admission import Admission
from lbflask.wiring.authentication import Authentication
from lbflask.wiring.listeners import redirecting
from lbflask.wiring.pipelines import PoolPipelines, proxy_settings
from lbflask.wiring.static_files import static_files_route

#: The rate limits of a route that refers to a limit by this name, or to none ('').
LimitsOf = Callable[[str], RateLimits | None]


def limits_of(config: Config, buckets: Buckets) -> LimitsOf:
    """The limits that apply everywhere, in the order of the file, and the one that a route refers to."""
    tables = config.rate_limits

    def limits(name: str) -> RateLimits | None:
        used = {key: table for key, table in tables.items() if table.everywhere or key == name}
        applied = [(table.to_model(key), table.request_key()) for key, table in used.items()]
        return RateLimits(applied, buckets.take) if applied else None

    return limits


def entrance(
    config: Config,
    pipelines: PoolPipelines,
    services: SharedServices,
    limits: LimitsOf,
    authentication: Authentication,
) -> tuple[RootHandler, ControlPaths]:
    """The handler of all requests, and the paths that the control plane serves instead. Without routes the handler is
    the dispatcher of the pool: routing then costs nothing.
    """
    handler = _entrance(config, pipelines, services, limits, Admission(config, services, authentication))
    return redirecting(config, handler, services, proxy_settings(config)), _control_paths(config, handler)


def _entrance(
    config: Config, pipelines: PoolPipelines, services: SharedServices, limits: LimitsOf, admission: Admission
) -> RootHandler:
    by_pool, behind = pipelines.by_pool, admission.services()
    if not config.routes:
        name = DEFAULT_POOL if DEFAULT_POOL in by_pool else next(iter(by_pool))
        return admission.before(Dispatcher(*by_pool[name], behind, rate_limits=limits("")), name)
    default = by_pool.get(DEFAULT_POOL)
    settings = proxy_settings(config) if default is None else default.settings
    cache = FileCache(time.time)
    routes = [(table, model) for table in config.routes for model in table.to_models()]
    return Router(
        RouteTable([route for _, route in routes]),
        [
            _forwarding(table, route, pipelines, services, limits(route.rate_limit), admission)
            if route.direct is None and route.files is None
            else admission.before(_local(route, services, proxy_settings(config, "", table), cache), route=table)
            for table, route in routes
        ],
        None
        if default is None
        else admission.before(Dispatcher(*default, behind, rate_limits=limits("")), DEFAULT_POOL),
        LocalReplies(services, settings, pool="" if default is None else DEFAULT_POOL),
    )


def _control_paths(config: Config, handler: RootHandler) -> ControlPaths:
    """The paths of public listeners to which the balancer responds itself, unless a route names them."""
    paths = {config.health_path: "/health", config.live_path: "/live"}
    named = {path for route in config.routes for path in named_paths(route.match.to_model())}
    contested = [path for path in paths if path and plain_path(path) in named]
    return ControlPaths(paths, contested, handler.names if isinstance(handler, Router) else None)


def _local(route: Route, services: SharedServices, settings: ProxySettings, cache: FileCache) -> Handler:
    """The handler of a route without a pool."""
    if route.files is not None:
        return static_files_route(route, route.files, services, settings, cache)
    if route.direct is None:
        raise RuntimeError(f"the route {route.name} has no action")
    replies = LocalReplies(services, settings, route=route.name)
    return DirectResponseRoute(route.direct, replies, settings.via, route.rewrite)


def _forwarding(
    table: RouteConfig,
    route: Route,
    pipelines: PoolPipelines,
    services: SharedServices,
    limits: RateLimits | None,
    admission: Admission,
) -> Handler:
    mirror, behind = None, admission.services(table)
    if route.mirror is not None:
        target = pipelines.by_pool[route.mirror.pool]
        mirror = Mirroring(target.balancer, target.attempts, route.mirror.percent, services)
    actions = RouteActions(name=route.name, rewrite=route.rewrite, mirror=mirror)
    dispatchers = {
        pool: admission.before(Dispatcher(*pipelines.of(pool, table), behind, actions, limits), pool, table)
        for pool in route.shares
    }
    if len(dispatchers) == 1:
        return next(iter(dispatchers.values()))
    split = WeightedSplit(route.name, route.shares)
    return TrafficSplitter(split, route.split_by, dispatchers, services.hops)
