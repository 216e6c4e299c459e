"""Which store the configuration means."""

from __future__ import annotations

from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.store.embedded import private_url
from lbflask.store.redis import OPERATION_TIMEOUT, RedisStore, connect
from lbflask.store.redis_client import Trip


def store_for(config: Config, timeout: float = OPERATION_TIMEOUT, trip: Trip | None = None) -> RedisStore:
    """The configured store, or this machine's private one; `timeout` seconds for an answer. Does not connect yet.
    `trip` is told of each command. Raises ConfigError for options in the URL that can't be used.
    """
    url = private_url() if config.redis_url is None else config.redis_url.reveal()
    try:
        client = connect(url, timeout, trip)
    except ValueError as error:
        # urllib quotes what it takes for the port, which may be a part of the password.
        raise ConfigError(f"redis_url: {str(error).partition(' as ')[0]}") from None
    return RedisStore(client, config.namespace)
