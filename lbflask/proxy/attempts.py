"""The retry loop: backends of a plan are tried until one responds, or until a fault may not be retried."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from lbflask.core import retry
from lbflask.core.faults import Blame, ClientLeft, Fault, Outpaced, RetriedResponse, Shortage, Stage
from lbflask.core.http.trace_context import Trace
from lbflask.core.http.types import Fields
from lbflask.core.model import Backend
from lbflask.core.planning import Plan
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.informational_stage import pass_interim
from lbflask.proxy.race import Contender, Race
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
        self.hedge = settings.retries.hedge

    def __repr__(self) -> str:
        return f"Attempts({self.pool})"


class RequestAttempts:
    """The attempts of one request. `end` ends them; until then they hold the slot of the backend that responded.

    Each request constructs one by position, since keywords would double the cost.
    """

    serving_id: str = ""  #: the backend whose response is passed on
    serving_number: int = 0  #: of its attempt
    tried: int = 0  #: backends
    queued: float = 0.0  #: seconds that it has waited for slots
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
            on_gone = None if exchange is None else exchange.on_gone
            backends = self.turns = queue.turns(backends, self, sticky_backend, on_gone)
        last: Fault | None = None
        turns = iter(backends)
        for backend in turns:
            self.tried += 1
            try:
                if self.shared.hedge and self.tried == 1 and self._may_hedge(upstream, sticky_backend):
                    response = self._hedged_response(backend, turns, upstream, trace)
                else:
                    response = self._response(backend, upstream, trace)
                if not self.statuses or self._is_final(response):
                    return response
            except Fault as fault:
                last = fault
                if not self._may_retry(last):
                    break
        if self.aside is not None and (last is None or last.blame is not Blame.CLIENT):
            return self._resume(*self.aside)
        if self.turns is not None:
            self.turns.close()
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the request now")

    def add_wait(self, seconds: float) -> None:
        """As of WaitingRequest."""
        self.queued += seconds

    def _response(self, backend: Backend, upstream: BackendRequest, trace: Trace | None) -> BackendResponse:
        """The response of this backend, by a new connection if a reused one had gone stale. Raises Fault."""
        try:
            return self._attempt(backend, upstream, trace)
        except Fault as fault:
            if not retry.went_stale(fault) or not self._is_replayable(fault):
                raise
        return self._attempt(backend, upstream, trace, fresh=True)

    def _is_final(self, response: BackendResponse) -> bool:
        """Whether the client gets this response at once. Raises Fault for one that is no better than the one that was
        set aside: it has ended.
        """
        status, retried = response.answer.status, RetriedResponse(response.answer.status)
        if self.aside is not None and not retry.is_better(status, self.shared.settings.retries):
            response.discard()
            self.shared.traffic.ended(self.serving_id)
            self.serving_id = ""
            self._set_fault(retried)
            raise retried
        if status not in self.statuses or not self._may_retry(retried):
            return True
        return not self._set_aside(response, retried)

    def _set_aside(self, response: BackendResponse, retried: Fault) -> bool:
        """Keep the response in memory, and free its backend for others, while another one is tried. False for a
        response that is too large. Raises Fault for one that breaks off.
        """
        traffic = self.shared.traffic
        try:
            if not response.answer.buffer(MAX_ASIDE):
                return False
        except Fault as fault:
            response.close()
            traffic.broke_off(self.serving_id, fault)
            self.serving_id = ""
            self._set_fault(fault)
            raise
        response.release()
        traffic.ended(self.serving_id)
        self.serving_id = ""
        self.aside = (response, self.serving_number)
        self._set_fault(retried)
        return True

    def _resume(self, response: BackendResponse, number: int) -> BackendResponse:
        """The response that was set aside: no other backend had a better one."""
        self.serving_number = number
        self._set_fault(None)
        self.serving_id = backend = self.events[number].backend
        self.shared.traffic.began(backend)
        return response

    def _set_fault(self, fault: Fault | None) -> None:
        """The outcome of the attempt whose response was at hand."""
        event = self.events[self.serving_number]
        self.events[self.serving_number] = AttemptEvent(event.backend, event.seconds, fault, event.at)

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
                self._set_fault(fault)
                if isinstance(fault, Shortage):
                    shared.services.shortages.note(fault)
        if self.turns is not None:
            self.turns.close()
        self.upstream = None  # it refers to this object: a cycle, which only the garbage collector would free

    def _is_replayable(self, fault: Fault) -> bool:
        body = self.request.body
        return retry.replayable(fault, self.request.method, body is not None and body.touched)

    def _may_retry(self, fault: Fault) -> bool:
        policy, budgets = self.shared.settings.retries, self.shared.traffic.retry_budgets
        if self.tried > policy.attempts or not self._is_replayable(fault):
            return False
        if retry.costs_budget(fault):
            return budgets.allow(policy)
        budgets.note_free()
        return True

    def _attempt(
        self, backend: Backend, upstream: BackendRequest, trace: Trace | None, fresh: bool = False
    ) -> BackendResponse:
        timeouts = self._begin(backend, upstream, trace, fresh)
        shared = self.shared
        clock = shared.services.clock
        began = clock()
        try:
            response = shared.transport.send(upstream, timeouts)
        except Fault as fault:
            self._failed(backend, fault, began, clock())
            raise
        except BaseException:
            shared.traffic.abandoned(backend.id)
            raise
        self._answered(backend, response, began, clock())
        return response

    def _begin(
        self, backend: Backend, upstream: BackendRequest, trace: Trace | None, fresh: bool = False
    ) -> tuple[float, float]:
        """Address the request to the backend, where it counts from now on; the time-outs of the attempt."""
        shared = self.shared
        settings, timeouts = shared.settings, shared.timeouts
        host = settings.host or (self.request.host if settings.preserve_host else "")
        upstream.to(backend, host or backend.authority, fresh, None if trace is None else trace.attempt())
        if debug.SWITCH.enabled:
            debug.trace(self.request_id, "attempt", number=len(self.events) + 1, backend=backend.id)
        if self.deadline != NEVER:
            left = self.deadline - shared.services.clock()
            timeouts = (min(settings.connect, max(0.001, left)), settings.first_byte)
        shared.traffic.began(backend.id)
        return timeouts

    def _failed(self, backend: Backend, fault: Fault, began: float, ended: float) -> None:
        """The attempt has ended with a fault."""
        shared = self.shared
        if isinstance(fault, ClientLeft):
            fault.name_backend(backend.id)
        shared.traffic.failed(backend.id, fault)
        if debug.SWITCH.enabled:
            debug.trace(self.request_id, "failed", blame=fault.blame, stage=fault.stage, reason=fault.reason)
        self.events.append(AttemptEvent(backend.id, ended - began, fault, began - self.began))
        if fault.stage is Stage.CONNECT and fault.blame is Blame.BACKEND:
            shared.fleet.report_unreachable(shared.pool, backend.id)
        elif isinstance(fault, Shortage):
            shared.services.shortages.note(fault)

    def _answered(self, backend: Backend, response: BackendResponse, began: float, ended: float) -> None:
        """The head of the response is at hand."""
        traffic = self.shared.traffic
        traffic.answered(backend.id, response.answer.status)
        self.serving_id = backend.id
        if debug.SWITCH.enabled:
            debug.trace(self.request_id, "head", status=response.answer.status, seconds=ended - began)
        event = AttemptEvent(backend.id, ended - began, None, began - self.began)
        self.serving_number = len(self.events)
        self.events.append(event)
        traffic.sample(event)

    def _may_hedge(self, upstream: BackendRequest, sticky_backend: Backend | None) -> bool:
        """Whether a second attempt may begin beside the first one: of a request without a body that can be repeated,
        and that belongs to no session. A pool with slots has none, since a request holds one slot.
        """
        request = self.request
        return (
            self.turns is None
            and self.may_queue  # else no client waits
            and sticky_backend is None
            and request.body is None
            and request.method in retry.IDEMPOTENT
            and not upstream.upgrade
        )

    def _hedged_response(
        self, backend: Backend, others: Iterator[Backend], upstream: BackendRequest, trace: Trace | None
    ) -> BackendResponse:
        """The response of this backend, or that of another one that is tried too when the first one is slow. Raises
        Fault if neither has one.
        """
        shared, policy = self.shared, self.shared.settings.retries
        delay = shared.traffic.hedge_delay(shared.hedge)
        if delay == NEVER:
            return self._response(backend, upstream, trace)
        race = Race(shared.transport, policy, shared.services.clock, shared.traffic.abandoned, upstream.on_gone)
        try:
            self._enter(race, backend, upstream, trace)
            if not race.is_decided(delay) and shared.traffic.retry_budgets.may_hedge(policy):
                other = next(others, None)
                if other is not None:
                    shared.traffic.retry_budgets.note_hedge()
                    self.tried += 1
                    self._enter(race, other, upstream, trace)
            race.is_decided()
        except BaseException:
            race.cancel()
            raise
        winner = race.winner()
        for contender in race.contenders:
            self._note_outcome(contender, winner)
        self.upstream = winner.upstream
        if winner.response is not None:
            return winner.response
        raise winner.fault or winner.error or RuntimeError("an attempt has ended without an outcome")

    def _enter(self, race: Race, backend: Backend, upstream: BackendRequest, trace: Trace | None) -> None:
        """Begin an attempt of the race, with a copy of the request. Informational responses are not passed on: two
        backends may send them at the same time.
        """
        copy = upstream.beside()
        timeouts = self._begin(backend, copy, trace)
        self.upstream = self.upstream if race.contenders else copy
        race.enter(backend, copy, timeouts)

    def _note_outcome(self, contender: Contender, winner: Contender) -> None:
        """Note what became of an attempt of a race; in the order in which they began, as of traces."""
        backend, response, fault = contender.backend, contender.response, contender.fault
        if contender.is_cancelled:
            seconds = winner.ended - contender.began
            outpaced = Outpaced(winner.backend.id)
            self.events.append(AttemptEvent(backend.id, seconds, outpaced, contender.began - self.began))
        elif fault is not None:
            self._failed(backend, fault, contender.began, contender.ended)
        elif response is not None and contender is winner:
            self._answered(backend, response, contender.began, contender.ended)
        elif response is not None:
            good = retry.is_better(response.answer.status, self.shared.settings.retries)
            lost: Fault = Outpaced(winner.backend.id) if good else RetriedResponse(response.answer.status)
            self.shared.traffic.answered(backend.id, response.answer.status)
            self.shared.traffic.ended(backend.id)
            response.discard()
            seconds = contender.ended - contender.began
            self.events.append(AttemptEvent(backend.id, seconds, lost, contender.began - self.began))
        else:
            self.shared.traffic.abandoned(backend.id)
