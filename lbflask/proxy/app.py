"""The Flask app, with the data plane in front of it.

Flask's router would merge slashes, answer OPTIONS and refuse methods, so proxied requests never reach it: the data
plane stands at `app.wsgi_app`, Flask's own extension point, and lets through only what is meant for the balancer
itself (docs/adr/0002-data-plane-at-wsgi-app.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flask import Blueprint, Flask

from lbflask.config.schema import Config
from lbflask.core.faults import Fault
from lbflask.core.http.addresses import plain_address
from lbflask.proxy import client_request
from lbflask.proxy.client_request import ServerExchange
from lbflask.proxy.client_response import ClientResponse
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


class OwnPaths:
    """Paths of the public listener at which the balancer answers for itself, each with the control plane's path."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = {path: own for path, own in paths.items() if path}
        self._prefixes = tuple(self._paths)

    def find(self, target: str) -> str | None:
        """The control plane's path for a request target; None for all others."""
        return self._paths.get(target.partition("?")[0]) if target.startswith(self._prefixes) else None


class DataPlaneConfig(NamedTuple):
    """What one configuration makes of the data plane. Another one takes its place as a whole."""

    dispatcher: RootHandler
    own_paths: OwnPaths
    body_limit: int


class DataPlane:
    """A WSGI application: forwards what comes through a public listener, leaves the rest to the control plane."""

    def __init__(self, control: WSGI, front: DataPlaneConfig, *, admin_address: object, lifecycle: Lifecycle) -> None:
        self.front = front
        self.lifecycle = lifecycle
        self._control = control
        self._admin_address = admin_address

    def set_front(self, front: DataPlaneConfig) -> None:
        """Serve new requests by this configuration; a request in flight keeps the one that it began with."""
        self.front = front

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if not self.lifecycle.is_started:
            if "RAW_URI" not in environ:
                return _not_hosted(start_response)
            self.lifecycle.start()
        admin = environ.get("lbflask.admin")
        if admin is None:
            admin = self._came_through_admin(environ)
            environ["lbflask.admin"] = admin
        front = self.front
        own = None if admin else front.own_paths.find(environ["RAW_URI"])
        if admin or own is not None:
            if own is not None:
                environ["PATH_INFO"] = own
            environ["REMOTE_ADDR"] = plain_address(environ.get("REMOTE_ADDR") or "")
            return self._control(environ, start_response)
        try:
            request = client_request.read(environ, front.body_limit)
        except Fault as fault:
            reply: ClientResponse | None = _refuse(front.dispatcher, fault, environ)
        else:
            reply = front.dispatcher.dispatch(request)
        if reply is None:
            return ()
        start_response(reply.status, reply.fields)
        return reply

    def forward(self, exchange: ServerExchange) -> Any:
        """The short way, for a host that has read the request already: a Reply, or None when the connection became a
        tunnel. NotImplemented for what is meant for the balancer itself.
        """
        dispatcher, own_paths, body_limit = self.front
        if own_paths.find(exchange.target) is not None or exchange.local == self._admin_address:
            return NotImplemented
        try:
            request = client_request.of(exchange, body_limit)
        except Fault as fault:
            accept = next((value for name, value in exchange.fields if name.lower() == "accept"), "")
            peer = exchange.peer[0] or "unix:"
            return dispatcher.refuse(fault, exchange.method, exchange.target, exchange.protocol, peer, accept)
        return dispatcher.dispatch(request)

    def turned_away(self, peer: str, status: int, reason: str, sent: int) -> None:
        """A host has refused a request's head, and answered it with `sent` bytes; nothing else of it is known."""
        self.front.dispatcher.record_refusal(peer or "unix:", status, reason, sent)

    def _came_through_admin(self, environ: dict[str, Any]) -> bool:
        """By the address of the connection itself: SERVER_NAME can come from the client's Host header."""
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
    """The answer under a server that keeps targets as they were written from its applications."""
    log.error("lbflask runs under gunicorn only: gunicorn -c gunicorn.conf.py lbflask.wsgi")
    body = b"lbflask runs under gunicorn only\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("500 Internal Server Error", fields)
    return [body]


def _refuse(dispatcher: RootHandler, fault: Fault, environ: dict[str, Any]) -> ClientResponse:
    method, target, protocol = environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"]
    peer, accept = environ.get("REMOTE_ADDR") or "unix:", environ.get("HTTP_ACCEPT", "")
    return dispatcher.refuse(fault, method, target, protocol, peer, accept)


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
