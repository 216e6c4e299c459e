"""A client for the store that a URL names: one server, a primary under Sentinel, or a Cluster, with TLS or without.

All fail fast. redis-py's own retries are off: a request must not sit through a back-off, and the follower retries in
the background. Nothing connects before it is asked for the first time.
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


#: Who is told of each command: its name, the seconds it took, and whether it was answered.
Trip = Callable[[str, float, bool], None]


class ClusterClient:
    """A client of a Cluster, made when it is first used: redis-py's asks the nodes as it is made."""

    def __init__(self, nodes: list[tuple[str, int]], options: dict[str, Any], trip: Trip | None) -> None:
        self._nodes = nodes
        self._trip = trip
        self._options = options
        self._lock = threading.Lock()
        self._made: RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        """Whatever the client has. Raises what redis-py raises when no node answers."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    nodes = [ClusterNode(*node) for node in self._nodes]  # type: ignore[no-untyped-call]
                    made = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **self._options)
                    self._made = _telling(made, self._trip)
        return getattr(self._made, name)

    def close(self) -> None:
        """Let go of all connections."""
        if self._made is not None:
            self._made.close()


Client = redis.Redis | ClusterClient


def connect(url: str, timeout: float = OPERATION_TIMEOUT, trip: Trip | None = None) -> Any:
    """A client as `_client` makes it. Raises ValueError for a URL with options that redis-py does not accept, which it
    would only say at each command.
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
    """A client for the URL, which waits `timeout` seconds for a connection and for an answer, and tells `trip` of each.

    `redis://`, `rediss://` and `unix://` are redis-py's, with its options in the query. So are the options of
    `redis+sentinel://host:port,host:port/service/db`, where `sentinel_username` and `sentinel_password` are for the
    sentinels, and of `redis+cluster://host:port,host:port`; with `rediss+` both speak TLS.
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
        return _telling(redis.Redis.from_url(url, **base, health_check_interval=0, driver_info=None), trip)
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
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
    return _telling(_behind_sentinels(_addresses(hosts, SENTINEL_PORT), unquote(service), options), trip)


def _telling(client: Any, trip: Trip | None) -> Any:
    """The client, which tells of its commands; a script that the server does not know yet is no failure."""
    if trip is None:
        return client
    execute = client.execute_command

    def telling(*args: Any, **options: Any) -> Any:
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

    client.execute_command = telling
    return client


def _behind_sentinels(sentinels: list[tuple[str, int]], service: str, options: dict[str, Any]) -> redis.Redis:
    """A client of the primary that the sentinels name whenever a connection is made."""
    for_sentinels = {
        name: value for name, value in options.items() if name.startswith(("socket_", "ssl", "retry", "protocol"))
    }
    for name in ("username", "password"):
        if f"sentinel_{name}" in options:
            for_sentinels[name] = options.pop(f"sentinel_{name}")
    guard = Sentinel(sentinels, sentinel_kwargs=for_sentinels, **options)  # type: ignore[no-untyped-call]
    client: redis.Redis = guard.master_for(service)  # type: ignore[no-untyped-call]
    return client


def _addresses(hosts: str, port: int) -> list[tuple[str, int]]:
    """`a,b:1,[::1]:2`, with a port for those that name none."""
    found = []
    for host in hosts.split(","):
        name, colon, number = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, number = host, ""
        found.append((name.strip("[]"), int(number) if number else port))
    return found
