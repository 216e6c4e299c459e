"""The entrance of all requests: those for the balancer itself go to the control plane, all others are forwarded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from lbflask.config.certificates import CertificateFile
from lbflask.config.schema import Config
from lbflask.core.faults import Fault
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.target import BadTarget, origin_form, request_target
from lbflask.core.http.types import Fields
from lbflask.proxy import client_request
from lbflask.proxy.client_request import ClientRequest, ServerExchange
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.error_response import accept_of
from lbflask.proxy.router import RootHandler
from lbflask.proxy.tcp_listeners import TcpClient, TcpListeners

#: Where an authority asks for the answer to a challenge (RFC 8555 §8.3).
CHALLENGES: Final = "/.well-known/acme-challenge/"

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

    def record_handshake(self, error: Exception | None, resumed: bool) -> None:
        """A TLS handshake with a client has ended: with this error, or None, and by a resumed session or not."""
        ...

    def wish_certificate(self, name: str) -> None:
        """A client asked for this name, which has no certificate. Returns at once."""
        ...

    def record_certificates(self, files: tuple[CertificateFile, ...]) -> None:
        """Clients get these certificates from now on."""
        ...

    def reopen_logs(self) -> None:
        """Open the access log again, after its rotation. Raises OSError, and keeps the open one."""
        ...


class ControlPaths:
    """Paths of the public listener that the control plane serves, each with the control plane's path for it.

    Routes name those that are `contested`; a request for one of them is the route's where `is_routed`. With
    `authorization` there are also the paths of challenges by which an authority validates a name, for each token that
    it has a text for; `challenges` is the control plane's path for them.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        contested: Collection[str] = (),
        is_routed: Callable[[ClientRequest], bool] | None = None,
        authorization: Callable[[str], str | None] | None = None,
        challenges: str = "",
    ) -> None:
        self._paths = {public: control for public, control in paths.items() if public}
        self._authorization = authorization
        self._challenges = challenges
        self._prefixes = (*self._paths, *(() if authorization is None else (CHALLENGES,)))
        self._contested = frozenset(contested)
        self._is_routed = is_routed

    def __repr__(self) -> str:
        return f"ControlPaths({', '.join(self._paths)})"

    def with_challenges(self, authorization: Callable[[str], str | None], challenges: str) -> ControlPaths:
        """These paths, and those of challenges."""
        return ControlPaths(self._paths, self._contested, self._is_routed, authorization, challenges)

    def find(self, target: str) -> str | None:
        """The control plane's path for a request target; None for all others."""
        if target.startswith("/") and not target.startswith(self._prefixes):
            return None
        path = origin_form(target).partition("?")[0]
        if self._authorization is not None and path.startswith(CHALLENGES):
            token = path[len(CHALLENGES) :]
            if self._authorization(token) is not None:
                return self._challenges + token
        return self._paths.get(path)

    def is_contested(self, target: str) -> bool:
        """Whether a route names the path of the target."""
        return origin_form(target).partition("?")[0] in self._contested

    def is_routed(self, request: ClientRequest) -> bool:
        """Whether a request for a contested path is that of the route which names it."""
        return self._is_routed is not None and self._is_routed(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaneConfig:
    """The data plane of one configuration; a reload replaces it as a whole.

    `listener_of` is called with the local address of a connection of gunicorn's own workers, and returns the name of
    its listener; `hsts` is the value of Strict-Transport-Security in their responses through TLS. ProxyWorker does
    both by itself.
    """

    handler: RootHandler
    control_paths: ControlPaths
    listener_of: Callable[[object], str] | None = None
    hsts: str = ""
    tcp: TcpListeners | None = None


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

    def pass_on(self, client: TcpClient) -> None:
        """Serve a connection of a listener without HTTP until it ends."""
        if self.front.tcp is not None:
            self.front.tcp.serve(client)

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
        if front.hsts and not admin and "lbflask.exchange" not in environ and environ["wsgi.url_scheme"] == "https":
            start_response = partial(_start_secured, start_response, front.hsts)
        control_path = None if admin else front.control_paths.find(environ["RAW_URI"])
        if admin or (control_path is not None and not self._is_routed(environ)):
            if control_path is not None:
                environ["PATH_INFO"] = control_path
            environ["REMOTE_ADDR"] = plain_address(environ.get("REMOTE_ADDR") or "")
            if not environ["RAW_URI"].startswith("/"):
                _take_host(environ)
            return self._control(environ, start_response)
        try:
            request = _request(front, environ)
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
        front, contested = self.front, False
        if front.control_paths.find(exchange.target) is not None:
            contested = front.control_paths.is_contested(exchange.target)
            if not contested:
                return NotImplemented
        if exchange.local == self._admin_address:
            return NotImplemented
        try:
            request = client_request.from_exchange(exchange)
            if contested and not front.control_paths.is_routed(request):
                return NotImplemented
        except Fault as fault:
            peer, accept = exchange.peer[0] or "unix:", accept_of(exchange.fields)
            return front.handler.refuse(fault, exchange.method, exchange.target, exchange.protocol, peer, accept)
        return front.handler.dispatch(request)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """Record a request whose head the server has rejected, with a response body of `sent` bytes."""
        self.front.handler.record_refusal(peer or "unix:", status, reason, sent)

    def _is_routed(self, environ: dict[str, Any]) -> bool:
        """Whether a request for a path of the control plane is that of a route which names this path."""
        front = self.front
        if not front.control_paths.is_contested(environ["RAW_URI"]):
            return False
        try:
            return front.control_paths.is_routed(_request(front, environ))
        except Fault:
            return True  # it is refused below, as on the direct path

    def _came_through_admin(self, environ: dict[str, Any]) -> bool:
        """Whether the request uses an admin listener, by the address of the connection: SERVER_NAME can come from the
        client's Host field.
        """
        return self._admin_address is not None and self._admin_address == _local_address(environ)


def _request(front: DataPlaneConfig, environ: dict[str, Any]) -> ClientRequest:
    """The request of a WSGI environ. Raises Fault."""
    if front.listener_of is not None and "lbflask.exchange" not in environ:
        environ["lbflask.listener"] = front.listener_of(_local_address(environ))
    return client_request.from_environ(environ)


def _take_host(environ: dict[str, Any]) -> None:
    """Replace the Host by that of a target in absolute-form (RFC 9112 §3.2.2); by none if the target is refused."""
    try:
        authority = request_target(environ["REQUEST_METHOD"], environ["RAW_URI"]).authority
    except BadTarget:
        environ.pop("HTTP_HOST", None)
    else:
        environ["HTTP_HOST"] = authority or environ.get("HTTP_HOST", "")


def _start_secured(start_response: Any, hsts: str, status: str, fields: Fields, exc_info: Any = None) -> Any:
    """Call `start_response` with a Strict-Transport-Security, unless the fields have one."""
    if not any(name.lower() == "strict-transport-security" for name, _ in fields):
        fields = [*fields, ("Strict-Transport-Security", hsts)]
    return start_response(status, fields, exc_info)


def _local_address(environ: dict[str, Any]) -> object:
    """The address of this end of the connection: host and port, or a path; None if it is unknown."""
    if (local := environ.get("lbflask.local")) is None:
        sock = environ.get("gunicorn.socket")
        local = None if sock is None else sock.getsockname()
    return tuple(local[:2]) if isinstance(local, tuple) else local


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
