"""Which idle connections to backends a worker keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.wiring import descriptor_limit
from lbflask.wiring.pipelines import PoolPipeline


def sweep(connections: ConnectionPool, pipelines: Iterable[PoolPipeline], shares: int = 1) -> None:
    """Close connections that were idle for longer than their pool allows, and those to backends that do not serve.

    Idle connections have at most half of the descriptors that nothing else uses: the rest is for what is opened until
    the next call. These have one of `shares` of that.
    """
    max_idle: dict[str, float] = {}
    for pipeline in pipelines:
        for backend in pipeline.balancer.serving():
            max_idle[backend.url] = max(pipeline.settings.max_idle, max_idle.get(backend.url, 0.0))
    used, limit = descriptor_limit.used_and_limit() or (0, sys.maxsize)
    connections.sweep(max_idle, (limit - used + connections.idle) // 2 // shares)
