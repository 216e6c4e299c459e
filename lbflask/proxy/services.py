"""The objects that all dispatchers of a worker share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lbflask.core.answers import AnswerKey
from lbflask.core.buffering import BufferBudget
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.fields import STANDARD_RULES, ClientHop, RequestRules, request_origin
from lbflask.core.http.request_origin import RequestOrigin, default_port
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.hooks.runner import Hooks
from lbflask.proxy.client_request import ClientRequest
from lbflask.telemetry.events import Listener
from lbflask.telemetry.shortage_log import ShortageLog
from lbflask.telemetry.tracing import TracingSink
from lbflask.upstream.spool import BufferStore
from lbflask.upstream.tunnel import Tunnel

#: Hops of clients that are cached.
MAX_HOPS: Final = 4096
#: Mirrored requests that a worker has in flight; further ones are skipped, which bounds the cost of a slow pool.
MAX_MIRRORED: Final = 64


@dataclass(slots=True)
class InFlight:
    """What a worker has in flight, over all pools: an object for each, so that threads need no lock to count them.

    `active` has the requests, `tunnels` those of them that became tunnels, None while one opens, and `mirrored` the
    copies of requests. `unmirrored` counts all copies that were ever skipped.
    """

    active: set[object] = field(default_factory=set)
    tunnels: dict[object, Tunnel | None] = field(default_factory=dict)
    mirrored: set[object] = field(default_factory=set)
    unmirrored: int = 0
    by_client: dict[str, int] = field(default_factory=dict)  #: requests by client, where they have a limit

    def skip_copy(self) -> None:
        """Count a copy that is not sent."""
        self.unmirrored += 1

    def summary(self) -> dict[str, int]:
        """The counts for operators, with the id of the process."""
        return {
            "pid": os.getpid(),
            "requests": len(self.active) - len(self.tunnels),
            "tunnels": len(self.tunnels),
            "mirrored": len(self.mirrored),
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

    def keeping(self, names: frozenset[str]) -> HopCache:
        """The same facts for handlers behind a check that alone writes the fields of these names: claims that pass."""
        rules = self._rules.keeping(names)
        return HopCache(self._is_trusted, self._via, forwarded=self._forwarded, rules=rules)

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

    def origin(self, request: ClientRequest) -> RequestOrigin:
        """Where the request comes from first, as far as trusted proxies state it."""
        return request_origin(request.fields, self.hop(request), request.host, self._is_trusted)


def _no_buffers() -> BufferStore:
    return BufferStore(BufferBudget(0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServices:
    """The services of a worker. `clock` is monotonic, in seconds; `listeners` consume the event of each request.

    With `note_answer` no event is made for the most frequent answers: it takes the status of a backend's response that
    was passed on whole, or the key of a local reply, with the client. With `logs_facts` events have the facts of their
    requests.
    """

    in_flight: InFlight
    hops: HopCache
    clock: Callable[[], float]
    new_request_id: Callable[[], str]
    listeners: tuple[Listener, ...] = ()
    note_answer: Callable[[tuple[int | AnswerKey, str]], None] | None = None
    hooks: Hooks | None = None
    tracing: TracingSink | None = None
    shortages: ShortageLog = field(default_factory=ShortageLog)
    logs_facts: bool = False
    buffers: BufferStore = field(default_factory=_no_buffers)
