"""Builds the handler of all requests: the dispatcher of the pool `default`, or a router by the configured routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.core.http.paths import segments_of
from lbflask.core.routing import Route, RouteTable
from lbflask.core.traffic_split import WeightedSplit
from lbflask.fleet.rate_limiter import Buckets
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.mirroring import Mirroring
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.router import Handler, RootHandler, Router, TrafficSplitter
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings


class PoolPipeline(NamedTuple):
    """The parts that all dispatchers to one pool share."""

    balancer: PoolBalancer
    attempts: Attempts
    settings: ProxySettings


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
    config: Config, pipelines: Mapping[str, PoolPipeline], services: SharedServices, limits: LimitsOf
) -> RootHandler:
    """The handler of all requests. Without routes it is the dispatcher of the pool: routing then costs nothing."""
    default = pipelines.get(DEFAULT_POOL) or next(iter(pipelines.values()))
    if not config.routes:
        return Dispatcher(*default, services, rate_limits=limits(""))
    routes = [route.to_model() for route in config.routes]
    has_default = DEFAULT_POOL in pipelines
    settings = default.settings if has_default else replace(default.settings, pages={})
    return Router(
        RouteTable(routes),
        [_handler(route, pipelines, services, settings, limits) for route in routes],
        Dispatcher(*default, services, rate_limits=limits("")) if has_default else None,
        LocalReplies(services, settings, pool=DEFAULT_POOL if has_default else ""),
    )


def _handler(
    route: Route,
    pipelines: Mapping[str, PoolPipeline],
    services: SharedServices,
    settings: ProxySettings,
    limits: LimitsOf,
) -> Handler:
    segments = segments_of(route.match.path)
    if route.direct is not None:
        replies = LocalReplies(services, settings, route=route.name, edits=route.response_edits)
        return DirectResponseRoute(route.direct, replies, settings.via, segments, route.prefix)
    mirror = None
    if route.mirror is not None:
        target = pipelines[route.mirror.pool]
        mirror = Mirroring(target.balancer, target.attempts, route.mirror.percent, services)
    actions = RouteActions(
        name=route.name,
        segments=segments,
        prefix=route.prefix,
        request_edits=route.request_edits,
        response_edits=route.response_edits,
        mirror=mirror,
    )
    limited = limits(route.rate_limit)
    dispatchers = {pool: Dispatcher(*pipelines[pool], services, actions, limited) for pool in route.shares}
    if len(dispatchers) == 1:
        return next(iter(dispatchers.values()))
    split = WeightedSplit(route.name, route.shares)
    return TrafficSplitter(split, route.split_by, dispatchers, services.hops, settings.is_trusted)
