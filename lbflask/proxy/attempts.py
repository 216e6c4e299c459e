"""Trying one backend after another until one answers, or until what failed may not be tried again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial

from lbflask.core import retry
from lbflask.core.faults import Blame, Fault, Shortage, Stage
from lbflask.core.model import Backend
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.context import ProxySettings, RequestContext, SharedServices
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.telemetry.debug import SWITCH, trace
from lbflask.telemetry.events import AttemptEvent
from lbflask.upstream.connection import NEVER
from lbflask.upstream.requests_adapter import BackendAdapter, BackendRequest, BackendResponse


class Attempts:
    """The attempts at the backends of one pool. Threads and greenlets may share it."""

    def __init__(
        self,
        pool: str,
        fleet: Fleet,
        adapter: BackendAdapter,
        rules: ProxySettings,
        house: SharedServices,
        waiting: SlotQueue | None = None,
    ) -> None:
        self._waiting = waiting
        #: The first response that a backend of the plan gives. Raises the Fault that the client is to hear of.
        self.first_response = self._first_of if waiting is None else partial(self._first_in_turn, waiting)
        self._pool = pool
        self._fleet = fleet
        self._traffic = fleet.traffic(pool)
        self._sample = self._traffic.sample
        self._send = adapter.send
        self._rules = rules
        self._occupancy = house.occupancy
        self._clock = house.clock
        self._shortages = house.shortages
        self._timeouts = (rules.connect, rules.first_byte)

    def _first_in_turn(
        self, waiting: SlotQueue, exchange: RequestContext, plan: Iterable[Backend], request: BackendRequest
    ) -> BackendResponse:
        with closing(waiting.turns(exchange, plan)) as turns:
            return self._first_of(exchange, turns, request)

    def _first_of(self, exchange: RequestContext, plan: Iterable[Backend], request: BackendRequest) -> BackendResponse:
        inbound, last = exchange.inbound, None
        for tried, backend in enumerate(plan, 1):
            try:
                return self._attempt(exchange, backend, request, fresh=False)
            except Fault as fault:
                last = fault
            if retry.went_stale(last) and retry.replayable(last, inbound.method, _touched(inbound)):
                try:
                    return self._attempt(exchange, backend, request, fresh=True)
                except Fault as fault:
                    last = fault
            if not self._may_retry(exchange, last, tried):
                break
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the request now")

    def ended(self, exchange: RequestContext, fault: Fault | None) -> None:
        """The attempt whose response was passed on is over: whole, or with the fault that broke it off."""
        self._traffic.ended(exchange.serving, fault)
        if isinstance(fault, Shortage):
            self._shortages.note(fault)
        exchange.serving = ""
        if self._waiting is not None:
            self._waiting.over(exchange)

    def _may_retry(self, exchange: RequestContext, fault: Fault, tried: int) -> bool:
        policy, inbound = self._rules.retries, exchange.inbound
        if tried > policy.attempts or not retry.replayable(fault, inbound.method, _touched(inbound)):
            return False
        if not exchange.retrying and retry.costs_budget(fault):
            if not retry.within_budget(policy, self._occupancy.active, self._occupancy.retrying):
                return False
            exchange.retrying = True
            self._occupancy.retrying += 1
        return True

    def _attempt(
        self, exchange: RequestContext, backend: Backend, request: BackendRequest, fresh: bool
    ) -> BackendResponse:
        rules, host = self._rules, exchange.inbound.host
        request.to(backend, host if rules.preserve_host and host else backend.authority, fresh=fresh)
        if exchange.trace is not None:
            request.fields = exchange.trace.attempt()
        if SWITCH.enabled:
            trace(exchange.request_id, "attempt", number=len(exchange.attempts) + 1, backend=backend.id)
        began = self._clock()
        timeouts = self._timeouts
        if exchange.deadline != NEVER:
            timeouts = (min(rules.connect, max(0.001, exchange.deadline - began)), rules.first_byte)
        traffic = self._traffic
        traffic.began(backend.id)
        try:
            response = self._send(request, timeout=timeouts)
        except Fault as fault:
            traffic.failed(backend.id, fault)
            if SWITCH.enabled:
                trace(exchange.request_id, "failed", blame=fault.blame, stage=fault.stage, reason=fault.reason)
            exchange.attempts.append(
                AttemptEvent(backend=backend.id, seconds=self._clock() - began, fault=fault, at=began - exchange.began)
            )
            if fault.stage is Stage.CONNECT and fault.blame is Blame.BACKEND:
                self._fleet.report_unreachable(self._pool, backend.id)
            elif isinstance(fault, Shortage):
                self._shortages.note(fault)
            raise
        except BaseException:
            traffic.ended(backend.id)
            raise
        traffic.answered(backend.id, response.answer.status)
        exchange.serving = backend.id
        if SWITCH.enabled:
            trace(exchange.request_id, "head", status=response.answer.status, seconds=self._clock() - began)
        attempt = AttemptEvent(backend=backend.id, seconds=self._clock() - began, at=began - exchange.began)
        exchange.attempts.append(attempt)
        self._sample(attempt)
        return response


def _touched(inbound: ClientRequest) -> bool:
    return inbound.body is not None and inbound.body.touched
