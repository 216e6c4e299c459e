"""The checker's parts, joined. Loads no Flask and no `requests`."""

from __future__ import annotations

import os
import secrets
import socket
from functools import partial

from lbflask.checker.loop import PoolChecker
from lbflask.config.schema import Config
from lbflask.upstream.probes import probe_tcp
from lbflask.wiring.store import store_for


def checker(config: Config) -> PoolChecker:
    """The checker of the pool."""
    health = config.health
    return PoolChecker(
        config.pool(),
        store_for(config),
        partial(probe_tcp, timeout=health.timeout),
        holder=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        interval=health.interval,
        soon=health.soon,
        jitter=health.jitter,
        thresholds=health.thresholds(),
    )
