"""The loop around client connections, from accept to close, and the life cycle of the worker."""

from __future__ import annotations

import _socket
import gc
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import gevent
from gevent.pool import Group
from gunicorn.http import errors
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from lbflask.server.worker.acceptor import Acceptor
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.connection_balance import CONNECTION_TABLE
from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.request_parser import ParsedRequest
from lbflask.server.worker.response_writer import ResponseWriter, ShortResponse
from lbflask.server.worker.settings import freeze
from lbflask.server.worker.stream import Stream
from lbflask.server.worker.tls_stream import PlainHttp, TlsStream

#: Seconds that an idle client connection stays open while the worker stops: a request that is in transit still gets its
#: response, with `Connection: close` (RFC 9112 §9.5).
IDLE_GRACE = 1.0
#: Seconds between two checks of the deadlines of all clients: time-outs are late by no more than this.
TICK_INTERVAL = 0.05


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a ProxyWorker does beyond a plain WSGI worker. Without options it serves any WSGI application.

    `plain_addresses` are the listeners without TLS. `forward` is the short path for an application that needs no WSGI:
    called with each HttpExchange, it returns an iterable with `status`, `fields` and `deadline`, None after an upgrade,
    or NotImplemented to have the request go through WSGI. `on_rejected` is called when a request head is rejected, with
    the client address, the status code, the reason phrase, and the bytes sent of the response's body.
    """

    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    plain_addresses: frozenset[Any] = frozenset()
    forward: Callable[[HttpExchange], Any] | None = None
    on_rejected: Callable[[str, int, str, int], None] | None = None


class ProxyWorker(GeventWorker):  # type: ignore[misc]
    """The worker class; see the package."""

    options = WorkerOptions()
    alive: bool

    @staticmethod
    def network_stream(sock: socket.socket) -> Stream:
        """Take over a connected socket for the greenlets of this worker."""
        return Stream(_socket.socket(fileno=sock.detach()))

    def apply_config(self, options: WorkerOptions) -> None:
        """Serve by these options: `plain_addresses` of the call before `run`, the others for new connections."""
        self.options = options

    def run(self) -> None:
        """Serve until the worker is stopped; then finish requests in flight, within `graceful_timeout`."""
        self._frozen = freeze(self.cfg)
        self._environ = base_environ(self.cfg) | {"wsgi.multithread": True}
        self._clients: set[ClientConnection] = set()
        self._greenlets = Group()
        self._warnings: dict[str, bool] = {}  # by text: whether it was logged
        # Objects of the start live as long as the worker: collections that visit them would only delay requests.
        gc.collect()
        gc.freeze()
        self._tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        self._acceptors = [self._listen(listener) for listener in self.sockets]
        beat = time.monotonic()
        while self.alive:
            if time.monotonic() >= beat:
                self.notify()
                beat = time.monotonic() + 1.0
            CONNECTION_TABLE.write(self.age, len(self._clients))
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
        return Acceptor(
            listener,
            partial(self._on_accept, tls=None if address in self.options.plain_addresses else self._tls),
            alone=self.cfg.workers == 1,
            yields=lambda: CONNECTION_TABLE.others_hold_less(self.age, len(self._clients)),
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

    def _on_accept(self, sock: _socket.socket, addr: Any, tls: ssl.SSLContext | None) -> None:
        """Hub callback: a new connection."""
        try:
            stream = Stream(sock) if tls is None else TlsStream(sock, tls)
            client = ClientConnection(stream, addr, self.options.timeouts, "http" if tls is None else "https")
        except OSError:
            sock.close()  # the client has closed already
            return
        self._clients.add(client)
        CONNECTION_TABLE.write(self.age, len(self._clients))
        self._greenlets.start(gevent.Greenlet(self._serve, client))

    def _end_long_waits(self) -> None:
        """Enforce the deadlines of all clients, since a timer for each wait would cost more than most waits."""
        now = time.monotonic()
        for client in tuple(self._clients):
            if client.reader.expires <= now or client.send_expires <= now:
                client.expire_at(now)

    def _wind_down(self, began: float) -> None:
        """Wait for clients: for idle ones IDLE_GRACE, for busy ones until `graceful_timeout`."""
        limit = max(0.0, self.cfg.graceful_timeout - 0.5)  # before the master kills the worker
        while self._clients and time.monotonic() - began < limit:
            if time.monotonic() - began > IDLE_GRACE:
                for client in list(self._clients):
                    if client.idle:
                        client.shutdown_read()
            self.notify()
            self._end_long_waits()
            gevent.sleep(0.02)
        if self._clients:
            self.log.warning("%d connections were cut: graceful_timeout is over", len(self._clients))
            self._greenlets.kill(block=True, timeout=1)

    def _serve(self, client: ClientConnection) -> None:
        """One client connection, from accept to close."""
        try:
            self._serve_requests(client)
        except (OSError, gevent.GreenletExit):
            client.reset()
        except Exception:
            self.log.exception("error on a client's connection")
            client.reset()
        finally:
            self._clients.discard(client)
            client.close()
            if self.alive:
                CONNECTION_TABLE.write(self.age, len(self._clients))
                for acceptor in self._acceptors:
                    acceptor.resume()

    def _serve_requests(self, client: ClientConnection) -> None:
        """Serve requests, one after another, until either side closes. An idle client holds no data of a request."""
        try:
            while client.await_request(self._frozen.keepalive if client.served else self.options.timeouts.head):
                request = ParsedRequest(self._frozen, client.reader, client.addr, client.served + 1)
                client.begin_request(request.proxy_protocol_info)
                self.nr += 1
                if self.nr >= self.max_requests and self.alive:
                    self.log.info("Autorestarting worker after current request.")
                    self.alive = False
                if not self._respond(client, request):
                    return
        except (errors.NoMoreData, StopIteration):
            return
        except (errors.ParseException, errors.ForbiddenProxyRequest, PlainHttp, TimeoutError) as error:
            self._reject(client, error)

    def __repr__(self) -> str:
        return f"<ProxyWorker pid={self.pid} alive={self.alive} requests={self.nr}>"

    def _respond(self, client: ClientConnection, request: ParsedRequest) -> bool:
        """Call the application and write its response. Returns whether the connection may carry another request."""
        exchange = HttpExchange(request, client)
        closes = not self.alive or not self._frozen.keepalive
        response = ResponseWriter(client.send, request, exchange, closes)
        result: Iterable[bytes] = ()
        try:
            result = self._call_application(client, request, exchange, response)
            if exchange.upgraded:
                return False
            response.write_all(result)
        except (OSError, ShortResponse):
            client.reset()
            return False
        except Exception:
            self.log.exception("Error handling request %s %s", request.method, request.uri)
            if response.head_sent or exchange.upgraded:
                client.reset()
            else:
                client.send_error(500, "Internal Server Error", "the balancer failed; its error log has the details")
                client.graceful_close(drain=not exchange.complete)
            return False
        finally:
            if hasattr(result, "close"):
                result.close()
        if response.closes:
            client.graceful_close(drain=not exchange.complete)
            return False
        return True

    def _call_application(
        self, client: ClientConnection, request: ParsedRequest, exchange: HttpExchange, response: ResponseWriter
    ) -> Iterable[bytes]:
        """The application's response, by `forward` if it takes the request, else by WSGI."""
        forward = self.options.forward
        reply: Any = NotImplemented if forward is None else forward(exchange)
        if reply is None:
            return ()
        if reply is not NotImplemented:
            client.set_response_deadline(reply.deadline)
            response.start_response(reply.status, reply.fields)
            pieces: Iterable[bytes] = reply
            return pieces
        environ = self._environ | request.environ(client) | {"lbflask.exchange": exchange}
        return cast("Iterable[bytes]", self.wsgi(environ, response.start_response))

    def _reject(self, client: ClientConnection, error: Exception) -> None:
        """Send an error response for an invalid head, and close: the start of the next request is unknown."""
        status, reason, detail = next(answer for kind, answer in _REJECTIONS.items() if isinstance(error, kind))
        # gunicorn quotes bytes of the request after a colon: they may be a secret, and go to the client only.
        logged = detail or str(error).partition(":")[0]
        detail = detail or str(error)
        self.log.info("rejected a request from %s: %d %r", client.peer, status, logged)
        sent = client.send_error(status, reason, detail)
        client.graceful_close(drain=True)
        if self.options.on_rejected is not None:
            self.options.on_rejected(client.peer, status, reason, sent)


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
