"""The loop around client connections, from accept to close, and the life cycle of the worker."""

from __future__ import annotations

import _socket
import gc
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import Any

import gevent
from gevent.pool import Group
from gunicorn.http import errors
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.ggevent import GeventWorker

from lbflask.server.worker import tcp_connection
from lbflask.server.worker.acceptor import Acceptor
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts, ListenerOptions
from lbflask.server.worker.connection_balance import CONNECTION_TABLE
from lbflask.server.worker.proxied_client import NoProxyHeader, ReadHeader, receive_client
from lbflask.server.worker.request_reader import read_request
from lbflask.server.worker.responder import Forward, Responder
from lbflask.server.worker.settings import freeze
from lbflask.server.worker.stream import Stream
from lbflask.server.worker.tcp_connection import TcpConnection
from lbflask.server.worker.tls_context import INHERITED_CONTEXT
from lbflask.server.worker.tls_stream import PlainHttp, TlsStream

#: Seconds that an idle client connection stays open while the worker stops: a request that is in transit still gets its
#: response, with `Connection: close` (RFC 9112 §9.5).
IDLE_GRACE = 1.0
#: New objects after which the garbage collector looks for cycles. Requests leave none; with Python's default, 700, it
#: would mostly visit events that wait for the access log.
YOUNG_OBJECTS = 10_000
#: Seconds between two checks of the deadlines of all clients: time-outs are late by no more than this.
TICK_INTERVAL = 0.05
#: The weight of the latest sample in the mean of the requests in flight, which is that of the last quarter of a second.
RECENT = 0.2


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a ProxyWorker does beyond a plain WSGI worker. Without options it serves any WSGI application.

    `listeners` are those of the application by address, as `getsockname` has it; others have TLS if gunicorn's settings
    have. `forward` is the short path for an application that needs no WSGI:
    called with each HttpExchange, it returns an iterable with `status`, `fields`, `lines` and `deadline`, None
    after an upgrade, or NotImplemented to have the request go through WSGI. `on_rejected` is called when a request head
    is rejected, with the client address, the status code, the reason phrase, and the bytes sent of the response's body.
    `on_handshake` is called when a TLS handshake ends, with its error, or None, and with whether a session was resumed.
    `context_for` may choose another context than that of the listeners by the first bytes of a client.
    `read_header` reads a header of the PROXY protocol, where a listener has peers that send it. `pass_on` serves the
    connections of listeners without HTTP, and returns when they have ended.
    `unsent` bounds the bytes that the kernel takes for a client before it can send them; 0 for no bound.
    `hsts` is a line with Strict-Transport-Security for responses through TLS that have none; empty for none.
    """

    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    listeners: Mapping[Any, ListenerOptions] = field(default_factory=dict)
    forward: Forward | None = None
    on_rejected: Callable[[str, int, str, int], None] | None = None
    on_handshake: Callable[[Exception | None, bool], None] | None = None
    context_for: Callable[[bytes], ssl.SSLContext] | None = None
    read_header: ReadHeader | None = None
    pass_on: Callable[[TcpConnection], None] | None = None
    unsent: int = 0
    hsts: str = ""


class ProxyWorker(GeventWorker):  # type: ignore[misc]
    """The worker class; see the package."""

    options = WorkerOptions()
    alive: bool

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        INHERITED_CONTEXT.prepare(self.cfg)  # in the master, which makes the object before it forks

    @staticmethod
    def network_stream(sock: socket.socket) -> Stream:
        """Take over a connected socket for the greenlets of this worker."""
        return Stream(_socket.socket(fileno=sock.detach()))

    def apply_config(self, options: WorkerOptions) -> None:
        """Serve by these options: `listeners` of the call before `run`, the others for new connections."""
        self.options = options

    def patch(self) -> None:
        """As of gunicorn's gevent worker."""
        with _one_search():
            super().patch()

    def run(self) -> None:
        """Serve until the worker is stopped; then finish requests in flight, within `graceful_timeout`."""
        self._frozen = freeze(self.cfg)
        self._responder = Responder(self.wsgi, base_environ(self.cfg) | {"wsgi.multithread": True}, self.log)
        self._clients: set[ClientConnection] = set()
        self._in_flight = 0.0  # mean of the last samples
        self._greenlets = Group()
        self._warnings: dict[str, bool] = {}  # by text: whether it was logged
        # Objects of the start live as long as the worker: collections that visit them would only delay requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        self._tls = INHERITED_CONTEXT.of(self.cfg)
        self._acceptors = [self._listen(listener) for listener in self.sockets]
        beat = time.monotonic()
        while self.alive:
            if time.monotonic() >= beat:
                self.notify()
                beat = time.monotonic() + 1.0
            self._measure_load()
            self._end_long_waits()
            self._log_warnings()
            gevent.sleep(TICK_INTERVAL)
        for acceptor in self._acceptors:
            acceptor.close()
        CONNECTION_TABLE.erase(self.age)
        self._wind_down(time.monotonic())

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT ends at once. SIGINT is ignored, since Ctrl-C in a terminal reaches all processes of the group: the
        master stops its workers in order.
        """
        if sig != signal.SIGINT:
            super().handle_quit(sig, frame)

    def _listen(self, listener: Any) -> Acceptor:
        name = listener.getsockname()
        address = name[:2] if isinstance(name, tuple) else name
        options = self.options.listeners.get(address, ListenerOptions(tls=self._tls is not None))
        return Acceptor(
            listener,
            partial(self._on_accept, options=options, tls=self._tls if options.tls else None),
            share=lambda pending: CONNECTION_TABLE.share(self.age, self._load, pending),
            full=self._full,
            on_failure=lambda error: self._warn_once(f"no connection can be accepted: {error.strerror}"),
        )

    def _full(self) -> bool:
        if len(self._clients) < self.worker_connections:
            return False
        self._warn_once(f"{self.worker_connections} clients are connected, the maximum; others wait in the backlog")
        return True

    def _warn_once(self, message: str) -> None:
        """Log the message once in the life of the worker, later: the hub must not wait for the log."""
        self._warnings.setdefault(message, False)

    def _log_warnings(self) -> None:
        for message in [message for message, logged in self._warnings.items() if not logged]:
            self._warnings[message] = True
            self.log.warning(message)

    def _on_accept(self, sock: _socket.socket, addr: Any, options: ListenerOptions, tls: ssl.SSLContext | None) -> None:
        """Hub callback: a new connection."""
        try:
            if self.options.unsent and isinstance(addr, tuple):
                # Data on their way do not count, so that a fast client gets as much as without a bound.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self.options.unsent)
            stream = (
                Stream(sock)
                if tls is None
                else TlsStream(sock, tls, self.options.on_handshake, options.context_for or self.options.context_for)
            )
            client = ClientConnection(stream, addr, self.options.timeouts, options, self.options.hsts)
        except OSError:
            sock.close()  # the client has closed already
            return
        self._clients.add(client)
        CONNECTION_TABLE.write(self.age, self._load)
        serve = partial(self._serve_tcp, options) if options.tcp else self._serve_requests
        if options.sends_header is not None and options.sends_header(client.peer):
            serve = partial(self._serve_proxied, serve)
        self._greenlets.start(gevent.Greenlet(self._serve, client, serve))

    def _measure_load(self) -> None:
        """Update the mean of the requests in flight, and publish the load."""
        in_flight = sum(not client.idle for client in tuple(self._clients))
        self._in_flight += (in_flight - self._in_flight) * RECENT
        CONNECTION_TABLE.write(self.age, self._load)

    @property
    def _load(self) -> int:
        """What new connections are shared by: connections, of which those with a request in flight count twice."""
        connections = len(self._clients)
        return connections + min(connections, round(self._in_flight))

    def _end_long_waits(self) -> None:
        """Enforce the deadlines of all clients, since a timer for each wait would cost more than most waits."""
        now = time.monotonic()
        for client in tuple(self._clients):
            if client.read_deadline.expires <= now or client.send_expires <= now:
                client.expire_at(now)

    def _wind_down(self, began: float) -> None:
        """Wait for clients: for idle ones IDLE_GRACE, for busy ones until `graceful_timeout`."""
        limit = max(0.0, self.cfg.graceful_timeout - 0.5)  # before the master kills the worker
        while self._clients and time.monotonic() - began < limit:
            if time.monotonic() - began > IDLE_GRACE:
                for client in list(self._clients):
                    if client.idle:
                        client.end_idle_wait()
            self.notify()
            self._end_long_waits()
            gevent.sleep(0.02)
        if self._clients:
            self.log.warning("%d connections were cut: graceful_timeout is over", len(self._clients))
            self._greenlets.kill(block=True, timeout=1)

    def _serve(self, client: ClientConnection, serve: Callable[[ClientConnection], None]) -> None:
        """One client connection, from accept to close."""
        try:
            serve(client)
        except ssl.SSLError:
            if client.served:
                client.reset()  # else the handshake has failed: a reset might overtake the alert
        except (OSError, gevent.GreenletExit):
            client.reset()
        except Exception:
            self.log.exception("error on a client's connection")
            client.reset()
        finally:
            self._clients.discard(client)
            client.close()
            if self.alive:
                CONNECTION_TABLE.write(self.age, self._load)
                for acceptor in self._acceptors:
                    acceptor.resume()

    def _serve_tcp(self, options: ListenerOptions, client: ClientConnection) -> None:
        """Pass the connection on until it ends."""
        client.set_busy()
        try:
            connection = tcp_connection.begin(client, options.read_name)
        except tcp_connection.NoServerName as error:
            self.log.info("closed a connection of %s to %s: %s", client.peer, options.name, error)
            return
        if connection is not None and self.options.pass_on is not None:
            self.options.pass_on(connection)

    def _serve_proxied(self, serve: Callable[[ClientConnection], None], client: ClientConnection) -> None:
        """Serve the client that the peer, a proxy, states. Without a client there is no response."""
        if self.options.read_header is None:
            return
        try:
            if receive_client(client, self.options.read_header):
                serve(client)
        except NoProxyHeader as error:
            self.log.info("refused a connection of %s, in proxy_protocol of its listener: %s", client.peer, error)

    def _serve_requests(self, client: ClientConnection) -> None:
        """Serve requests, one after another, until either side closes. An idle client holds no data of a request."""
        try:
            while client.await_request(self._frozen.keepalive if client.served else self.options.timeouts.head):
                request = read_request(self._frozen, client)
                client.begin_request(request.proxy_info)
                self.nr += 1
                if self.nr >= self.max_requests and self.alive:
                    self.log.info("Autorestarting worker after current request.")
                    self.alive = False
                closes = not self.alive or not self._frozen.keepalive
                if not self._responder.respond(client, request, self.options.forward, closes=closes):
                    return
        except (errors.NoMoreData, StopIteration):
            return
        except (errors.ParseException, errors.ForbiddenProxyRequest, PlainHttp, TimeoutError) as error:
            self._reject(client, error)

    def __repr__(self) -> str:
        return f"<ProxyWorker pid={self.pid} alive={self.alive} requests={self.nr}>"

    def _reject(self, client: ClientConnection, error: Exception) -> None:
        """Send an error response for an invalid head, and close: the start of the next request is unknown."""
        status, reason, detail = next(answer for kind, answer in _REJECTIONS.items() if isinstance(error, kind))
        # gunicorn quotes bytes of the request after a colon: they may be a secret, and go to the client only.
        logged = detail or str(error).partition(":")[0]
        detail = detail or str(error)
        self.log.info("rejected a request from %s: %d %r", client.peer, status, logged)
        sent = 0
        try:
            sent = client.send_error(status, reason, detail)
        finally:  # also for a client that has gone: each request is counted once
            if self.options.on_rejected is not None:
                self.options.on_rejected(client.peer, status, reason, sent)
        client.graceful_close(drain=True)


@contextmanager
def _one_search() -> Iterator[None]:
    """Search the installed packages once for gevent's plug-ins. gevent does so for each module that it patches: with a
    hundred packages, this would take a third of the start of a worker.
    """
    search, found = metadata.entry_points, metadata.entry_points()
    metadata.entry_points = found.select
    try:
        yield
    finally:
        metadata.entry_points = search


#: Status, reason phrase and detail by error; an empty detail is the text of the error.
_REJECTIONS: dict[type[Exception], tuple[int, str, str]] = {
    TimeoutError: (408, "Request Timeout", "the request head did not arrive in time"),
    PlainHttp: (400, "Bad Request", "plain HTTP was sent to a port that takes HTTPS only"),
    errors.LimitRequestLine: (414, "URI Too Long", ""),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large", ""),
    errors.ExpectationFailed: (417, "Expectation Failed", ""),
    errors.UnsupportedTransferCoding: (501, "Not Implemented", ""),
    errors.ForbiddenProxyRequest: (403, "Forbidden", ""),
    Exception: (400, "Bad Request", ""),
}
