"""Redirects the requests of listeners that only lead to https. Unused without such listeners."""

from __future__ import annotations

from collections.abc import Collection

from lbflask.core.faults import Fault
from lbflask.core.http.challenge_target import is_challenge
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.router import Handler, RootHandler


class ListenerRedirects:
    """Passes requests of the `listeners` to `redirect`, and all others, with challenges of ACME, to `handler`."""

    def __init__(self, listeners: Collection[str], redirect: Handler, handler: RootHandler) -> None:
        self._listeners = frozenset(listeners)
        self._redirect = redirect
        self._handler = handler

    def __repr__(self) -> str:
        return f"ListenerRedirects({', '.join(sorted(self._listeners))}, {self._handler!r})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """As of Handler."""
        if request.listener in self._listeners and not is_challenge(request.target.text):
            return self._redirect.dispatch(request)
        return self._handler.dispatch(request)

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._handler.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._handler.record_refusal(peer, status, reason, sent)
