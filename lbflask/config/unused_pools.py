"""Pools that nothing names: they would be checked and shown, and would never serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbflask.config.listeners import ListenerConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.routes import RouteConfig


def check_used(
    listeners: Sequence[ListenerConfig], pools: Mapping[str, PoolConfig], routes: Sequence[RouteConfig]
) -> None:
    """Raises ValueError, which names the pool, for one that gets neither requests nor connections.

    The pool `default` gets the requests without a route. Without it and without routes the first pool gets all
    requests, if a listener is for HTTP.
    """
    named = {"default", *(pool for one in listeners for pool in one.tcp_pools().values())}
    named.update(pool for route in routes for pool in route.pools())
    if not routes and "default" not in pools and any(not one.passes_on for one in listeners):
        named.update([*pools][:1])
    for name, table in pools.items():
        if name in named:
            continue
        if any(backend.to_model().scheme == "tcp" for backend in table.backends):
            raise ValueError(
                f"pools.{name}: no listener names it: set tcp = {name!r} in one of [[listeners]], or remove it"
            )
        raise ValueError(
            f"pools.{name}: no route names it: add [[routes]] with a match and pool = {name!r}, or remove it"
        )
