"""What a worker's parts need of the server that runs them. gunicorn's master may import this module."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lbflask.core.certificate_orders import CertificateState
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable

if TYPE_CHECKING:
    from lbflask.fleet.shared_turns import SharedTurns
    from lbflask.upstream.stream import NetworkStream


class ServerPort(Protocol):
    """The server process as its application sees it."""

    @property
    def network_stream(self) -> Callable[[socket.socket], NetworkStream] | None:
        """Makes a stream of a connected socket that suits the server's concurrency; None for a blocking socket."""

    @property
    def beside(self) -> Callable[..., Any] | None:
        """Calls a function that computes long, with its arguments, beside the requests of the worker; None where each
        request has a thread.
        """

    @property
    def metrics_directory(self) -> Path | None:
        """Where all workers of the server count; None if each counts for itself."""

    @property
    def request_parser(self) -> str:
        """The parser of request heads: `fast`, in C, or `python`; `unknown` if the server has its own."""
        ...

    @property
    def expected_workers(self) -> int:
        """The number of workers that the server is to run now; 0 if unknown."""
        ...

    @property
    def turns(self) -> SharedTurns | None:
        """The turns that the workers of the server share; None if each has its own."""

    def set_certificates(self, state: CertificateState) -> None:
        """Serve new connections with these automatic certificates."""

    def request_reload(self) -> ReloadOutcome:
        """Reload the configuration of the whole server, and wait for the outcome. Raises ReloadUnavailable."""

    def stopping(self) -> bool:
        """Whether the process is about to end."""

    def draining(self) -> bool:
        """Whether the server is about to end, and serves on so that balancers in front can notice it."""


class UnknownServer:
    """A server without hooks of lbflask."""

    network_stream = None
    beside = None
    metrics_directory = None
    request_parser = "unknown"
    expected_workers = 0
    turns = None

    def set_certificates(self, state: CertificateState) -> None:
        """They have no use here."""

    def request_reload(self) -> ReloadOutcome:
        """Raises ReloadUnavailable."""
        raise ReloadUnavailable("the server that runs lbflask here can't reload it")

    def stopping(self) -> bool:
        """As far as is known, never."""
        return False

    def draining(self) -> bool:
        """As far as is known, never."""
        return False
