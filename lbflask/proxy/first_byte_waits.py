"""Requests that wait for the first byte of a backend: found among the active requests, in the background."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

from lbflask.core.fleet_stats import Waits
from lbflask.proxy.attempts import RequestAttempts
from lbflask.proxy.services import InFlight
from lbflask.upstream.connection import UpstreamConnection

log = logging.getLogger("lbflask")

#: Seconds for which a scan of the active requests is used, for all pools.
SCAN_EVERY = 0.5
#: A wait counts from so many seconds on: shorter ones are part of each request.
LEAST = 1.0


class FirstByteWaits:
    """The waits of a worker. Requests do nothing for it but keep their connection in reach. Threads may share it."""

    def __init__(self, in_flight: InFlight, clock: Callable[[], float]) -> None:
        self._in_flight = in_flight
        self._clock = clock
        self._scanned = float("-inf")
        self._waits: Mapping[str, Mapping[str, Waits]] = {}

    def __repr__(self) -> str:
        return f"<FirstByteWaits {self._waits}>"

    def of_pool(self, pool: str) -> Mapping[str, Waits]:
        """The waits of LEAST seconds and more, by backend; at most SCAN_EVERY seconds old."""
        now = self._clock()
        if now - self._scanned >= SCAN_EVERY:
            self._waits, self._scanned = self._scan(now), now
        return self._waits.get(pool, {})

    def end(self, pool: str, backends: Collection[str]) -> None:
        """End the waits at these backends, which checks have found down without any answer, unless the pool is set to
        keep them. The retry table (core/retry.py) decides whether a request is tried elsewhere.
        """
        ended: Counter[str] = Counter()
        for attempts, backend, connection in _waiting(self._in_flight):
            shared = attempts.shared
            if shared.pool == pool and backend in backends and shared.settings.end_waits:
                ended[backend] += connection.give_up()
        for backend, count in (+ended).items():
            log.warning("pool %s: %s is down; %d requests without a first byte from it end there", pool, backend, count)

    def _scan(self, now: float) -> Mapping[str, Mapping[str, Waits]]:
        found: defaultdict[str, dict[str, Waits]] = defaultdict(dict)
        for attempts, backend, connection in _waiting(self._in_flight):
            since = connection.silent_since()
            if since is not None and now - since >= LEAST:
                of_pool = found[attempts.shared.pool]
                before = of_pool.get(backend, Waits())
                of_pool[backend] = Waits(before.count + 1, max(before.oldest, now - since))
        return found


def _waiting(in_flight: InFlight) -> Iterator[tuple[RequestAttempts, str, UpstreamConnection]]:
    """The requests that have a connection and no response, each with the backend and the connection."""
    for attempts in tuple(in_flight.active):
        if isinstance(attempts, RequestAttempts) and not attempts.serving_id:
            upstream = attempts.upstream  # another thread may end the request meanwhile
            if upstream is not None and upstream.connection is not None:
                yield attempts, upstream.backend_id, upstream.connection
