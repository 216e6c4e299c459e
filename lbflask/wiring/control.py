"""Builds the control plane of a worker: authentication, operations, admin API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flask import Blueprint

import lbflask
from lbflask.config.certificates import CertificateFile
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.control import dashboard
from lbflask.control.api.blueprint import blueprint
from lbflask.control.api.endpoints import AdminApi
from lbflask.control.auth import Authenticator, TokenSet
from lbflask.control.doctor.backends import ConnectFailure
from lbflask.control.doctor.findings import AuthTrouble
from lbflask.control.operations import Operations, Running
from lbflask.core.certificate_orders import CertificateState
from lbflask.core.faults import Fault
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import Backend
from lbflask.fleet.fleet import Fleet
from lbflask.wiring.adapters import store_for
from lbflask.wiring.backend_connections import BackendConnections
from lbflask.wiring.server_port import ServerPort

#: Seconds that the store may take for a command of an operator.
STORE_TIMEOUT = 1.0


class ControlPlane:
    """The admin API of a worker. `gate` also guards the other pages of the admin listener.

    Streams end as soon as the server is stopping.
    """

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        connections: BackendConnections,
        server: ServerPort,
        auth_troubles: Callable[[], Sequence[AuthTrouble]],
    ) -> None:
        self._running = replace(Running.from_config(config), auth_troubles=auth_troubles)
        self._connections = connections
        self.gate = Authenticator(TokenSet(config.admin), time.time)
        # A store client of its own: an operator waits longer than a request may, rather than get an error.
        store = store_for(config, STORE_TIMEOUT)
        operations = Operations(store, fleet, lambda: self._running)
        instance = identity(config).instance
        self._api = AdminApi(
            operations,
            self.gate,
            instance,
            self._reach,
            server.request_reload,
            server.stopping,
            certificate_expiry=self.certificate_expiry,
        )
        self.instances = self._api.instances

    def blueprints(self) -> list[Blueprint]:
        """The blueprints of the admin API and of the dashboard."""
        return [blueprint(self._api.table(), self.gate), dashboard.blueprint(self.gate)]

    def apply_config(self, config: Config) -> None:
        """Show this configuration and require its tokens."""
        troubles = self._running.auth_troubles
        self._running = replace(Running.from_config(config, self._running), auth_troubles=troubles)
        self.gate.set_tokens(TokenSet(config.admin))

    def set_certificates(self, files: tuple[CertificateFile, ...]) -> None:
        """Clients get these certificates from now on."""
        others = tuple(one for one in self._running.certificates if not one.setting.startswith("tls."))
        self._running = replace(self._running, certificates=(*files, *others))

    def set_automatic(self, state: CertificateState) -> None:
        """Show what is known of the automatic certificates."""
        self._running = replace(self._running, automatic=state)

    @property
    def certificates(self) -> tuple[CertificateFile, ...]:
        """The certificates of the configuration that are loaded."""
        return self._running.certificates

    def certificate_expiry(self, backend: Backend) -> float | None:
        """When the certificate expires that the backend presented last, in seconds since the epoch; None if unknown."""
        return self._connections.certificate_expiry(backend.address)

    def _reach(self, pool: str, backend: Backend, within: float) -> ConnectFailure | None:
        """Connect to the backend as this pool does. Returns why it failed, None after success."""
        try:
            self._connections.dialer(pool).open(backend.address, within, time.monotonic()).close()
        except Fault as fault:
            return ConnectFailure(fault.reason, fault.failure)
        return None


def identity(config: Config, shared: Path | None = None) -> WorkerIdentity:
    """The identity of the instance, for operators; each worker adds its own number. `shared` is the directory that its
    workers share, as do both masters of an upgrade.
    """
    host = os.uname().nodename
    name = config.instance or f"{host}/{config.addresses[0]}"
    lineage = "" if shared is None else shared.name
    return WorkerIdentity(name, host, 0, lbflask.__version__, version(config), lineage=lineage)
