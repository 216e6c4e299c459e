"""The retry loop: backends of a plan are tried until one responds, or until a fault may not be retried."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from lbflask.core import retry
from lbflask.core.faults import Blame, ClientLeft, Fault, RetriedResponse, Shortage, Stage
from lbflask.core.http.trace_context import Trace
from lbflask.core.http.types import Fields
from lbflask.core.model import Backend
from lbflask.core.planning import Plan
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.informational_stage import pass_interim
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.telemetry import debug
from lbflask.telemetry.events import AttemptEvent
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport
from lbflask.upstream.stream import NEVER

#: Bytes of a response that is kept while another backend is tried.
MAX_ASIDE: Final = 65_536


class Attempts:
    """Makes the attempts at the backends of one pool. Threads and greenlets may share it."""

    def __init__(
        self,
        pool: str,
        fleet: Fleet,
        transport: BackendTransport,
        settings: ProxySettings,
        services: SharedServices,
        slot_queue: SlotQueue | None = None,
    ) -> None:
        self.pool = pool
        self.fleet = fleet
        self.traffic = fleet.traffic(pool)
        self.transport = transport
        self.settings = settings
        self.services = services
        self.slot_queue = slot_queue
        self.timeouts = (settings.connect, settings.first_byte)

    def __repr__(self) -> str:
        return f"Attempts({self.pool})"


class RequestAttempts:
    """The attempts of one request. `end` ends them; until then they hold the slot of the backend that responded.

    Each request constructs one by position, since keywords would double the cost.
    """

    serving_id: str = ""  #: the backend whose response is passed on
    turns: Generator[Backend, None, None] | None = None
    aside: tuple[BackendResponse, int] | None = None  #: a response, and the number of its attempt
    upstream: BackendRequest | None = None

    def __init__(
        self,
        shared: Attempts,
        request: ClientRequest,
        request_id: str,
        began: float,
        deadline: float,
        may_queue: bool,
    ) -> None:
        self.shared = shared
        self.request = request
        self.request_id = request_id
        self.began = began
        self.deadline = deadline
        self.may_queue = may_queue  #: the request may wait for a slot where all are in use
        self.statuses = shared.settings.retries.statuses
        self.events: list[AttemptEvent] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request_id} of {self.request!r}>"

    def first_response(
        self,
        plan: Plan,
        upstream: BackendRequest,
        trace: Trace | None = None,
        sticky_backend: Backend | None = None,
    ) -> BackendResponse:
        """The first response that a backend of the plan gives. Raises the Fault that decides the client's response."""
        backends, queue = plan.backends, self.shared.slot_queue
        self.upstream = upstream
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
                response = self._response(backend, upstream, trace)
                if not self.statuses or self._is_final(response, tried):
                    return response
            except Fault as fault:
                last = fault
                if not self._may_retry(last, tried):
                    break
        if self.aside is not None and (last is None or last.blame is not Blame.CLIENT):
            return self._resume(*self.aside)
        if self.turns is not None:
            self.turns.close()
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the request now")

    def _response(self, backend: Backend, upstream: BackendRequest, trace: Trace | None) -> BackendResponse:
        """The response of this backend, by a new connection if a reused one had gone stale. Raises Fault."""
        try:
            return self._attempt(backend, upstream, trace)
        except Fault as fault:
            if not retry.went_stale(fault) or not self._is_replayable(fault):
                raise
        return self._attempt(backend, upstream, trace, fresh=True)

    def _is_final(self, response: BackendResponse, tried: int) -> bool:
        """Whether the client gets this response at once. Raises Fault for one that is no better than the one that was
        set aside: it has ended.
        """
        status, event = response.answer.status, self.events[-1]
        retried = RetriedResponse(status)
        if self.aside is not None and not retry.is_better(status, self.shared.settings.retries):
            response.discard()
            self.shared.traffic.ended(self.serving_id)
            self.serving_id = ""
            self.events[-1] = AttemptEvent(event.backend, event.seconds, retried, event.at)
            raise retried
        if status not in self.statuses or not self._may_retry(retried, tried):
            return True
        return not self._set_aside(response, retried)

    def _set_aside(self, response: BackendResponse, retried: Fault) -> bool:
        """Keep the response in memory, and free its backend for others, while another one is tried. False for a
        response that is too large. Raises Fault for one that breaks off.
        """
        traffic, event = self.shared.traffic, self.events[-1]
        try:
            if not response.answer.buffer(MAX_ASIDE):
                return False
        except Fault as fault:
            response.close()
            traffic.broke_off(self.serving_id, fault)
            self.serving_id = ""
            self.events[-1] = AttemptEvent(event.backend, event.seconds, fault, event.at)
            raise
        response.release()
        traffic.ended(self.serving_id)
        self.serving_id = ""
        self.aside = (response, len(self.events) - 1)
        self.events[-1] = AttemptEvent(event.backend, event.seconds, retried, event.at)
        return True

    def _resume(self, response: BackendResponse, number: int) -> BackendResponse:
        """The response that was set aside: no other backend had a better one."""
        event = self.events[number]
        self.events[number] = AttemptEvent(event.backend, event.seconds, None, event.at)
        self.serving_id = event.backend
        self.shared.traffic.began(event.backend)
        return response

    def pass_interim(self, status: int, reason: str, fields: Fields) -> None:
        """Pass on an informational response of the backend, if it is of a kind that is."""
        exchange = self.request.server_exchange
        if exchange is not None:
            pass_interim(exchange, self.shared.settings.via, status, reason, fields)

    def end(self, fault: Fault | None = None) -> None:
        """The response that was passed on has ended: completely, or cut by the fault."""
        shared = self.shared
        if self.serving_id:
            backend, self.serving_id = self.serving_id, ""
            self.upstream = None  # its connection may carry another request now
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
        self.upstream = None  # it refers to this object: a cycle, which only the garbage collector would free

    def _is_replayable(self, fault: Fault) -> bool:
        body = self.request.body
        return retry.replayable(fault, self.request.method, body is not None and body.touched)

    def _may_retry(self, fault: Fault, tried: int) -> bool:
        policy, budgets = self.shared.settings.retries, self.shared.traffic.retry_budgets
        if tried > policy.attempts or not self._is_replayable(fault):
            return False
        if retry.costs_budget(fault):
            return budgets.allow(policy)
        budgets.note_free()
        return True

    def _attempt(
        self, backend: Backend, upstream: BackendRequest, trace: Trace | None, fresh: bool = False
    ) -> BackendResponse:
        shared = self.shared
        settings, traffic, clock = shared.settings, shared.traffic, shared.services.clock
        host = settings.host or (self.request.host if settings.preserve_host else "")
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
            response = shared.transport.send(upstream, timeouts)
        except Fault as fault:
            if isinstance(fault, ClientLeft):
                fault.name_backend(backend.id)
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
