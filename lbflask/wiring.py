"""The composition root: configuration in, the parts out, joined. The one place that chooses implementations."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from itertools import count

from flask import Flask

from lbflask.checker.loop import PoolChecker
from lbflask.config.schema import Config
from lbflask.control import health as health_view
from lbflask.core.http.fields import TrustTest
from lbflask.proxy.app import WSGI, DataPlane, create_app
from lbflask.proxy.dispatcher import Balancing, Dispatcher, Rules
from lbflask.state.embedded import private_url
from lbflask.state.fleet import Fleet
from lbflask.state.redis import RedisStore, connect
from lbflask.telemetry.access_log import AccessLog
from lbflask.upstream.pool import ConnectionPool
from lbflask.upstream.probes import probe_tcp
from lbflask.upstream.session import BackendAdapter, forwarding_session

log = logging.getLogger("lbflask")


def store_for(config: Config) -> RedisStore:
    """The configured store, or this machine's private one. Does not connect yet."""
    return RedisStore(connect(config.redis_url or private_url()), config.namespace)


class Balancer:
    """The parts of a worker, and their beginning and end."""

    def __init__(self, config: Config) -> None:
        pool = config.pool()
        via = config.via or None
        self._store = store_for(config)
        self._fleet = Fleet(self._store, [pool.name], strict=config.tickets == "strict", report=log.warning)
        self._connections = ConnectionPool(time.monotonic)
        self._session = forwarding_session(self._connections, between_bytes=config.timeouts.between_bytes)
        self._access_log = AccessLog(config.access_log) if config.access_log else None
        dispatcher = Dispatcher(
            Balancing(pool, self._fleet),
            self._fleet,
            self._adapter_for,
            Rules(
                config.retries.policy(),
                config.timeouts.connect,
                config.timeouts.first_byte,
                config.preserve_host,
                via,
                max(1, math.ceil(config.health.soon)),
                TrustTest(config.trusted_proxies),
            ),
            clock=time.monotonic,
            new_request_id=request_ids(),
            listeners=[self._access_log] if self._access_log else [],
        )
        self.app: Flask = create_app(
            [health_view.blueprint(pool, self._fleet)],
            lambda control: self._data_plane(control, dispatcher, config),
        )

    def _adapter_for(self, url: str) -> BackendAdapter:
        adapter: BackendAdapter = self._session.get_adapter(url)  # type: ignore[assignment]
        return adapter

    def _data_plane(self, control: WSGI, dispatcher: Dispatcher, config: Config) -> DataPlane:
        return DataPlane(
            control,
            dispatcher,
            admin_address=address_of(config.admin_bind),
            health_path=config.health_path,
            body_limit=config.limits.body,
            start=self._start,
            stop=self._stop,
        )

    def _start(self) -> None:
        if self._access_log is not None:
            self._access_log.start()
        self._fleet.start()

    def _stop(self) -> None:
        self._fleet.stop()
        self._session.close()
        if self._access_log is not None:
            self._access_log.stop()


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


def address_of(bind: str) -> tuple[str, int] | str | None:
    """The address that a connection through this listener shows as its own; None for no listener."""
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:")
    host, _, port = bind.rpartition(":")
    return (host.strip("[]"), int(port)) if port else None


def request_ids() -> Callable[[], str]:
    """Unique ids: chance once a process, then counting, since chance for each request would cost more than it gives."""
    state: dict[str, object] = {}

    def new() -> str:
        if state.get("pid") != os.getpid():
            state.update(pid=os.getpid(), prefix=secrets.token_hex(8), count=count(1))
        return f"{state['prefix']}-{next(state['count']):x}"  # type: ignore[call-overload]

    return new
