"""Routing: requests to the handlers of their routes, and to the pools of a traffic split. Unused without routes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.request_key import RequestKey
from lbflask.core.route_match import NO_SOURCE
from lbflask.core.routing import AmbiguousPath, RouteTable
from lbflask.core.traffic_split import WeightedSplit
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.services import HopCache

NO_ROUTE = Fault(Blame.CLIENT, Stage.CHOOSE, 404, "no route leads there", answer_cause=AnswerCause.NO_ROUTE)
AMBIGUOUS_PATH = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the path can be read as that of another route")


class Handler(Protocol):
    """A destination of requests."""

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """The response to the request; None after a tunnel has ended."""
        ...


class RootHandler(Handler, Protocol):
    """The destination of all requests, which also responds to those that could not be read."""

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """The response to a request that could not be read."""
        ...

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """Record a request that the server could not read and has refused, with a response body of `sent` bytes."""
        ...


class Router:
    """Passes each request to the handler of its route; without a route to `default`, or rejects it with 404."""

    def __init__(
        self,
        table: RouteTable,
        handlers: Sequence[Handler],
        default: Handler | None,
        replies: LocalReplies,
    ) -> None:
        self._table = table
        self._handlers = handlers
        self._default = default
        self._replies = replies

    def __repr__(self) -> str:
        return f"Router({len(self._handlers)} routes, default {self._default!r})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """The response of the handler."""
        try:
            number = self._find(request)
        except AmbiguousPath:
            return self._replies.reject(request, AMBIGUOUS_PATH)
        handler = self._default if number is None else self._handlers[number]
        if handler is None:
            return self._replies.reject(request, NO_ROUTE)
        return handler.dispatch(request)

    def names(self, request: ClientRequest) -> bool:
        """Whether the request takes a route that names exactly its path."""
        try:
            number = self._find(request)
        except AmbiguousPath:
            return False
        return number is not None and self._table.names(number, request.target.text)

    def _find(self, request: ClientRequest) -> int | None:
        table, replies = self._table, self._replies
        fields = replies.credible(request) if table.by_claims else request.fields
        source = replies.source(request) if table.by_source else NO_SOURCE
        return table.find(request.host, request.target.text, request.method, fields, source)

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._replies.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._replies.record_refusal(peer, status, reason, sent)


class TrafficSplitter:
    """Splits requests among pools: always alike for one key, and randomly for requests without a key."""

    def __init__(
        self,
        split: WeightedSplit,
        key: RequestKey,
        handlers: Mapping[str, Handler],
        hops: HopCache,
        random_key: Callable[[], float] = random.random,
    ) -> None:
        self._split = split
        self._key = key
        self._handlers = handlers
        self._hops = hops
        self._random_key = random_key

    def __repr__(self) -> str:
        return f"TrafficSplitter({', '.join(self._handlers)})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """The response of the pool for the request's key."""
        client = self._hops.origin(request).client if self._key.kind == "client" else ""
        key = self._key.of(client, request.target.text, request.fields)
        pool = self._split.pool(repr(self._random_key()) if key is None else key)
        return self._handlers[pool].dispatch(request)
