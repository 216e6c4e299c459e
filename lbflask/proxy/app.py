"""The Flask app, with the data plane in front of it.

Flask's router would merge slashes, answer OPTIONS and refuse methods, so proxied requests never reach it: the data
plane replaces `app.wsgi_app`, Flask's extension point, and passes on only requests for the balancer itself
(docs/adr/0002-data-plane-at-wsgi-app.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Blueprint, Flask

from lbflask.config.schema import Config
from lbflask.core.faults import Fault
from lbflask.core.http.addresses import plain_address
from lbflask.proxy import client_request
from lbflask.proxy.client_request import ServerExchange
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.error_response import accept_of
from lbflask.proxy.router import RootHandler

log = logging.getLogger("lbflask")

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Lifecycle(Protocol):
    """What the server process does with the application, apart from requests."""

    @property
    def is_started(self) -> bool:
        """Whether `start` was called, in this process or in one that it was forked from."""
        ...

    def start(self) -> None:
        """Start the background work of this process, once; a process forked later starts its own."""
        ...

    def stop(self) -> None:
        """Stop the background work of this process."""
        ...

    def apply_config(self, config: Config) -> None:
        """Serve by another configuration. Raises OSError or ConfigError, and changes nothing."""
        ...

    def announce_config(self) -> None:
        """Notify the checkers that the configuration may have changed."""
        ...

    def reopen_logs(self) -> None:
        """Open the access log again, after its rotation. Raises OSError, and keeps the open one."""
        ...


class ControlPaths:
    """Paths of the public listener that the control plane serves, each with the control plane's path for it."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = {public: control for public, control in paths.items() if public}
        self._prefixes = tuple(self._paths)

    def __repr__(self) -> str:
        return f"ControlPaths({', '.join(self._paths)})"

    def find(self, target: str) -> str | None:
        """The control plane's path for a request target; None for all others."""
        return self._paths.get(target.partition("?")[0]) if target.startswith(self._prefixes) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaneConfig:
    """The data plane of one configuration; a reload replaces it as a whole. `body_limit` is in bytes, 0 for none."""

    handler: RootHandler
    control_paths: ControlPaths
    body_limit: int


class DataPlane:
    """A WSGI application: forwards requests of public listeners, and passes all others to the control plane."""

    def __init__(self, control: WSGI, front: DataPlaneConfig, *, admin_address: object, lifecycle: Lifecycle) -> None:
        self.front = front
        self.lifecycle = lifecycle
        self._control = control
        self._admin_address = admin_address

    def __repr__(self) -> str:
        return f"DataPlane({self.front.handler!r})"

    def set_front(self, front: DataPlaneConfig) -> None:
        """Serve new requests by this configuration; a request in flight keeps the one that it began with."""
        self.front = front

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request, as of PEP 3333."""
        if not self.lifecycle.is_started:
            if "RAW_URI" not in environ:
                return _not_hosted(start_response)
            self.lifecycle.start()
        admin = environ.get("lbflask.admin")
        if admin is None:
            admin = self._came_through_admin(environ)
            environ["lbflask.admin"] = admin
        front = self.front
        control_path = None if admin else front.control_paths.find(environ["RAW_URI"])
        if admin or control_path is not None:
            if control_path is not None:
                environ["PATH_INFO"] = control_path
            environ["REMOTE_ADDR"] = plain_address(environ.get("REMOTE_ADDR") or "")
            return self._control(environ, start_response)
        try:
            request = client_request.from_environ(environ, front.body_limit)
        except Fault as fault:
            response: ClientResponse | None = _refuse(front.handler, fault, environ)
        else:
            response = front.handler.dispatch(request)
        if response is None:
            return ()
        start_response(response.status, response.fields)
        return response

    def forward(self, exchange: ServerExchange) -> Any:
        """Serve a request without WSGI: a ClientResponse, or None after a tunnel. NotImplemented for requests to the
        balancer itself.
        """
        front = self.front
        if front.control_paths.find(exchange.target) is not None or exchange.local == self._admin_address:
            return NotImplemented
        try:
            request = client_request.from_exchange(exchange, front.body_limit)
        except Fault as fault:
            peer, accept = exchange.peer[0] or "unix:", accept_of(exchange.fields)
            return front.handler.refuse(fault, exchange.method, exchange.target, exchange.protocol, peer, accept)
        return front.handler.dispatch(request)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """Record a request whose head the server has rejected, with a response body of `sent` bytes."""
        self.front.handler.record_refusal(peer or "unix:", status, reason, sent)

    def _came_through_admin(self, environ: dict[str, Any]) -> bool:
        """Whether the request uses an admin listener, by the address of the connection: SERVER_NAME can come from the
        client's Host field.
        """
        local = environ.get("lbflask.local")
        if local is None:
            sock = environ.get("gunicorn.socket")
            if sock is None:
                return False
            local = sock.getsockname()
        return self._admin_address is not None and self._admin_address == (
            tuple(local[:2]) if isinstance(local, tuple) else local
        )


def _not_hosted(start_response: Any) -> Iterable[bytes]:
    """The response under a server that hides raw request targets from its applications."""
    log.error("lbflask runs under gunicorn only: gunicorn -c gunicorn.conf.py lbflask.wsgi")
    body = b"lbflask runs under gunicorn only\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("500 Internal Server Error", fields)
    return [body]


def _refuse(handler: RootHandler, fault: Fault, environ: dict[str, Any]) -> ClientResponse:
    method, target, protocol = environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"]
    peer, accept = environ.get("REMOTE_ADDR") or "unix:", environ.get("HTTP_ACCEPT", "")
    return handler.refuse(fault, method, target, protocol, peer, accept)


def control_app(blueprints: Sequence[Blueprint]) -> Flask:
    """The control plane: the blueprints on Flask's router."""
    app = Flask("lbflask", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be a guess at what was meant
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def install(plane: DataPlane, app: Flask) -> None:
    """Put the data plane in front of the app's router."""
    app.wsgi_app = plane  # type: ignore[method-assign]
    app.extensions["lbflask"] = plane
