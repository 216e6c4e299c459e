"""A limit of the requests that one client has in flight at a worker. Unused without one."""

from __future__ import annotations

import threading
from functools import partial

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Fault, NotAdmitted
from lbflask.core.http.addresses import parsed_address
from lbflask.core.rate_limit import of_client
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.router import RootHandler


class ClientLimit:
    """Passes at most `limit` requests of a client to `inner` at once, until the ends of their responses or tunnels.

    A client is an address, or of IPv6 its /64 network. Clients without an address have no limit.
    """

    def __init__(self, inner: RootHandler, limit: int, replies: LocalReplies) -> None:
        self._inner = inner
        self._limit = limit
        self._replies = replies
        self._counts = replies.services.in_flight.by_client
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ClientLimit({self._limit}, {self._inner!r})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """As of Handler."""
        address = self._replies.services.hops.origin(request).client
        if parsed_address(address) is None:
            return self._inner.dispatch(request)
        client = of_client(address)
        if not self._enter(client):
            reason = f"more than {self._limit} requests at once from this address"
            refusal = NotAdmitted(429, reason, AnswerCause.CLIENT_LIMIT)
            return self._replies.reject(request, refusal, [("Retry-After", "1")])
        leave = partial(self._leave, client)
        try:
            response = self._inner.dispatch(request)
        except BaseException:
            leave()
            raise
        if response is None:
            leave()  # a tunnel has ended
        else:
            response.on_end(leave)
        return response

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._inner.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._inner.record_refusal(peer, status, reason, sent)

    def _enter(self, client: str) -> bool:
        with self._lock:
            count = self._counts.get(client, 0)
            if count >= self._limit:
                return False
            self._counts[client] = count + 1
            return True

    def _leave(self, client: str) -> None:
        with self._lock:
            count = self._counts.get(client, 0) - 1
            if count > 0:
                self._counts[client] = count
            else:
                self._counts.pop(client, None)
