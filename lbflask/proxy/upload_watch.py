"""Uploads that hold a backend while their clients send: found among the active requests, in the background."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from lbflask.core.slow_uploads import Mark, Uploads, uploads_of
from lbflask.proxy.dispatcher import RequestContext
from lbflask.proxy.services import InFlight

#: Seconds for which a scan of the active requests is used, for all pools.
SCAN_EVERY = 0.5


class UploadWatch:
    """The uploads of a worker. Requests do nothing for it: a scan compares what has arrived with the scan before.
    Threads may share it.
    """

    def __init__(self, in_flight: InFlight, clock: Callable[[], float]) -> None:
        self._in_flight = in_flight
        self._clock = clock
        self._scanned = float("-inf")
        self._marks: Mapping[RequestContext, Mark] = {}
        self._uploads: Mapping[str, Mapping[str, Uploads]] = {}

    def __repr__(self) -> str:
        return f"<UploadWatch {self._uploads}>"

    def of_pool(self, pool: str) -> Mapping[str, Uploads]:
        """The uploads by backend; at most SCAN_EVERY seconds old."""
        now = self._clock()
        if now - self._scanned >= SCAN_EVERY:
            self._uploads, self._scanned = self._scan(now), now
        return self._uploads.get(pool, {})

    def _scan(self, now: float) -> Mapping[str, Mapping[str, Uploads]]:
        marks: dict[RequestContext, Mark] = {}
        found: defaultdict[str, defaultdict[str, list[tuple[str, Mark]]]]
        found = defaultdict(lambda: defaultdict(list))
        for context, backend, received in _receiving(self._in_flight):
            before = self._marks.get(context)
            marks[context] = mark = Mark(now, received) if before is None else before.moved(now, received)
            found[context.shared.pool][backend].append((context.client, mark))
        self._marks = marks
        return {
            pool: {backend: uploads_of(of_backend, now) for backend, of_backend in of_pool.items()}
            for pool, of_pool in found.items()
        }


def _receiving(in_flight: InFlight) -> Iterator[tuple[RequestContext, str, int]]:
    """The requests that hold a connection and await more bytes of their client, without a response; each with the
    backend, and the bytes that have arrived.
    """
    for context in tuple(in_flight.active):
        if not isinstance(context, RequestContext) or (body := context.request.body) is None:
            continue
        upstream = context.upstream
        if upstream is not None and upstream.connection is not None and upstream.connection.awaits_client():
            yield context, upstream.backend_id, body.received
