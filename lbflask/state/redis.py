"""The store in Redis or Valkey: one round trip for each method, none of which waits longer than a few tens of ms.

redis-py's own retries are off: a request must not sit through a back-off, and the follower retries in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lbflask.core.model import ActiveHealth, Snapshot
from lbflask.state import records
from lbflask.state.keys import PoolKeys
from lbflask.state.ports import Lease, StoreUnavailable

#: Seconds until a connection attempt or an answer counts as missing.
OPERATION_TIMEOUT = 0.05


def connect(url: str, timeout: float = OPERATION_TIMEOUT) -> redis.Redis:
    """A client for the URL that fails fast. Does not connect yet."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        driver_info=None,
    )


class RedisStore:
    """Both ports, over one client. Threads and greenlets may share it."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._keys: dict[str, PoolKeys] = {}
        self._read_snapshot = self._script("read_snapshot")
        self._hold_lease = self._script("hold_lease")
        self._drop_lease = self._script("drop_lease")
        self._write_active = self._script("write_active")

    def take_tickets(self, pool: str, count: int) -> int:
        """See WorkerStore."""
        keys = self._of(pool)
        last: int = _asked(lambda: self._client.incrby(keys.ticket, count))
        return last - count

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See WorkerStore."""
        keys = self._of(pool)
        version, silence, interval, *pairs = _asked(
            lambda: self._read_snapshot(keys=[keys.version, keys.heartbeat, keys.active], args=[known.version])
        )
        active: Mapping[str, ActiveHealth] = known.active
        if int(version) != known.version:
            active = {pairs[i].decode(errors="replace"): records.parse(pairs[i + 1]) for i in range(0, len(pairs), 2)}
        heartbeat = None if silence < 0 else silence / 1000
        return Snapshot(int(version), active, heartbeat, interval / 1000)

    def watch_changes(self, pools: Collection[str]) -> RedisWatch:
        """See WorkerStore."""
        channels = {self._of(pool).changes.encode(): pool for pool in pools}
        return RedisWatch(self._client, list(channels), lambda channel, _: channels[channel])

    def report_suspect(self, pool: str, backend: str) -> None:
        """See WorkerStore."""
        keys = self._of(pool)
        _asked(lambda: self._client.publish(keys.suspects, backend))

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """See CheckerStore."""
        keys = self._of(pool)
        held = _asked(lambda: self._hold_lease(keys=[keys.leader, keys.epoch], args=[holder, int(seconds * 1000)]))
        if held is None:
            return None
        epoch, whole, micros = held
        return Lease(int(epoch), int(whole) + int(micros) / 1_000_000)

    def drop_lease(self, pool: str, holder: str) -> None:
        """See CheckerStore."""
        keys = self._of(pool)
        _asked(lambda: self._drop_lease(keys=[keys.leader], args=[holder]))

    def write_active(
        self,
        pool: str,
        epoch: int,
        states: Mapping[str, ActiveHealth],
        *,
        interval: float,
        replace: bool = False,
        announce: bool = False,
    ) -> bool:
        """See CheckerStore."""
        keys = self._of(pool)
        pairs = [part for backend, state in states.items() for part in (backend, records.dump(state))]
        written = _asked(
            lambda: self._write_active(
                keys=[keys.epoch, keys.active, keys.heartbeat, keys.version],
                args=[
                    epoch,
                    int(interval * 1000),
                    "replace" if replace else "keep",
                    keys.changes if announce else "",
                    *pairs,
                ],
            )
        )
        return bool(written)

    def watch_suspects(self, pools: Collection[str]) -> RedisWatch:
        """See CheckerStore."""
        channels = {self._of(pool).suspects.encode(): pool for pool in pools}
        return RedisWatch(
            self._client,
            list(channels),
            lambda channel, backend: f"{channels[channel]}/{backend.decode(errors='replace')}",
        )

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def _script(self, name: str) -> Any:
        return self._client.register_script(
            resources.files("lbflask.state").joinpath("lua", f"{name}.lua").read_text("utf-8")
        )

    def _of(self, pool: str) -> PoolKeys:
        keys = self._keys.get(pool)
        if keys is None:
            keys = self._keys[pool] = PoolKeys(self._namespace, pool)
        return keys


class RedisWatch:
    """A subscription over a connection of its own."""

    def __init__(self, client: redis.Redis, channels: list[bytes], told: Callable[[bytes, bytes], str]) -> None:
        self._told = told
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        try:
            _asked(lambda: self._pubsub.subscribe(*channels))
        except StoreUnavailable:
            self._pubsub.close()
            raise

    def wait(self, timeout: float) -> Collection[str]:
        """See Watch."""
        messages: set[str] = set()
        message = _asked(lambda: self._pubsub.get_message(timeout=max(0.0, timeout)))
        while message is not None:
            messages.add(self._told(message["channel"], message["data"]))
            message = _asked(lambda: self._pubsub.get_message(timeout=0.0))
        return messages

    def close(self) -> None:
        """See Watch."""
        try:
            self._pubsub.close()
        except (redis.RedisError, OSError):
            return  # the connection was lost already


def _asked(ask: Callable[[], Any]) -> Any:
    """Redis's answer; whatever keeps it from us becomes StoreUnavailable."""
    try:
        return ask()
    except (redis.RedisError, OSError, ValueError, AttributeError) as error:
        # The last two are what redis-py's reader comes to when `close` takes its connection away while it waits.
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
