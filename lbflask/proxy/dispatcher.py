"""The life of a request: gather what is known, plan the order of backends, attempt, settle.

Everything that decides is a call into `core/`; this file only goes through the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from lbflask.core import retry
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.cookies import take
from lbflask.core.http.fields import (
    Fields,
    RequestHead,
    backend_request,
    bodiless_response,
    client_response,
    request_origin,
    te_trailers,
)
from lbflask.core.http.max_forwards import BadMaxForwards, final_answer, with_one_hop_less
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.upgrade import requested_upgrade, with_upgrade
from lbflask.proxy import hook_stage
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer, Preferred
from lbflask.proxy.client_request import ClientRequest, ServerExchange
from lbflask.proxy.client_response import ClientResponse, own_reply, refusal
from lbflask.proxy.context import ProxySettings, RequestContext, SharedServices
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.telemetry.debug import SWITCH, trace
from lbflask.telemetry.events import RequestEvent
from lbflask.upstream.requests_adapter import BackendRequest, BackendResponse
from lbflask.upstream.shortage import shortage
from lbflask.upstream.tunnel import Tunnel


class Dispatcher:
    """Forwards requests to a pool. Threads and greenlets may share it."""

    def __init__(
        self,
        balancing: PoolBalancer,
        attempts: Attempts,
        rules: ProxySettings,
        house: SharedServices,
        course: RouteActions | None = None,
        rate_limits: RateLimits | None = None,
    ) -> None:
        self._rate_limits = rate_limits
        self._balancing = balancing
        self._sticky = balancing.sticky
        self._attempts = attempts
        self._rules = rules
        self._occupancy = house.occupancy
        self._hop = house.hops.of
        self._clock = house.clock
        self._new_request_id = house.new_request_id
        self._listeners = house.listeners
        self._hooks = house.hooks
        self._tracing = house.tracing
        self._course = course
        self._route = "" if course is None else course.name
        mirrors = course is not None and course.mirror is not None
        self._stops_by = mirrors or house.hooks is not None or house.tracing is not None
        own = LocalReplies(house, rules, pool=balancing.pool.name)
        self.refuse = own.refuse
        self.record_refusal = own.record_refusal

    def dispatch(self, inbound: ClientRequest) -> ClientResponse | None:  # noqa: C901 - a stage each
        """The reply to the request: a backend's answer or a refusal. None when the connection became a tunnel, and the
        tunnel has ended.
        """
        rules = self._rules
        hop = self._hop(inbound)
        head = backend_request(
            inbound.fields,
            hop,
            host=inbound.host,
            request_id=self._new_request_id(),
            is_trusted=rules.is_trusted,
        )
        began = self._clock()
        exchange = RequestContext(inbound, began, head.client, head.request_id, began + rules.request)
        self._occupancy.active += 1
        if SWITCH.enabled:
            self._trace_arrival(exchange)
        try:
            if self._rate_limits is not None:
                self._rate_limits.admit(exchange, head.fields)
            if inbound.method in ("OPTIONS", "TRACE"):
                fields = _one_hop_less(inbound.method, head.fields)
                if fields is None:
                    return self._answer_ourselves(exchange)
                head = head._replace(fields=fields)
            if self._sticky is not None:
                exchange.home = self._balancing.home(take(head.fields, self._sticky.name))
            request = self._outgoing(exchange, head)
            asked = self._stop_by(exchange, request) if self._stops_by else None
            safe = inbound.body is None and inbound.method in retry.IDEMPOTENT
            plan = self._balancing.order(inbound, head.client, safe=safe, home=exchange.home)
            if exchange.home is not None:
                exchange.why = "sticky"
            elif type(plan) is Preferred:
                exchange.why = plan.why
            if asked is not None:
                plan = asked.order(exchange, plan)
            if SWITCH.enabled:
                trace(exchange.request_id, "planned", why=exchange.why or self._balancing.why)
            response = self._attempts.first_response(exchange, plan, request)
        except Fault as fault:
            return self._refuse(exchange, fault)
        except BaseException:
            self._leave(exchange)
            raise
        if response.answer.status == 101:
            self._tunnel(exchange, response)
            return None
        return self._pass_on(exchange, response)

    def _trace_arrival(self, exchange: RequestContext) -> None:
        inbound = exchange.inbound
        trace(
            exchange.request_id,
            "parsed",
            client=exchange.client,
            method=inbound.method,
            target=inbound.raw_target,
            protocol=inbound.protocol,
        )
        trace(exchange.request_id, "routed", route=self._route, pool=self._balancing.pool.name)

    def _stop_by(self, exchange: RequestContext, request: BackendRequest) -> hook_stage.HookCalls | None:
        """Let everybody have a look, or a say, who is not there by default. Raises the Fault of a refusal."""
        asked = None
        if self._hooks is not None:
            asked = hook_stage.ask(self._hooks, exchange, request, self._balancing.pool.name)
        if self._course is not None and self._course.mirror is not None:
            self._course.mirror(exchange.inbound, exchange.client, request)
        if self._tracing is not None:
            exchange.trace = self._tracing.begin(request.fields)
        return asked

    def _outgoing(self, exchange: RequestContext, head: RequestHead) -> BackendRequest:
        """The request as each backend of the plan is to get it. Raises Fault when it would be a tunnel too many."""
        inbound, rules = exchange.inbound, self._rules
        request = BackendRequest(inbound.method, inbound.target.text, head.fields, inbound.framing, inbound.body)
        request.deadline = exchange.deadline
        if SWITCH.enabled:
            request.trace = partial(trace, exchange.request_id)
        if self._course is not None:
            self._course.change(request)
        host = inbound.host_exchange
        if host is None:
            return request
        request.on_gone = host.on_gone
        if inbound.protocol != "HTTP/1.1":
            return request
        request.on_interim = partial(self._pass_interim, host)
        if host.expects_continue and inbound.body is not None:
            request.expects_continue = True
            request.fields = [*request.fields, ("Expect", "100-continue")]
        if head.upgrade and rules.tunnels:
            request.upgrade = requested_upgrade(inbound.fields, inbound.protocol)
            if request.upgrade:
                if self._occupancy.tunnels >= rules.tunnels:
                    raise Fault(
                        Blame.SELF, Stage.CHOOSE, 503, f"{self._occupancy.tunnels} tunnels are open, as many as may be"
                    )
                request.fields = with_upgrade(request.fields, request.upgrade)
        return request

    def _pass_on(self, exchange: RequestContext, response: BackendResponse) -> ClientResponse:
        answer = response.answer
        reason = answer.reason or reason_phrase(answer.status)
        fields, via = answer.fields, self._rules.via
        if answer.status == 204:
            fields = bodiless_response(fields, via)
        elif not answer.cleared:
            fields = client_response(fields, via)
        elif via is not None:
            fields.append(("Via", "1.1 " + via))
        if self._course is not None:
            fields = self._course.of_response(fields)
        if self._sticky is not None:
            fields += self._home_told(exchange, fields)
        if self._rate_limits is not None:
            fields += exchange.limits_told
        if SWITCH.enabled:
            trace(exchange.request_id, "body", length=answer.framing.length, chunked=answer.framing.chunked)
        ended = self._settler(exchange, answer.status)
        reply = ClientResponse(f"{answer.status} {reason}", fields, response, ended, deadline=exchange.deadline)
        if answer.framing.chunked and te_trailers(exchange.inbound.fields, exchange.inbound.protocol):
            reply.passes_trailers = True
            fields += [field for field in answer.fields if field[0].lower() == "trailer"]
        return reply

    def _home_told(self, exchange: RequestContext, fields: Fields) -> Fields:
        """What a response with these fields tells the client of where its session is, if it is not where it was."""
        home = exchange.home
        if self._sticky is None or (home is not None and home.id == exchange.serving):
            return []
        inbound = exchange.inbound
        origin = request_origin(inbound.fields, self._hop(inbound), inbound.host, self._rules.is_trusted)
        return self._sticky.told(exchange.serving, inbound.method, fields, secure=origin.secure)

    def _pass_interim(self, host: ServerExchange, status: int, reason: str, fields: Fields) -> None:
        """103 tells the client what to fetch meanwhile (RFC 8297); 102 only says that there is somebody (RFC 2518)."""
        if status != 103:
            return
        try:
            host.interim(f"103 {reason or 'Early Hints'}", bodiless_response(fields, self._rules.via))
        except OSError:
            raise Fault(Blame.CLIENT, Stage.WAIT, 499, "the client hung up") from None

    def _tunnel(self, exchange: RequestContext, response: BackendResponse) -> None:
        """Pass bytes both ways until it is over."""
        answer, host = response.answer, exchange.inbound.host_exchange
        if host is None:
            raise RuntimeError("an upgrade that nobody could have asked for")
        ended, cut = self._settler(exchange, 101), ""
        tunnel: Tunnel | None = None
        self._occupancy.tunnels += 1
        try:
            granted = ", ".join([value for name, value in answer.fields if name.lower() == "upgrade"])
            passed = bodiless_response(answer.fields, self._rules.via)
            fields = with_upgrade([*passed, *self._home_told(exchange, passed), *exchange.limits_told], granted)
            client, early = host.upgrade(f"101 {answer.reason or 'Switching Protocols'}", fields)
            tunnel = Tunnel(client, answer.connection.wire, self._rules.tunnel_idle)
            tunnel.run(early, answer.early)
            cut = f"nothing was said for {self._rules.tunnel_idle:g} s" if tunnel.timed_out else ""
        except OSError as error:
            lack = shortage(error, Stage.BODY)
            cut = "the client hung up" if lack is None else lack.reason
        finally:
            self._occupancy.tunnels -= 1
            response.close()
            ended(tunnel.down if tunnel else 0, cut, None)

    def _answer_ourselves(self, exchange: RequestContext) -> ClientResponse:
        """The request was to go no further than here (RFC 9110 §7.6.2)."""
        inbound = exchange.inbound
        status, fields, body = final_answer(
            inbound.method, inbound.raw_target, inbound.protocol, inbound.fields, self._rules.via
        )
        return ClientResponse(status, fields, body, self._settler(exchange, int(status[:3])))

    def _refuse(self, exchange: RequestContext, fault: Fault) -> ClientResponse:
        accept = next((value for name, value in exchange.inbound.fields if name.lower() == "accept"), "")
        retry_after = self._rules.retry_after if fault.status == 503 else None
        status, fields, body = refusal(fault, accept, retry_after, self._rules.via, self._rules.pages)
        if self._course is not None:
            fields = self._course.of_response(fields)
        fields += exchange.limits_told
        told = fault.reason if not exchange.attempts or fault.blame is Blame.CLIENT else ""
        ended = self._settler(exchange, fault.status, told)
        return own_reply(exchange.inbound.method, status, fields, body, ended)

    def _settler(
        self, exchange: RequestContext, status: int, refused: str = ""
    ) -> Callable[[int, str, Fault | None], None]:
        def ended(sent: int, cut: str, fault: Fault | None) -> None:
            self._leave(exchange, fault)
            if SWITCH.enabled:
                seconds = self._clock() - exchange.began
                trace(exchange.request_id, "finished", status=status, sent=sent, seconds=seconds, cut=cut or refused)
            if not self._listeners:
                return
            if fault is not None and exchange.attempts:
                last = exchange.attempts[-1]
                exchange.attempts[-1] = replace(last, fault=fault)
            inbound = exchange.inbound
            event = RequestEvent(
                client=exchange.client,
                method=inbound.method,
                target=inbound.raw_target,
                protocol=inbound.protocol,
                pool=self._balancing.pool.name,
                status=status,
                sent=sent,
                seconds=self._clock() - exchange.began,
                attempts=exchange.attempts,
                request_id=exchange.request_id,
                cut=cut or refused,
                route=self._route,
                received=0 if inbound.body is None else inbound.body.taken,
                why=exchange.why or self._balancing.why,
                trace=exchange.trace,
            )
            for listener in self._listeners:
                listener(event)

        return ended

    def _leave(self, exchange: RequestContext, fault: Fault | None = None) -> None:
        self._occupancy.active -= 1
        if exchange.serving:
            self._attempts.ended(exchange, fault)
        if exchange.retrying:
            exchange.retrying = False
            self._occupancy.retrying -= 1


def _one_hop_less(method: str, fields: Fields) -> Fields | None:
    try:
        return with_one_hop_less(method, fields)
    except BadMaxForwards as bad:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, str(bad)) from None
