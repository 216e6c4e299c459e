"""A worker's parts, joined: store, session, data plane, app."""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import cast

from flask import Flask

from lbflask.config.pools import PoolTable
from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.config.types import socket_address
from lbflask.control import health as health_view
from lbflask.core.http.fields import TrustTest
from lbflask.proxy.app import WSGI, DataPlane, Life, create_app
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancing import Balancing
from lbflask.proxy.dispatcher import Dispatcher
from lbflask.proxy.exchange import Hops, House, Occupancy, Rules
from lbflask.state.fleet import Fleet
from lbflask.telemetry.access_log import AccessLog
from lbflask.upstream.dial import Dialer, TLSRules
from lbflask.upstream.pool import ConnectionPool
from lbflask.upstream.session import BackendAdapter, forwarding_session
from lbflask.wiring.store import store_for

log = logging.getLogger("lbflask")


class Balancer:
    """The parts of a worker, and their beginning and end."""

    def __init__(self, config: Config) -> None:
        pools = config.every_pool()
        via = config.via or None
        self._store = store_for(config)
        self._fleet = Fleet(
            self._store,
            list(pools),
            strict=config.tickets == "strict",
            report=log.warning,
            rules={name: table.ejection_rule() for name, table in pools.items()},
        )
        self._dialer = Dialer(tls_rules(config))
        self._connections = ConnectionPool(time.monotonic, self._dialer)
        self._session = forwarding_session(self._connections, between_bytes=config.timeouts.between_bytes)
        self._adapters: dict[str, BackendAdapter] = {}
        self._access_log = AccessLog(config.access_log) if config.access_log else None
        self._house = House(
            Occupancy(),
            Hops(TrustTest(config.trusted_proxies), via, forwarded=config.forwarded),
            time.monotonic,
            request_ids(),
            (self._access_log,) if self._access_log else (),
        )
        dispatchers = {name: self._dispatcher(name, table, config) for name, table in pools.items()}
        dispatcher = dispatchers.get(DEFAULT_POOL) or next(iter(dispatchers.values()))
        models = [table.to_model(name) for name, table in pools.items()]
        self.app: Flask = create_app(
            [health_view.blueprint(models, self._fleet, self._house.occupancy.told)],
            lambda control: self._data_plane(control, dispatcher, config),
        )

    def _dispatcher(self, name: str, table: PoolTable, config: Config) -> Dispatcher:
        rules = Rules(
            config.retries.policy(),
            config.timeouts.connect,
            config.timeouts.first_byte,
            table.preserve_host,
            config.via or None,
            max(1, math.ceil(table.health.soon)),
            TrustTest(config.trusted_proxies),
            config.timeouts.request or math.inf,
            config.timeouts.tunnel_idle,
            config.limits.tunnels,
        )
        attempts = Attempts(name, self._fleet, self._adapter_for, rules, self._house)
        return Dispatcher(Balancing(table.to_model(name), self._fleet), attempts, rules, self._house)

    def _adapter_for(self, url: str) -> BackendAdapter:
        """The session's own answer, remembered: it goes through all that is mounted each time."""
        adapter = self._adapters.get(url)
        if adapter is None:
            adapter = self._adapters[url] = cast("BackendAdapter", self._session.get_adapter(url))
        return adapter

    def _data_plane(self, control: WSGI, dispatcher: Dispatcher, config: Config) -> DataPlane:
        return DataPlane(
            control,
            dispatcher,
            admin_address=socket_address(config.admin_bind),
            health_path=config.health_path,
            body_limit=config.limits.body,
            life=Life(self._start, self._stop, self._reopen_logs, partial(setattr, self._dialer, "wire")),
        )

    def _start(self) -> None:
        if self._access_log is not None:
            self._access_log.start()
        self._fleet.start()

    def _reopen_logs(self) -> None:
        if self._access_log is not None:
            self._access_log.reopen()

    def _stop(self) -> None:
        self._fleet.stop()
        self._session.close()
        if self._access_log is not None:
            self._access_log.stop()


def tls_rules(config: Config) -> TLSRules:
    """How backends are spoken to over TLS."""
    tls = config.backend_tls
    return TLSRules(tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name)


def request_ids() -> Callable[[], str]:
    """Unique ids: chance once a process, then counting, since chance for each request would cost more than it gives."""
    prefix, numbers = "", count(1)

    def begin() -> None:
        nonlocal prefix, numbers
        prefix, numbers = secrets.token_hex(8), count(1)

    def new() -> str:
        return f"{prefix}-{next(numbers):x}"

    begin()
    os.register_at_fork(after_in_child=begin)
    return new
