"""A subscription to channels of Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import redis

from lbflask.store.ports import StoreUnavailable
from lbflask.store.redis_client import Client
from lbflask.store.redis_errors import translated

#: Limit of the messages that one call of `wait` returns.
MAX_BATCH = 1000


class RedisWatch:
    """A subscription with its own connection. A message is the text for its channel, and its payload if wanted."""

    def __init__(self, client: Client, channels: Mapping[str, str], *, with_payload: bool = False) -> None:
        self._channels = {channel.encode(): text for channel, text in channels.items()}
        self._with_payload = with_payload
        self._pubsub = translated(lambda: client.pubsub(ignore_subscribe_messages=True))
        try:
            translated(lambda: self._pubsub.subscribe(*channels))
        except StoreUnavailable:
            self._pubsub.close()
            raise

    def __repr__(self) -> str:
        return f"<RedisWatch of {len(self._channels)} channels, first {next(iter(self._channels), None)!r}>"

    def wait(self, timeout: float) -> Collection[str]:
        """See ports.py."""
        messages: set[str] = set()
        message = translated(lambda: self._pubsub.get_message(timeout=max(0.0, timeout)))
        for _ in range(MAX_BATCH):
            if message is None:
                break
            payload = message["data"].decode(errors="replace") if self._with_payload else ""
            messages.add(self._channels[message["channel"]] + payload)
            message = translated(lambda: self._pubsub.get_message(timeout=0.0))
        return messages

    def close(self) -> None:
        """See ports.py."""
        try:
            self._pubsub.close()
        except (redis.RedisError, OSError):
            return  # the connection was lost already
