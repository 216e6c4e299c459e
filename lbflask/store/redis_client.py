"""The Redis client for a URL: one server, a primary under Sentinel, or a Cluster, with TLS or without.

All fail fast. The retries of redis-py are off: a request must not wait for a back-off, and the follower retries in the
background. A client connects with its first command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

#: Seconds until a connection attempt or an answer counts as missing.
OPERATION_TIMEOUT = 0.05

SENTINEL_PORT = 26_379
REDIS_PORT = 6_379


#: Called after each command with its name, its duration in seconds, and whether it was answered.
Trip = Callable[[str, float, bool], None]


class ClusterClient:
    """A client of a Cluster, constructed at its first use: that of redis-py connects in its constructor."""

    def __init__(self, nodes: list[tuple[str, int]], options: dict[str, Any], trip: Trip | None) -> None:
        self._nodes = nodes
        self._trip = trip
        self._options = options
        self._lock = threading.Lock()
        self._client: RedisCluster | None = None

    def __repr__(self) -> str:
        return f"<ClusterClient {self._nodes} connected={self._client is not None}>"

    def __getattr__(self, name: str) -> Any:
        """The attribute of the client. Raises the errors of redis-py when no node answers."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    nodes = [ClusterNode(*node) for node in self._nodes]  # type: ignore[no-untyped-call]
                    client = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **self._options)
                    self._client = _timed(client, self._trip)
        return getattr(self._client, name)

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()


Client = redis.Redis | ClusterClient


def connect(url: str, timeout: float = OPERATION_TIMEOUT, trip: Trip | None = None) -> Any:
    """The client for the URL. Raises ValueError for options that redis-py does not accept, which it
    would reject only at each command.
    """
    try:
        client = _client(url, timeout, trip)
        if not isinstance(client, ClusterClient):
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError) as error:
        raise ValueError(str(error).removeprefix("AbstractConnection.__init__() ")) from None
    return client


def _client(url: str, timeout: float, trip: Trip | None) -> Any:
    """A client with `timeout` seconds for each connection and each answer, which calls `trip` after each command.

    `redis://`, `rediss://` and `unix://` are those of redis-py, with its options in the query. So are the options of
    `redis+sentinel://host:port,host:port/service/db`, where `sentinel_username` and `sentinel_password` are for the
    sentinels, and of `redis+cluster://host:port,host:port`; with `rediss+` both use TLS.
    """
    base: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    kind, _, topology = scheme.partition("+")
    if not topology:
        return _timed(redis.Redis.from_url(url, **base, health_check_interval=0, driver_info=None), trip)
    location, question, query = rest.partition("?")
    authority, _, path = location.partition("/")
    user, at, hosts = authority.rpartition("@")
    service, _, database = path.partition("/")
    given = parse_url(f"{kind}://{user}{at}host/{database}{question}{query}")  # type: ignore[no-untyped-call]
    options = base | dict(given)
    options.pop("host", None)
    options.pop("connection_class", None)
    if kind == "rediss":
        options["ssl"] = True
    if topology == "cluster":
        return ClusterClient(_addresses(hosts, REDIS_PORT), options, trip)
    return _timed(_behind_sentinels(_addresses(hosts, SENTINEL_PORT), unquote(service), options), trip)


def _timed(client: Any, trip: Trip | None) -> Any:
    """The client, with a call of `trip` after each command; NOSCRIPT counts as answered."""
    if trip is None:
        return client
    execute = client.execute_command

    def timed(*args: Any, **options: Any) -> Any:
        began, ok = time.monotonic(), False
        try:
            answer = execute(*args, **options)
            ok = True
        except redis.exceptions.NoScriptError:
            ok = True
            raise
        finally:
            trip(str(args[0]).lower(), time.monotonic() - began, ok)
        return answer

    client.execute_command = timed
    return client


def _behind_sentinels(sentinels: list[tuple[str, int]], service: str, options: dict[str, Any]) -> redis.Redis:
    """A client of the primary, for which each new connection asks the sentinels."""
    for_sentinels = {
        name: value for name, value in options.items() if name.startswith(("socket_", "ssl", "retry", "protocol"))
    }
    for name in ("username", "password"):
        if f"sentinel_{name}" in options:
            for_sentinels[name] = options.pop(f"sentinel_{name}")
    sentinel = Sentinel(sentinels, sentinel_kwargs=for_sentinels, **options)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(service)  # type: ignore[no-untyped-call]
    return client


def _addresses(hosts: str, port: int) -> list[tuple[str, int]]:
    """The addresses in `a,b:1,[::1]:2`; `port` is the default."""
    addresses = []
    for host in hosts.split(","):
        name, colon, number = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, number = host, ""
        addresses.append((name.strip("[]"), int(number) if number else port))
    return addresses
