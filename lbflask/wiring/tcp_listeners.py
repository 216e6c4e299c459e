"""Builds the listeners without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lbflask.config.schema import Config
from lbflask.proxy.services import SharedServices
from lbflask.proxy.tcp_listeners import TcpListener, TcpListeners, TcpPool
from lbflask.upstream.connection_pool import ConnectionOpener
from lbflask.wiring.pipelines import PoolPipeline


def tcp_listeners(
    config: Config,
    pipelines: Mapping[str, PoolPipeline],
    services: SharedServices,
    opener_of: Callable[[str], ConnectionOpener],
) -> TcpListeners | None:
    """Those of the configuration; None without any. `opener_of` returns what opens connections of a pool."""
    listeners = [one for one in config.listeners if one.passes_on]
    if not listeners:
        return None
    names = {name for one in listeners for name in one.tcp_pools().values()}
    pools = {name: TcpPool(pipelines[name].balancer, pipelines[name].attempts, opener_of(name)) for name in names}
    by_label = {
        one.label: TcpListener(
            pools[one.tcp] if one.tcp else None, {name: pools[pool] for name, pool in one.sni.items()}
        )
        for one in listeners
    }
    return TcpListeners(by_label, services)
