"""A subscription to channels of Redis."""

from __future__ import annotations

from collections.abc import Callable, Collection

import redis

from lbflask.store.ports import StoreUnavailable
from lbflask.store.redis_client import Client
from lbflask.store.redis_errors import translated

#: Limit of the messages that one call of `wait` returns.
MAX_BATCH = 1000


class RedisWatch:
    """A subscription with its own connection. `name_of` turns a channel and a payload into a message."""

    def __init__(self, client: Client, channels: list[bytes], name_of: Callable[[bytes, bytes], str]) -> None:
        self._channels = channels
        self._name_of = name_of
        self._pubsub = translated(lambda: client.pubsub(ignore_subscribe_messages=True))
        try:
            translated(lambda: self._pubsub.subscribe(*channels))
        except StoreUnavailable:
            self._pubsub.close()
            raise

    def __repr__(self) -> str:
        return f"<RedisWatch of {len(self._channels)} channels, first {self._channels[:1]}>"

    def wait(self, timeout: float) -> Collection[str]:
        """See ports.py."""
        messages: set[str] = set()
        message = translated(lambda: self._pubsub.get_message(timeout=max(0.0, timeout)))
        for _ in range(MAX_BATCH):
            if message is None:
                break
            messages.add(self._name_of(message["channel"], message["data"]))
            message = translated(lambda: self._pubsub.get_message(timeout=0.0))
        return messages

    def close(self) -> None:
        """See ports.py."""
        try:
            self._pubsub.close()
        except (redis.RedisError, OSError):
            return  # the connection was lost already
