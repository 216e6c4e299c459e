"""Builds the control plane of a worker: authentication, operations, admin API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from flask import Blueprint

import lbflask
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.control import dashboard
from lbflask.control.api.blueprint import blueprint
from lbflask.control.api.endpoints import AdminApi
from lbflask.control.auth import Authenticator, TokenSet
from lbflask.control.operations import Operations, Running
from lbflask.core.faults import Fault
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import Backend
from lbflask.fleet.fleet import Fleet
from lbflask.upstream.dialer import Dialer
from lbflask.wiring.adapters import store_for
from lbflask.wiring.server_port import ServerPort

#: Seconds that the store may take for a command of an operator.
STORE_TIMEOUT = 1.0


class ControlPlane:
    """The admin API of a worker. `gate` also guards the other pages of the admin listener.

    `dialer` returns what opens connections to backends now. Streams end as soon as the server is stopping.
    """

    def __init__(self, config: Config, fleet: Fleet, dialer: Callable[[], Dialer], server: ServerPort) -> None:
        self._running = Running.from_config(config)
        self._dialer = dialer
        self.gate = Authenticator(TokenSet(config.admin), time.time)
        # A store client of its own: an operator waits longer than a request may, rather than get an error.
        store = store_for(config, STORE_TIMEOUT)
        operations = Operations(store, fleet, lambda: self._running)
        instance = identity(config).instance
        self._api = AdminApi(operations, self.gate, instance, self._reach, server.request_reload, server.stopping)

    def blueprints(self) -> list[Blueprint]:
        """The blueprints of the admin API and of the dashboard."""
        return [blueprint(self._api.table(), self.gate), dashboard.blueprint(self.gate)]

    def apply_config(self, config: Config) -> None:
        """Show this configuration and require its tokens."""
        self._running = Running.from_config(config, self._running)
        self.gate.set_tokens(TokenSet(config.admin))

    def _reach(self, backend: Backend, within: float) -> str:
        """Connect to the backend. Returns the reason of a failure, empty after success."""
        try:
            self._dialer().open(backend.address, within, time.monotonic()).close()
        except Fault as fault:
            return fault.reason
        return ""


def identity(config: Config) -> WorkerIdentity:
    """The identity of the instance, for operators; each worker adds its own number."""
    host = os.uname().nodename
    return WorkerIdentity(f"{host}/{config.bind[0]}", host, 0, lbflask.__version__, version(config))
