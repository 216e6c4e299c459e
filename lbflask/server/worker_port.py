"""A gunicorn worker as its application sees it, and the application as the worker calls it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbflask.config.field_types import socket_address
from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.server.config_handover import SharedConfig
from lbflask.server.reload import ConfigFollower, request_reload
from lbflask.server.worker.arbiter_termination import ShutdownNotice
from lbflask.server.worker.client_connection import ClientTimeouts
from lbflask.server.worker.proxy_worker import ProxyWorker, WorkerOptions

if TYPE_CHECKING:
    from lbflask.proxy.app import DataPlane


class WorkerPort:
    """The server port (`wiring.server_port`) of one worker.

    gunicorn loads the application before any hook receives the worker, so `serve` connects the two later; until then
    no reload can be requested.
    """

    def __init__(
        self,
        *,
        master: int,
        worker_class: type,
        request_parser: str,
        shared_config: SharedConfig,
        notice: ShutdownNotice,
        metrics_directory: Path | None,
    ) -> None:
        self.network_stream = worker_class.network_stream if issubclass(worker_class, ProxyWorker) else None
        self.request_parser = request_parser
        self.metrics_directory = metrics_directory
        self._master = master
        self._shared_config = shared_config
        self._notice = notice
        self._worker: Any = None

    def __repr__(self) -> str:
        return f"<WorkerPort master={self._master} worker={self._worker!r}>"

    def request_reload(self) -> ReloadOutcome:
        """As of ServerPort."""
        if self._worker is None:
            raise ReloadUnavailable("this worker is starting")
        if self.draining():
            raise ReloadUnavailable("this instance is about to end")
        return request_reload(self._shared_config, self._master, self.stopping)

    def stopping(self) -> bool:
        """As of ServerPort."""
        return self._worker is not None and not self._worker.alive

    def draining(self) -> bool:
        """As of ServerPort."""
        return self._notice.is_given

    def serve(self, worker: Any, plane: DataPlane, config: Config) -> None:
        """Connect worker and application, and start its background work. Raises ConfigError."""
        self._worker = worker
        if isinstance(worker, ProxyWorker):
            worker.apply_config(
                WorkerOptions(
                    timeouts=_client_timeouts(config),
                    plain_addresses=frozenset({socket_address(config.admin_bind)}),
                    forward=plane.forward,
                    on_rejected=plane.record_refusal,
                )
            )
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as ProxyWorker does: the master ends its workers
        plane.lifecycle.start()
        _also_on_usr1(plane.lifecycle.reopen_logs)

        def apply_config(config: Config) -> None:
            plane.lifecycle.apply_config(config)
            if isinstance(worker, ProxyWorker):
                worker.apply_config(replace(worker.options, timeouts=_client_timeouts(config)))

        announce_config = plane.lifecycle.announce_config
        self._follower = ConfigFollower(self._shared_config, apply_config=apply_config, announce_config=announce_config)


def _client_timeouts(config: Config) -> ClientTimeouts:
    return ClientTimeouts(config.timeouts.client_head, config.timeouts.client_body)


def _also_on_usr1(reopen: Callable[[], None]) -> None:
    """SIGUSR1 makes gunicorn reopen its logs after a rotation; the access log is reopened with them."""
    gunicorns = signal.getsignal(signal.SIGUSR1)

    def reopen_all(number: int, frame: Any) -> None:
        if callable(gunicorns):
            gunicorns(number, frame)
        reopen()

    signal.signal(signal.SIGUSR1, reopen_all)
    signal.siginterrupt(signal.SIGUSR1, False)
