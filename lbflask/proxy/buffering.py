"""The buffers of requests and responses: a slow client holds its buffer, and no backend.

With a buffer for requests, a backend is chosen when the body is here. With one for responses, the backend is free when
its last byte is here.
"""

from __future__ import annotations

from collections.abc import Callable

from lbflask.core.buffering import BufferingPolicy, is_buffered, is_storable, stored_framing
from lbflask.core.faults import Fault
from lbflask.core.http.framing import Framing
from lbflask.proxy.client_request import ClientBody, ClientRequest, ServerExchange
from lbflask.proxy.services import SharedServices
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.response_buffer import ResponseBuffer
from lbflask.upstream.spool import StoredBody
from lbflask.upstream.stream import NEVER


class Buffering:
    """Buffers by one policy, in the room that all of a worker share. Threads and greenlets may share it."""

    def __init__(self, policy: BufferingPolicy, services: SharedServices) -> None:
        self._policy = policy
        self._store = services.buffers
        self._clock = services.clock

    def __repr__(self) -> str:
        return f"Buffering({self._policy!r})"

    def begin(self, request: ClientRequest) -> ClientBody | None:
        """Set the least rates of both bodies, where the server can enforce them. Returns the body of the request if
        `store` is to be called for it. Its client gets a `100 Continue` from here.
        """
        rates, exchange = self._policy.rates, request.server_exchange
        if rates is not None and exchange is not None:
            exchange.limit_rates(rates.request, rates.response, rates.grace)
        limits, body = self._policy.requests, request.body
        if limits is None or body is None or body.whole is not None or not is_storable(limits, request.framing):
            return None
        return body

    def store(self, request: ClientRequest, body: ClientBody, deadline: float) -> Framing:
        """Wait for the body, as far as there is room for it. Returns the framing by which it is sent.

        `deadline` is the end of the whole request. Raises Fault for what ends a request while its body arrives.
        """
        limits, exchange = self._policy.requests, request.server_exchange
        if limits is None:
            return request.framing
        if exchange is not None:
            exchange.limit_upload(deadline)
        whole = body.store(StoredBody(self._store, limits), lambda: self._clock() > deadline)
        if exchange is not None:
            exchange.limit_upload(NEVER)
        return stored_framing(body.count, body.trailers) if whole else request.framing

    def response_buffer(
        self, response: BackendResponse, exchange: ServerExchange | None, on_received: Callable[[Fault | None], None]
    ) -> ResponseBuffer | None:
        """The buffer of a response; None for one that is here already, or that is not buffered.

        `on_received` is called when its backend owes nothing more. Servers that cannot notify of a slow client have
        the whole response read in the background.
        """
        limits, answer = self._policy.responses, response.answer
        if limits is None or answer.whole() is not None or not is_buffered(answer.fields):
            return None
        buffer = ResponseBuffer(response, self._store, limits, on_received, at_once=exchange is None)
        if exchange is not None:
            exchange.on_blocked(buffer.start)
        return buffer
