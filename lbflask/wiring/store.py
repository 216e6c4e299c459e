"""Which store the configuration means."""

from __future__ import annotations

from lbflask.config.schema import Config
from lbflask.state.embedded import private_url
from lbflask.state.redis import RedisStore, connect


def store_for(config: Config) -> RedisStore:
    """The configured store, or this machine's private one. Does not connect yet."""
    return RedisStore(connect(config.redis_url or private_url()), config.namespace)
