"""The pools of listeners without HTTP: which they are, and which backends they may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbflask.config.listeners import ListenerConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.routes import RouteConfig

#: Schemes of backends that get connections as they are.
_PLAIN = frozenset({"tcp", "unix"})


def check_tcp_pools(
    listeners: Sequence[ListenerConfig], pools: Mapping[str, PoolConfig], routes: Sequence[RouteConfig]
) -> None:
    """Raises ValueError, which names the setting, for pools that are unknown, or for HTTP and for other connections."""
    named: dict[str, str] = {}
    for number, listener in enumerate(listeners):
        for key, pool in listener.tcp_pools().items():
            where = f"listeners[{number}].{key}"
            if pool not in pools:
                raise ValueError(f"{where}: there is no pool {pool!r}; there are {', '.join(sorted(pools)) or 'none'}")
            named.setdefault(pool, where)
    for name, table in pools.items():
        _check_backends(name, table, named.get(name, ""))
    for number, route in enumerate(routes):
        for pool in route.pools():
            if pool in named:
                raise ValueError(f"routes[{number}]: the pool {pool!r} is that of {named[pool]}, without HTTP")
    first = next(iter(pools), "")
    if first in named and not routes and any(not listener.passes_on for listener in listeners):
        raise ValueError("listeners: one is for HTTP, whose requests have no pool; add backends = [...] or [[routes]]")


def _check_backends(pool: str, table: PoolConfig, where: str) -> None:
    prefix = "" if pool == "default" else f"pools.{pool}."
    for number, backend in enumerate(table.backends):
        scheme, place = backend.to_model().scheme, f"{prefix}backends[{number}]"
        if where and scheme not in _PLAIN:
            raise ValueError(f"{place}: {where} passes connections on, so write tcp://host:port or unix:/path")
        if not where and scheme == "tcp":
            raise ValueError(f"{place}: requests need http://; tcp:// is for a pool that tcp of [[listeners]] names")
