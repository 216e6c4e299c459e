"""A subscription to channels of Redis."""

from __future__ import annotations

from collections.abc import Callable, Collection

import redis

from lbflask.store.ports import StoreUnavailable
from lbflask.store.redis_client import Client
from lbflask.store.redis_errors import translated

#: Messages that are taken together, however many follow.
MOST_AT_ONCE = 1000


class RedisWatch:
    """A subscription over a connection of its own."""

    def __init__(self, client: Client, channels: list[bytes], name_of: Callable[[bytes, bytes], str]) -> None:
        self._name_of = name_of
        self._pubsub = translated(lambda: client.pubsub(ignore_subscribe_messages=True))
        try:
            translated(lambda: self._pubsub.subscribe(*channels))
        except StoreUnavailable:
            self._pubsub.close()
            raise

    def wait(self, timeout: float) -> Collection[str]:
        """See Watch."""
        messages: set[str] = set()
        message = translated(lambda: self._pubsub.get_message(timeout=max(0.0, timeout)))
        for _ in range(MOST_AT_ONCE):
            if message is None:
                break
            messages.add(self._name_of(message["channel"], message["data"]))
            message = translated(lambda: self._pubsub.get_message(timeout=0.0))
        return messages

    def close(self) -> None:
        """See Watch."""
        try:
            self._pubsub.close()
        except (redis.RedisError, OSError):
            return  # the connection was lost already
