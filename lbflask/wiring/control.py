"""The control plane's parts, joined: who may come in, what they see and may do."""

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
from lbflask.control.operations import Operations
from lbflask.control.running import Running
from lbflask.core.faults import Fault
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import Backend
from lbflask.core.reload import ReloadOutcome
from lbflask.fleet.fleet import Fleet
from lbflask.upstream.dialer import Dialer
from lbflask.wiring.adapters import store_for

#: Seconds that an operator waits for the store.
PATIENCE = 1.0


class ControlPlane:
    """The admin API of a worker. `gate` guards what else there is on the admin listener.

    `dialer` gives what opens connections to backends now, `reload` has the host reload.
    """

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        dialer: Callable[[], Dialer],
        reload: Callable[[], ReloadOutcome],
    ) -> None:
        self._running = Running.of(config)
        self._dialer = dialer
        self.gate = Authenticator(TokenSet(config.admin), time.time)
        # A store of its own: no request waits for it, and an operator would rather wait a moment than be refused.
        store = store_for(config, PATIENCE)
        operations = Operations(store, fleet, lambda: self._running)
        self._api = AdminApi(operations, self.gate, identity(config).instance, self._reach, reload)

    def blueprints(self) -> list[Blueprint]:
        """What the app is to route."""
        return [blueprint(self._api.table(), self.gate), dashboard.blueprint(self.gate)]

    def apply(self, config: Config) -> None:
        """Show this configuration, and ask for its tokens, from now on."""
        self._running = Running.of(config, self._running)
        self.gate.tokens = TokenSet(config.admin)

    def end_streams_when(self, ends: Callable[[], bool]) -> None:
        """Streams end by themselves when this says so."""
        self._api.streams.ends = ends

    def _reach(self, backend: Backend, within: float) -> str:
        """Connect to the backend; why that failed, empty if it did not."""
        try:
            self._dialer().open(backend.address, within, time.monotonic()).close()
        except Fault as fault:
            return fault.reason
        return ""


def identity(config: Config) -> WorkerIdentity:
    """The instance, for operators; its workers add who they are."""
    host = os.uname().nodename
    return WorkerIdentity(f"{host}/{config.bind[0]}", host, 0, lbflask.__version__, version(config))
