"""A gunicorn worker as its application sees it, and the application as the worker calls it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.core.certificate_orders import CertificateState
from lbflask.core.proxy_protocol import read_header
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.fleet.shared_turns import SharedTurns
from lbflask.server.certificates import Certificates, CertificateWatch
from lbflask.server.client_certificates import ClientCertificates
from lbflask.server.config_handover import SharedConfig
from lbflask.server.expected_workers import ExpectedWorkers
from lbflask.server.listener_options import listener_options
from lbflask.server.reload import ConfigFollower, request_reload
from lbflask.server.worker.arbiter_startup import has_greenlets
from lbflask.server.worker.arbiter_termination import ShutdownNotice
from lbflask.server.worker.client_connection import ClientTimeouts
from lbflask.server.worker.proxy_worker import ProxyWorker, WorkerOptions
from lbflask.server.worker.side_threads import SideThreads

if TYPE_CHECKING:
    from lbflask.proxy.data_plane import DataPlane


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
        expected: ExpectedWorkers,
        turns: SharedTurns | None,
    ) -> None:
        self.network_stream = worker_class.network_stream if issubclass(worker_class, ProxyWorker) else None
        self.beside = SideThreads() if has_greenlets(worker_class) else None
        self.request_parser = request_parser
        self.metrics_directory = metrics_directory
        self.turns = turns
        self._expected = expected
        self._master = master
        self._shared_config = shared_config
        self._notice = notice
        self._worker: Any = None
        self._certificates: Certificates | None = None
        self._config: Config | None = None  # by which there are automatic certificates

    def __repr__(self) -> str:
        return f"<WorkerPort master={self._master} worker={self._worker!r}>"

    @property
    def expected_workers(self) -> int:
        """As of ServerPort."""
        return self._expected.number

    def set_certificates(self, state: CertificateState) -> None:
        """As of ServerPort."""
        if self._certificates is not None and self._config is not None:
            # Loaded where there are automatic certificates.
            from lbflask.wiring.certificate_storage import challenge_pairs, issued_pairs  # noqa: PLC0415

            self._certificates.set_pairs(issued_pairs(state, self._config))
            self._certificates.set_challenges(challenge_pairs(state))

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

    def serve(self, worker: Any, plane: DataPlane, config: Config, certificates: Certificates | None) -> None:
        """Connect worker and application, and start its background work. `certificates` are those that the worker
        presents to clients. Raises ConfigError.
        """
        self._worker, self._certificates, self._config = worker, certificates, config
        if certificates is not None and config.tls.acme.demand is not None:
            certificates.set_on_unknown(plane.lifecycle.wish_certificate)
        asking = _asking(config, certificates)
        if isinstance(worker, ProxyWorker):
            contexts = {label: one.context_for for label, one in asking.items()}
            worker.apply_config(
                WorkerOptions(
                    **_client_limits(config),
                    listeners=listener_options(config, contexts),
                    forward=plane.forward,
                    on_rejected=plane.record_refusal,
                    on_handshake=plane.lifecycle.record_handshake,
                    context_for=None if certificates is None else certificates.context_for,
                    read_header=read_header,
                    pass_on=plane.pass_on,
                )
            )
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as ProxyWorker does: the master ends its workers
        plane.lifecycle.start()
        _also_on_usr1(plane.lifecycle.reopen_logs)

        watch = None
        if certificates is not None:
            also = [one.refresh for one in asking.values()]
            watch = CertificateWatch(certificates, config.tls, plane.lifecycle.record_certificates, also)

        def apply_config(config: Config) -> None:
            plane.lifecycle.apply_config(config)
            if watch is not None:
                watch.apply_config(config.tls)
            if isinstance(worker, ProxyWorker):
                worker.apply_config(replace(worker.options, **_client_limits(config)))

        announce_config = plane.lifecycle.announce_config
        self._follower = ConfigFollower(self._shared_config, apply_config=apply_config, announce_config=announce_config)


def _asking(config: Config, certificates: Certificates | None) -> dict[str, ClientCertificates]:
    """The contexts of listeners that ask for certificates of clients, by label. Raises ConfigError."""
    listeners = [one for one in config.listeners if one.client_certificates]
    if certificates is None:
        return {}
    try:
        return {one.label: ClientCertificates(certificates, one) for one in listeners}
    except (OSError, ValueError) as error:
        raise ConfigError(f"listeners: client_ca: {error}") from None


def _client_limits(config: Config) -> dict[str, Any]:
    """The options for new connections of clients."""
    timeouts = ClientTimeouts(config.timeouts.client_head, config.timeouts.client_body)
    hsts = config.tls.hsts
    line = "" if hsts is None else f"Strict-Transport-Security: {hsts.line()}\r\n"
    return {"timeouts": timeouts, "unsent": config.limits.unsent, "hsts": line}


def _also_on_usr1(reopen: Callable[[], None]) -> None:
    """SIGUSR1 makes gunicorn reopen its logs after a rotation; the access log is reopened with them."""
    gunicorns = signal.getsignal(signal.SIGUSR1)

    def reopen_all(number: int, frame: Any) -> None:
        if callable(gunicorns):
            gunicorns(number, frame)
        reopen()

    signal.signal(signal.SIGUSR1, reopen_all)
    signal.siginterrupt(signal.SIGUSR1, False)
