"""Where requests go: to the pool `default`, or by the routes of the configuration to what each of them needs."""

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
from lbflask.proxy.context import ProxySettings, SharedServices
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.mirroring import Mirroring
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.router import Handler, RootHandler, Router, TrafficSplitter


class PoolPipeline(NamedTuple):
    """What all dispatchers to one pool share."""

    balancing: PoolBalancer
    attempts: Attempts
    rules: ProxySettings


#: What limits the requests of a route that refers to a limit of this name, or to none ('').
LimitsOf = Callable[[str], RateLimits | None]


def limits_of(config: Config, buckets: Buckets) -> LimitsOf:
    """Those that hold everywhere, in the order of the file, and the one that a route refers to."""
    tables = config.rate_limits

    def limits(name: str) -> RateLimits | None:
        those = [key for key in tables if tables[key].everywhere or key == name]
        rules = [(tables[key].to_model(key), tables[key].request_key()) for key in those]
        return RateLimits(rules, buckets.take) if rules else None

    return limits


def entrance(config: Config, lanes: Mapping[str, PoolPipeline], house: SharedServices, limits: LimitsOf) -> RootHandler:
    """The destination of all requests: without routes the dispatcher of the pool itself, which costs them nothing."""
    usual = lanes.get(DEFAULT_POOL) or next(iter(lanes.values()))
    if not config.routes:
        return Dispatcher(*usual, house, rate_limits=limits(""))
    routes = [route.to_model() for route in config.routes]
    has_default = DEFAULT_POOL in lanes
    rules = usual.rules if has_default else replace(usual.rules, pages={})
    return Router(
        RouteTable(routes),
        [_destination(route, lanes, house, rules, limits) for route in routes],
        Dispatcher(*usual, house, rate_limits=limits("")) if has_default else None,
        LocalReplies(house, rules, pool=DEFAULT_POOL if has_default else ""),
    )


def _destination(
    route: Route, lanes: Mapping[str, PoolPipeline], house: SharedServices, rules: ProxySettings, limits: LimitsOf
) -> Handler:
    segments = segments_of(route.match.path)
    if route.direct is not None:
        answers = LocalReplies(house, rules, route=route.name, edits=route.response_edits)
        return DirectResponseRoute(route.direct, answers, rules.via, segments, route.prefix)
    mirror = None
    if route.mirror is not None:
        shadow = lanes[route.mirror.pool]
        mirror = Mirroring(shadow.balancing, shadow.attempts, route.mirror.percent, house)
    course = RouteActions(route.name, segments, route.prefix, route.request_edits, route.response_edits, mirror)
    limited = limits(route.rate_limit)
    dispatchers = {pool: Dispatcher(*lanes[pool], house, course, limited) for pool in route.shares}
    if len(dispatchers) == 1:
        return next(iter(dispatchers.values()))
    return TrafficSplitter(
        WeightedSplit(route.name, route.shares), route.split_by, dispatchers, house.hops, rules.is_trusted
    )
