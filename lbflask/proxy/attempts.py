"""The retry loop: backends of a plan are tried until one responds, or until a fault may not be retried."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from lbflask.core import retry
from lbflask.core.faults import Blame, Fault, Shortage, Stage
from lbflask.core.http.trace_context import Trace
from lbflask.core.model import Backend
from lbflask.core.planning import Plan
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.telemetry import debug
from lbflask.telemetry.events import AttemptEvent
from lbflask.upstream.requests_adapter import BackendAdapter, BackendRequest, BackendResponse
from lbflask.upstream.stream import NEVER


class Attempts:
    """Makes the attempts at the backends of one pool. Threads and greenlets may share it."""

    def __init__(
        self,
        pool: str,
        fleet: Fleet,
        adapter: BackendAdapter,
        settings: ProxySettings,
        services: SharedServices,
        slot_queue: SlotQueue | None = None,
    ) -> None:
        self.pool = pool
        self.fleet = fleet
        self.traffic = fleet.traffic(pool)
        self.adapter = adapter
        self.settings = settings
        self.services = services
        self.slot_queue = slot_queue
        self.timeouts = (settings.connect, settings.first_byte)

    def __repr__(self) -> str:
        return f"Attempts({self.pool})"


@dataclass(slots=True, eq=False)
class RequestAttempts:
    """The attempts of one request. `end` ends them; until then they hold the slot of the backend that responded.

    Each request constructs one by position, since keywords would double the cost.
    """

    shared: Attempts
    request: ClientRequest
    request_id: str
    began: float
    deadline: float
    may_queue: bool  #: the request may wait for a slot where all are in use
    events: list[AttemptEvent] = field(init=False, default_factory=list)
    serving_id: str = field(init=False, default="")  #: the backend whose response is passed on
    turns: Generator[Backend, None, None] | None = field(init=False, default=None)

    def first_response(
        self,
        plan: Plan,
        upstream: BackendRequest,
        trace: Trace | None = None,
        sticky_backend: Backend | None = None,
    ) -> BackendResponse:
        """The first response that a backend of the plan gives. Raises the Fault that decides the client's response."""
        backends, queue = plan.backends, self.shared.slot_queue
        if queue is not None:
            exchange = self.request.server_exchange
            backends = self.turns = queue.turns(
                backends,
                request_id=self.request_id,
                sticky_backend=sticky_backend,
                may_queue=self.may_queue,
                deadline=self.deadline,
                on_gone=None if exchange is None else exchange.on_gone,
            )
        last: Fault | None = None
        for tried, backend in enumerate(backends, 1):
            try:
                return self._attempt(backend, upstream, trace)
            except Fault as fault:
                last = fault
            if retry.went_stale(last) and self._is_replayable(last):
                try:
                    return self._attempt(backend, upstream, trace, fresh=True)
                except Fault as fault:
                    last = fault
            if not self._may_retry(last, tried):
                break
        if self.turns is not None:
            self.turns.close()
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the request now")

    def end(self, fault: Fault | None = None) -> None:
        """The response that was passed on has ended: completely, or cut by the fault."""
        shared = self.shared
        if self.serving_id:
            backend, self.serving_id = self.serving_id, ""
            if fault is None:
                shared.traffic.ended(backend)
            else:
                shared.traffic.broke_off(backend, fault)
                last = self.events[-1]
                self.events[-1] = AttemptEvent(backend=last.backend, seconds=last.seconds, fault=fault, at=last.at)
                if isinstance(fault, Shortage):
                    shared.services.shortages.note(fault)
        if self.turns is not None:
            self.turns.close()
        shared.services.in_flight.retrying.discard(self)

    def _is_replayable(self, fault: Fault) -> bool:
        body = self.request.body
        return retry.replayable(fault, self.request.method, body is not None and body.touched)

    def _may_retry(self, fault: Fault, tried: int) -> bool:
        policy, in_flight = self.shared.settings.retries, self.shared.services.in_flight
        if tried > policy.attempts or not self._is_replayable(fault):
            return False
        if self not in in_flight.retrying and retry.costs_budget(fault):
            if not retry.within_budget(policy, len(in_flight.active), len(in_flight.retrying)):
                return False
            in_flight.retrying.add(self)
        return True

    def _attempt(
        self, backend: Backend, upstream: BackendRequest, trace: Trace | None, fresh: bool = False
    ) -> BackendResponse:
        shared = self.shared
        settings, traffic, clock = shared.settings, shared.traffic, shared.services.clock
        host = self.request.host if settings.preserve_host else ""
        fields = None if trace is None else trace.attempt()
        upstream.to(backend, host or backend.authority, fresh, fields)
        if debug.SWITCH.enabled:
            debug.trace(self.request_id, "attempt", number=len(self.events) + 1, backend=backend.id)
        began = clock()
        timeouts = shared.timeouts
        if self.deadline != NEVER:
            timeouts = (min(settings.connect, max(0.001, self.deadline - began)), settings.first_byte)
        traffic.began(backend.id)
        try:
            response = shared.adapter.send(upstream, True, timeouts)
        except Fault as fault:
            traffic.failed(backend.id, fault)
            if debug.SWITCH.enabled:
                debug.trace(self.request_id, "failed", blame=fault.blame, stage=fault.stage, reason=fault.reason)
            seconds = clock() - began
            self.events.append(AttemptEvent(backend=backend.id, seconds=seconds, fault=fault, at=began - self.began))
            if fault.stage is Stage.CONNECT and fault.blame is Blame.BACKEND:
                shared.fleet.report_unreachable(shared.pool, backend.id)
            elif isinstance(fault, Shortage):
                shared.services.shortages.note(fault)
            raise
        except BaseException:
            traffic.abandoned(backend.id)
            raise
        traffic.answered(backend.id, response.answer.status)
        self.serving_id = backend.id
        if debug.SWITCH.enabled:
            debug.trace(self.request_id, "head", status=response.answer.status, seconds=clock() - began)
        event = AttemptEvent(backend.id, clock() - began, None, began - self.began)
        self.events.append(event)
        traffic.sample(event)
        return response
