"""Which backends of a plan a request may go to now, where some have a bound on their requests (`max_connections`).

A backend without a free slot is passed over, which is no attempt and no failure. When only such backends are left the
request waits for whichever has a free slot first; one with a session waits for the backend that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import Backend
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.slots import ClientGone, PoolSlots, QueueFull, QueueTimeout
from lbflask.fleet.traffic import Traffic
from lbflask.proxy.context import RequestContext
from lbflask.telemetry.debug import SWITCH, trace


class SlotQueue:
    """The requests of one pool before they go to a backend. `clock` is steady, in seconds."""

    def __init__(self, slots: PoolSlots, traffic: Traffic, queue: QueuePolicy, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._traffic = traffic
        self._queue = queue
        self._clock = clock

    def turns(self, exchange: RequestContext, plan: Iterable[Backend]) -> Generator[Backend, None, None]:
        """The backends to try, each when the request may go there. Raises Fault when it waits in vain.

        The slot of one that does not serve the request is let go when the next is asked for, or at `close`.
        """
        full = []
        for backend in plan:
            if not backend.max_connections:
                yield backend
            elif self._slots.take(backend):
                yield from self._with_slot(exchange, backend)
            elif backend is exchange.home:
                self._wait(exchange, [backend])
                yield from self._with_slot(exchange, backend)
            else:
                self._traffic.passed_over(backend.id)
                full.append(backend)
        while full and exchange.waits:
            got = self._wait(exchange, full)
            backend = next(backend for backend in full if backend.id == got)
            full.remove(backend)
            yield from self._with_slot(exchange, backend)

    def over(self, exchange: RequestContext) -> None:
        """The backend that served the request is done with it."""
        slot, exchange.slot = exchange.slot, ""
        if slot:
            self._slots.let_go(slot)

    def _with_slot(self, exchange: RequestContext, backend: Backend) -> Generator[Backend, None, None]:
        exchange.slot = backend.id
        try:
            yield backend
        finally:
            if exchange.serving != backend.id:
                self.over(exchange)

    def _wait(self, exchange: RequestContext, full: list[Backend]) -> str:
        host = exchange.inbound.host_exchange
        seconds = exchange.deadline - self._clock()
        if SWITCH.enabled:
            trace(exchange.request_id, "queued", full=[backend.id for backend in full])
        try:
            return self._slots.wait(full, self._queue, seconds, None if host is None else host.on_gone)
        except QueueFull:
            reason = "all backends are full, and as many requests wait as may"
        except QueueTimeout:
            reason = f"all backends are full, and none became free within {min(self._queue.timeout, seconds):g} s"
        except ClientGone:
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 499, "the client hung up") from None
        raise Fault(Blame.SELF, Stage.CHOOSE, 503, reason)
