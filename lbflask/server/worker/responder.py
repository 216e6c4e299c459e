"""Responds to one client request after another: by the application's short path, or by WSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.response_writer import ResponseWriter, ShortResponse
from lbflask.server.worker.wsgi_environ import environ_of

if TYPE_CHECKING:
    import logging

    from lbflask.server.worker.client_connection import ClientConnection
    from lbflask.server.worker.received_head import ReceivedHead

#: See WorkerOptions.
Forward = Callable[[HttpExchange], Any]


class Responder:
    """Calls the application for each request, and writes its response. `environ` is the same for all requests."""

    def __init__(
        self, wsgi: Callable[[dict[str, Any], Any], Iterable[bytes]], environ: dict[str, Any], log: logging.Logger
    ) -> None:
        self._wsgi = wsgi
        self._environ = environ
        self._log = log

    def __repr__(self) -> str:
        return f"Responder({self._wsgi!r})"

    def respond(
        self, client: ClientConnection, request: ReceivedHead, forward: Forward | None, *, closes: bool
    ) -> bool:
        """Respond to the request. Returns whether the connection may carry another one; `closes` forbids it."""
        exchange = HttpExchange(request, client)
        response = ResponseWriter(client.send, request, exchange, closes, client.hsts)
        result: Any = ()
        try:
            result = self._call_application(client, request, exchange, response, forward)
            if exchange.upgraded:
                return False
            response.write_all(result, client)
        except (OSError, ShortResponse):
            client.reset()
            return False
        except Exception:  # noqa: BLE001 - logged with its traceback
            self._log.exception("Error handling request %s %s", request.method, request.target)
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
        self,
        client: ClientConnection,
        request: ReceivedHead,
        exchange: HttpExchange,
        response: ResponseWriter,
        forward: Forward | None,
    ) -> Any:
        """The application's response, by `forward` if it takes the request, else by WSGI."""
        reply: Any = NotImplemented if forward is None else forward(exchange)
        if reply is None:
            return ()
        if reply is not NotImplemented:
            client.set_response_deadline(reply.deadline)
            if reply.lines is None:
                response.start_response(reply.status, reply.fields)
            else:
                response.start_plain(reply.status, reply.lines)
            return reply
        environ = self._environ | environ_of(request, client) | {"lbflask.exchange": exchange}
        return self._wsgi(environ, response.start_response)
