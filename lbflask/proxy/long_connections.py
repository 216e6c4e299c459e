"""Ends the tunnels and event streams of backends that leave service, in the background."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from lbflask.core.http.field_lines import field_pairs
from lbflask.core.long_connections import is_over
from lbflask.core.model import Closing
from lbflask.proxy.dispatcher import RequestContext
from lbflask.proxy.services import InFlight
from lbflask.proxy.tcp_listeners import TcpPassage

log = logging.getLogger("lbflask")


class LongConnections:
    """Those of a worker: requests do nothing for it. `now` is the store's clock, in seconds."""

    def __init__(self, in_flight: InFlight, now: Callable[[], float]) -> None:
        self._in_flight = in_flight
        self._now = now

    def __repr__(self) -> str:
        return f"<LongConnections of {len(self._in_flight.active)} requests>"

    def sweep(self, closings_of: Iterable[tuple[str, Mapping[str, Closing]]]) -> None:
        """End those whose time is over; `closings_of` has the closings of each pool."""
        closings = {pool: of_pool for pool, of_pool in closings_of if of_pool}
        if not closings:
            return
        now, ended = self._now(), Counter[tuple[str, str]]()
        for context in tuple(self._in_flight.active):
            if not isinstance(context, RequestContext) or not (backend := context.serving_id):
                continue
            closing = closings.get(context.shared.pool, {}).get(backend)
            if closing is not None and is_over(closing, context.request_id, now) and _is_long(context):
                ended[context.shared.pool, backend] += self._end(context)
        for passage, tunnel in tuple(self._in_flight.tunnels.items()):
            if isinstance(passage, TcpPassage) and tunnel is not None:
                closing = closings.get(passage.pool_name, {}).get(passage.backend_id)
                if closing is not None and is_over(closing, passage.request_id, now):
                    ended[passage.pool_name, passage.backend_id] += 1
                    tunnel.end()
        for (pool, backend), count in (+ended).items():
            log.info("pool %s: %d long connections to %s end, since it leaves service", pool, count, backend)

    def _end(self, context: RequestContext) -> bool:
        """End the tunnel, or the response that is under way. Whether there is one."""
        tunnel, upstream = self._in_flight.tunnels.get(context), context.upstream
        if tunnel is not None:
            tunnel.end()
        elif upstream is not None and upstream.connection is not None:
            upstream.connection.end_exchange()
        return tunnel is not None or upstream is not None


def _is_long(context: RequestContext) -> bool:
    if context.status == 101:
        return True
    fields = field_pairs(context.fields or [])
    types = [value for name, value in fields if name.lower() == "content-type"]
    return any(value.strip().lower().startswith("text/event-stream") for value in types)
