"""The life of a request: gather what is known, plan the order of backends, attempt, settle.

Everything that decides is a call into `core/`; this file only goes through the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from lbflask.core import eligibility, retry
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Hop, TrustTest, backend_request, client_response
from lbflask.core.model import Backend, Candidate, Pool, Snapshot
from lbflask.core.strategies import STRATEGIES, Schedule
from lbflask.proxy.inbound import Inbound
from lbflask.proxy.reply import Reply, refusal
from lbflask.state.fleet import Fleet
from lbflask.telemetry.events import AttemptEvent, Listener, RequestEvent
from lbflask.upstream.session import BackendAdapter, BackendRequest, BackendResponse


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of the data plane. Time-outs are in seconds, `retry_after` is what a 503 advises."""

    retries: retry.Policy = field(default_factory=retry.Policy)
    connect: float = 3.0
    first_byte: float = 60.0
    preserve_host: bool = True
    via: str | None = "lbflask"
    retry_after: int = 2
    is_trusted: TrustTest = field(default_factory=TrustTest)
    forwarded: bool = False


class Balancing:
    """A pool's schedule over the backends that may serve now; compiled anew only when these change."""

    def __init__(self, pool: Pool, fleet: Fleet) -> None:
        self.pool = pool
        self._fleet = fleet
        self._snapshot: Snapshot | None = None
        self._candidates: tuple[Candidate, ...] | None = None
        self._schedule: Schedule = STRATEGIES[pool.strategy](())

    def schedule(self) -> Schedule:
        """The schedule for the latest snapshot."""
        snapshot = self._fleet.snapshot(self.pool.name)
        if snapshot is not self._snapshot:
            candidates = eligibility.candidates(self.pool, snapshot)
            if candidates != self._candidates:
                self._candidates = candidates
                self._schedule = STRATEGIES[self.pool.strategy](candidates)
            self._snapshot = snapshot
        return self._schedule


@dataclass(slots=True)
class Exchange:
    """One request on its way: what was tried, and what the client was told."""

    inbound: Inbound
    began: float
    client: str
    request_id: str
    attempts: list[AttemptEvent] = field(default_factory=list)
    retrying: bool = False


class Dispatcher:
    """Forwards requests to a pool. Threads and greenlets may share it."""

    def __init__(
        self,
        balancing: Balancing,
        fleet: Fleet,
        adapter_for: Callable[[str], BackendAdapter],
        rules: Rules,
        *,
        clock: Callable[[], float],
        new_request_id: Callable[[], str],
        listeners: Iterable[Listener] = (),
    ) -> None:
        self._balancing = balancing
        self._fleet = fleet
        self._adapter_for = adapter_for
        self._rules = rules
        self._clock = clock
        self._new_request_id = new_request_id
        self._listeners = tuple(listeners)
        self._active = 0
        self._retrying = 0

    def dispatch(self, inbound: Inbound) -> Reply:
        """The reply to the request; it always comes, as a backend's answer or as a refusal."""
        hop = Hop(
            inbound.peer,
            inbound.scheme,
            inbound.port,
            self._rules.is_trusted(inbound.peer),
            self._new_request_id(),
            self._rules.via,
            self._rules.forwarded,
            inbound.protocol,
        )
        head = backend_request(inbound.fields, hop, host=inbound.host, is_trusted=self._rules.is_trusted)
        exchange = Exchange(inbound, self._clock(), head.client, head.request_id)
        self._active += 1
        try:
            ticket = self._fleet.ticket(self._balancing.pool.name)
            plan = self._balancing.schedule().order(ticket)
            response = self._attempt_all(exchange, plan, head.fields)
        except Fault as fault:
            return self._refuse(exchange, fault)
        except BaseException:
            self._leave(exchange)
            raise
        return self._pass_on(exchange, response)

    def refuse(self, inbound_fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> Reply:
        """The reply to a request that could not even be read."""
        now = self._clock()
        status, fields, body = refusal(inbound_fault, accept, None, self._rules.via)

        def ended(sent: int, cut: str, _: Fault | None) -> None:
            pool, seconds = self._balancing.pool.name, self._clock() - now
            why = cut or inbound_fault.reason
            self._tell(
                RequestEvent(peer, method, target, protocol, pool, inbound_fault.status, sent, seconds, (), "-", why)
            )

        return Reply(status, fields, body, ended)

    def _attempt_all(
        self, exchange: Exchange, plan: Iterable[Backend], fields: list[tuple[str, str]]
    ) -> BackendResponse:
        """The first response that a backend of the plan gives. Raises the Fault that the client is to hear of."""
        inbound, last = exchange.inbound, None
        for tried, backend in enumerate(plan):
            if last is not None and not self._may_retry(exchange, last, tried):
                break
            try:
                return self._attempt(exchange, backend, fields, fresh=False)
            except Fault as fault:
                last = fault
            if retry.went_stale(last) and retry.replayable(last, inbound.method, _touched(inbound)):
                try:
                    return self._attempt(exchange, backend, fields, fresh=True)
                except Fault as fault:
                    last = fault
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the request now")

    def _may_retry(self, exchange: Exchange, fault: Fault, tried: int) -> bool:
        policy, inbound = self._rules.retries, exchange.inbound
        if tried > policy.attempts or not retry.replayable(fault, inbound.method, _touched(inbound)):
            return False
        if not exchange.retrying:
            if not retry.within_budget(policy, self._active, self._retrying):
                return False
            exchange.retrying = True
            self._retrying += 1
        return True

    def _attempt(
        self, exchange: Exchange, backend: Backend, fields: list[tuple[str, str]], fresh: bool
    ) -> BackendResponse:
        inbound, rules = exchange.inbound, self._rules
        host = inbound.host if rules.preserve_host and inbound.host else backend.authority
        request = BackendRequest(
            inbound.method,
            backend.url,
            backend.address,
            inbound.target.text,
            [("Host", host), *fields],
            inbound.framing,
            inbound.body,
            fresh,
        )
        began = self._clock()
        try:
            response = self._adapter_for(backend.url).send(request, timeout=(rules.connect, rules.first_byte))
        except Fault as fault:
            exchange.attempts.append(AttemptEvent(backend.id, self._clock() - began, fault))
            if fault.stage is Stage.CONNECT and fault.blame is Blame.BACKEND:
                self._fleet.suspect(self._balancing.pool.name, backend.id)
            raise
        exchange.attempts.append(AttemptEvent(backend.id, self._clock() - began))
        return response

    def _pass_on(self, exchange: Exchange, response: BackendResponse) -> Reply:
        answer = response.answer
        reason = answer.reason or _phrase(answer.status)
        fields = client_response(answer.fields, self._rules.via)
        return Reply(f"{answer.status} {reason}", fields, response, self._settler(exchange, answer.status))

    def _refuse(self, exchange: Exchange, fault: Fault) -> Reply:
        accept = next((value for name, value in exchange.inbound.fields if name.lower() == "accept"), "")
        retry_after = self._rules.retry_after if fault.status == 503 else None
        status, fields, body = refusal(fault, accept, retry_after, self._rules.via)
        told = fault.reason if not exchange.attempts or fault.blame is Blame.CLIENT else ""
        return Reply(status, fields, body, self._settler(exchange, fault.status, told))

    def _settler(self, exchange: Exchange, status: int, refused: str = "") -> Callable[[int, str, Fault | None], None]:
        def ended(sent: int, cut: str, fault: Fault | None) -> None:
            self._leave(exchange)
            if not self._listeners:
                return
            if fault is not None and exchange.attempts:
                last = exchange.attempts[-1]
                exchange.attempts[-1] = AttemptEvent(last.backend, last.seconds, fault)
            inbound = exchange.inbound
            event = RequestEvent(
                exchange.client,
                inbound.method,
                inbound.raw_target,
                inbound.protocol,
                self._balancing.pool.name,
                status,
                sent,
                self._clock() - exchange.began,
                exchange.attempts,
                exchange.request_id,
                cut or refused,
            )
            self._tell(event)

        return ended

    def _leave(self, exchange: Exchange) -> None:
        self._active -= 1
        if exchange.retrying:
            exchange.retrying = False
            self._retrying -= 1

    def _tell(self, event: RequestEvent) -> None:
        for listener in self._listeners:
            listener(event)


def _touched(inbound: Inbound) -> bool:
    return inbound.body is not None and inbound.body.touched


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
