"""What is known of a request while it is on its way, and by which rules it goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lbflask.core import retry
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.fields import STANDARD_RULES, ClientHop, RequestRules
from lbflask.core.http.request_origin import TrustedProxies, default_port
from lbflask.core.http.trace_context import Trace
from lbflask.core.model import Backend
from lbflask.hooks.runner import Hooks
from lbflask.proxy.client_request import ClientRequest
from lbflask.telemetry.events import AttemptEvent, Listener
from lbflask.telemetry.shortage_log import ShortageLog
from lbflask.telemetry.tracing import TracingSink
from lbflask.upstream.connection import NEVER

#: Clients, by address, whose hop is remembered.
MOST_HOPS = 4096


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The settings of the data plane. Time-outs are in seconds, `retry_after` is what a 503 advises.

    `request` bounds a request as a whole; `tunnels` is how many upgraded connections a worker holds at once; `pages` is
    what to refuse with, by status.
    """

    retries: retry.RetryPolicy = field(default_factory=retry.RetryPolicy)
    connect: float = 3.0
    first_byte: float = 60.0
    preserve_host: bool = True
    via: str | None = "lbflask"
    retry_after: int = 2
    is_trusted: TrustedProxies = field(default_factory=TrustedProxies)
    request: float = NEVER
    tunnel_idle: float = 3600.0
    tunnels: int = 1000
    pages: Mapping[int, ErrorPage] = field(default_factory=dict)


@dataclass(slots=True)
class RequestContext:
    """One request on its way: what was tried, and what the client was told. `home` has its session, `limits_told` are
    the fields by which it hears of rate limits.

    `why` is the reason for the choice, where it is not the strategy.
    """

    inbound: ClientRequest
    began: float
    client: str
    request_id: str
    deadline: float = NEVER
    attempts: list[AttemptEvent] = field(default_factory=list)
    retrying: bool = False
    serving: str = ""
    home: Backend | None = None
    slot: str = ""  #: the backend of which it has a slot
    waits: bool = True  #: where all backends are full
    limits_told: Sequence[tuple[str, str]] = ()
    why: str = ""
    trace: Trace | None = None


@dataclass(slots=True)
class InFlightCounts:
    """What a worker is busy with at this moment, over all pools: requests, those of them on an extra attempt, and those
    that became tunnels; and copies of requests, with how many were ever left out for want of room.
    """

    active: int = 0
    retrying: int = 0
    tunnels: int = 0
    mirrored: int = 0
    unmirrored: int = 0

    def told(self) -> dict[str, int]:
        """For operators: which process this is, its requests in hand, connections that became tunnels, and copies."""
        return {
            "pid": os.getpid(),
            "requests": self.active - self.tunnels,
            "tunnels": self.tunnels,
            "mirrored": self.mirrored,
            "unmirrored": self.unmirrored,
        }


class HopCache:
    """What there is to say of the hop from a client to us: the same for all of its requests, so remembered a while."""

    def __init__(
        self, is_trusted: TrustedProxies, via: str | None, *, forwarded: bool, rules: RequestRules = STANDARD_RULES
    ) -> None:
        self._is_trusted = is_trusted
        self._via = via
        self._forwarded = forwarded
        self._rules = rules
        self._known: dict[tuple[str, str, str], ClientHop] = {}

    def of(self, inbound: ClientRequest) -> ClientHop:
        """The hop that the request came by."""
        key = (inbound.peer, inbound.scheme, inbound.protocol)
        hop = self._known.get(key)
        if hop is None:
            peer, scheme, protocol = plain_address(inbound.peer), inbound.scheme, inbound.protocol
            trusted, port = self._is_trusted(peer), default_port(scheme)
            hop = ClientHop(peer, scheme, port, trusted, self._via, self._forwarded, protocol, self._rules)
            if len(self._known) >= MOST_HOPS:
                self._known.clear()
            self._known[key] = hop
        return hop


@dataclass(frozen=True, slots=True)
class SharedServices:
    """What all dispatchers of a worker share. `clock` is steady, in seconds; `hooks` are asked on the way, if any;
    `shortages` logs what this process runs out of.
    """

    occupancy: InFlightCounts
    hops: HopCache
    clock: Callable[[], float]
    new_request_id: Callable[[], str]
    listeners: tuple[Listener, ...] = ()
    hooks: Hooks | None = None
    tracing: TracingSink | None = None
    shortages: ShortageLog = field(default_factory=ShortageLog)
