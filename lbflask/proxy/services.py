"""The objects that all dispatchers of a worker share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from lbflask.core.http.addresses import plain_address
from lbflask.core.http.fields import STANDARD_RULES, ClientHop, RequestRules
from lbflask.core.http.request_origin import default_port
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.hooks.runner import Hooks
from lbflask.proxy.client_request import ClientRequest
from lbflask.telemetry.events import Listener
from lbflask.telemetry.shortage_log import ShortageLog
from lbflask.telemetry.tracing import TracingSink

#: Hops of clients that are cached.
MAX_HOPS = 4096
#: Mirrored requests that a worker has in flight; further ones are skipped, which bounds the cost of a slow pool.
MAX_MIRRORED = 64


@dataclass(slots=True)
class InFlightCounts:
    """The requests that a worker has in flight, over all pools.

    `active` has an object for each request, `retrying` counts those of them on an extra attempt, `tunnels` those that
    became tunnels. `mirrored` counts copies of requests in flight, `unmirrored` all copies that were ever skipped.
    """

    active: set[object] = field(default_factory=set)
    retrying: int = 0
    tunnels: int = 0
    mirrored: int = 0
    unmirrored: int = 0

    def begin_retry(self) -> None:
        """Count a request on an extra attempt until `end_retry`."""
        self.retrying += 1

    def end_retry(self) -> None:
        """Uncount a request on an extra attempt."""
        self.retrying -= 1

    def begin_tunnel(self) -> None:
        """Count a tunnel until `end_tunnel`."""
        self.tunnels += 1

    def end_tunnel(self) -> None:
        """Uncount a tunnel."""
        self.tunnels -= 1

    def begin_copy(self) -> bool:
        """Count a copy until `end_copy`; False, and skip it, when there are MAX_MIRRORED of them."""
        if self.mirrored >= MAX_MIRRORED:
            self.skip_copy()
            return False
        self.mirrored += 1
        return True

    def end_copy(self) -> None:
        """Uncount a copy."""
        self.mirrored -= 1

    def skip_copy(self) -> None:
        """Count a copy that is not sent."""
        self.unmirrored += 1

    def summary(self) -> dict[str, int]:
        """The counts for operators, with the id of the process."""
        return {
            "pid": os.getpid(),
            "requests": len(self.active) - self.tunnels,
            "tunnels": self.tunnels,
            "mirrored": self.mirrored,
            "unmirrored": self.unmirrored,
        }


class HopCache:
    """Caches the forwarding facts of client connections, which are the same for all requests of a client."""

    def __init__(
        self, is_trusted: TrustedProxies, via: str | None, *, forwarded: bool, rules: RequestRules = STANDARD_RULES
    ) -> None:
        self._is_trusted = is_trusted
        self._via = via
        self._forwarded = forwarded
        self._rules = rules
        self._hops: dict[tuple[str, str, str], ClientHop] = {}

    def __repr__(self) -> str:
        return f"HopCache({len(self._hops)} hops)"

    def hop(self, request: ClientRequest) -> ClientHop:
        """The hop from the client that sent the request."""
        key = (request.peer, request.scheme, request.protocol)
        hop = self._hops.get(key)
        if hop is None:
            peer, scheme, protocol = plain_address(request.peer), request.scheme, request.protocol
            trusted, port = self._is_trusted(peer), default_port(scheme)
            hop = ClientHop(peer, scheme, port, trusted, self._via, self._forwarded, protocol, self._rules)
            if len(self._hops) >= MAX_HOPS:
                self._hops.clear()
            self._hops[key] = hop
        return hop


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServices:
    """The services of a worker. `clock` is monotonic, in seconds; `listeners` consume the event of each request."""

    in_flight: InFlightCounts
    hops: HopCache
    clock: Callable[[], float]
    new_request_id: Callable[[], str]
    listeners: tuple[Listener, ...] = ()
    hooks: Hooks | None = None
    tracing: TracingSink | None = None
    shortages: ShortageLog = field(default_factory=ShortageLog)
