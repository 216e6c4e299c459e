"""Requests to their routes, and to the pools that a route shares them among. There only where routes are configured."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import request_origin
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.request_origin import TrustedProxies
from lbflask.core.routing import AmbiguousPath, RouteTable
from lbflask.core.traffic_split import WeightedSplit
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.context import HopCache
from lbflask.proxy.local_replies import LocalReplies

NO_ROUTE = Fault(Blame.CLIENT, Stage.CHOOSE, 404, "no route leads there")
TWO_READINGS = Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the path can be read as that of another route")


class Handler(Protocol):
    """Where requests can go."""

    def dispatch(self, inbound: ClientRequest) -> ClientResponse | None:
        """The reply to the request; None when the connection was a tunnel, which has ended."""
        ...


class RootHandler(Handler, Protocol):
    """The destination of all requests, which also answers those that could not be read."""

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """The reply to a request that could not even be read."""
        ...

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """The host has refused a request that it could not read, by an answer of so many bytes."""
        ...


class Router:
    """Sends each request to the destination of its route; what takes none to `otherwise`, or nowhere."""

    def __init__(
        self,
        table: RouteTable,
        destinations: Sequence[Handler],
        otherwise: Handler | None,
        answers: LocalReplies,
    ) -> None:
        self._find = table.find
        self._by_claims = table.by_claims
        self._destinations = destinations
        self._otherwise = otherwise
        self._answers = answers
        self.refuse = answers.refuse
        self.record_refusal = answers.record_refusal

    def dispatch(self, inbound: ClientRequest) -> ClientResponse | None:
        """The reply of the destination."""
        fields = inbound.fields if not self._by_claims else self._answers.credible(inbound)
        try:
            number = self._find(inbound.host, inbound.target.text, inbound.method, fields)
        except AmbiguousPath:
            return self._answers.turn_away(inbound, TWO_READINGS)
        destination = self._otherwise if number is None else self._destinations[number]
        if destination is None:
            return self._answers.turn_away(inbound, NO_ROUTE)
        return destination.dispatch(inbound)


class TrafficSplitter:
    """Shares requests among pools, each the same way every time, as far as it has the key that the split goes by."""

    def __init__(
        self,
        split: WeightedSplit,
        key: RequestKey,
        destinations: Mapping[str, Handler],
        hops: HopCache,
        is_trusted: TrustedProxies,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._split = split
        self._key = key
        self._destinations = destinations
        self._hops = hops
        self._is_trusted = is_trusted
        self._chance = chance

    def dispatch(self, inbound: ClientRequest) -> ClientResponse | None:
        """The reply of the pool of the request's key."""
        client = self._client(inbound) if self._key.kind == "client" else ""
        key = self._key.of(client, inbound.target.text, inbound.fields)
        pool = self._split.pool(repr(self._chance()) if key is None else key)
        return self._destinations[pool].dispatch(inbound)

    def _client(self, inbound: ClientRequest) -> str:
        return request_origin(inbound.fields, self._hops.of(inbound), inbound.host, self._is_trusted).client
