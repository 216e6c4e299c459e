"""Builds what stands before all handlers: the limit of requests per client, the count of answers where there are rules
of bans, and a check while there are bans.
"""

from __future__ import annotations

from typing import NamedTuple

from lbflask.config.schema import Config
from lbflask.core.bans import BanRule
from lbflask.fleet.bans import FleetBans
from lbflask.proxy.admission import AdmissionHandler
from lbflask.proxy.bans import BanCheck, OffenceCounter
from lbflask.proxy.client_limit import ClientLimit
from lbflask.proxy.data_plane import DataPlaneConfig
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.router import RootHandler
from lbflask.proxy.services import SharedServices
from lbflask.wiring.pipelines import proxy_settings


class Fronts(NamedTuple):
    """The data plane of a configuration without bans, and with the check of them."""

    open: DataPlaneConfig
    guarded: DataPlaneConfig


def counting(config: Config, handler: RootHandler, services: SharedServices, bans: FleetBans) -> RootHandler:
    """The handler with the count of the rules; without any it is the handler itself."""
    if not config.bans:
        return handler
    return OffenceCounter(handler, _rules(config), services.hops, bans.count)


def limited(config: Config, handler: RootHandler, services: SharedServices) -> RootHandler:
    """The handler behind the limit of requests per client; without one it is the handler itself."""
    limit = config.limits.per_client
    return ClientLimit(handler, limit, LocalReplies(services, proxy_settings(config))) if limit else handler


def guarded(config: Config, front: DataPlaneConfig, services: SharedServices, bans: FleetBans) -> DataPlaneConfig:
    """The same data plane, whose handler is behind the check of bans."""
    replies = LocalReplies(services, proxy_settings(config))
    return DataPlaneConfig(
        handler=AdmissionHandler(front.handler, [BanCheck(bans.find, _rules(config))], replies),
        control_paths=front.control_paths,
        listener_of=front.listener_of,
        hsts=front.hsts,
    )


def _rules(config: Config) -> list[BanRule]:
    return [table.to_model(name, config.trusted_proxies) for name, table in config.bans.items()]
