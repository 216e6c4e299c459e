"""The request pipeline of a pool: `Dispatcher.dispatch` calls the stages in their order.

Rules are in `core/`; each stage returns a value. A RequestContext collects the values; only this module writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from lbflask.core import retry
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.cookies import take
from lbflask.core.http.fields import (
    backend_request,
    bodiless_response,
    client_response,
    request_origin,
    te_trailers,
)
from lbflask.core.http.max_forwards import BadMaxForwards, final_answer, with_one_hop_less
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.trace_context import Trace
from lbflask.core.http.types import Fields
from lbflask.core.http.upgrade import requested_upgrade, with_upgrade
from lbflask.core.model import Backend
from lbflask.proxy.attempts import Attempts, RequestAttempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, local_response
from lbflask.proxy.error_response import accept_of, error_response
from lbflask.proxy.hook_stage import HookCalls, call_request_hooks
from lbflask.proxy.informational_stage import pass_interim, run_tunnel
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.rate_limits import RateLimitExceeded, RateLimits
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.telemetry.debug import SWITCH, trace
from lbflask.telemetry.events import RequestEvent
from lbflask.upstream.requests_adapter import BackendRequest, BackendResponse


@dataclass(slots=True, eq=False)
class RequestContext(RequestAttempts):
    """Everything that is decided about one request, and its attempts. `finish` settles it, once."""

    dispatcher: Dispatcher
    client: str
    reason: str  #: for the choice of the first backend
    rate_limit_fields: Fields | None = field(init=False, default=None)
    sticky_backend: Backend | None = field(init=False, default=None)
    trace: Trace | None = field(init=False, default=None)
    status: int = field(init=False, default=0)
    refusal: str = field(init=False, default="")  #: why the request was refused, unless an attempt shows it

    def finish(self, sent: int, cut: str, fault: Fault | None) -> None:
        """Release what the request holds, and emit its event."""
        dispatcher, request = self.dispatcher, self.request
        services = dispatcher.services
        services.in_flight.active.discard(self)
        self.end(fault)
        if SWITCH.enabled:
            seconds, cut = services.clock() - self.began, cut or self.refusal
            trace(self.request_id, "finished", status=self.status, sent=sent, seconds=seconds, cut=cut)
        if not services.listeners:
            return
        event = RequestEvent(
            client=self.client,
            method=request.method,
            target=request.raw_target,
            protocol=request.protocol,
            pool=dispatcher.balancer.pool.name,
            status=self.status,
            sent=sent,
            seconds=services.clock() - self.began,
            attempts=self.events,
            request_id=self.request_id,
            cut=cut or self.refusal,
            route=dispatcher.route,
            received=0 if request.body is None else request.body.received,
            why=self.reason,
            trace=self.trace,
        )
        for listener in services.listeners:
            listener(event)


class Dispatcher:
    """Forwards requests to a pool. Threads and greenlets may share it."""

    def __init__(
        self,
        balancer: PoolBalancer,
        attempts: Attempts,
        settings: ProxySettings,
        services: SharedServices,
        actions: RouteActions | None = None,
        rate_limits: RateLimits | None = None,
    ) -> None:
        self.balancer = balancer
        self._attempts = attempts
        self._settings = settings
        self.services = services
        self.route = "" if actions is None else actions.name
        self._actions = actions
        self._mirror = None if actions is None else actions.mirror
        self._rate_limits = rate_limits
        self._replies = LocalReplies(services, settings, pool=balancer.pool.name)

    def __repr__(self) -> str:
        return f"Dispatcher({self.balancer!r}, route {self.route or '-'})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:  # noqa: C901 - a stage each
        """The response to the request: that of a backend, or a local reply. None after a tunnel has ended."""
        services, settings, balancer = self.services, self._settings, self.balancer
        hop = services.hops.hop(request)
        fields, client, request_id, may_upgrade = backend_request(
            request.fields, hop, request.host, services.new_request_id(), settings.is_trusted
        )
        began = services.clock()
        deadline, reason = began + settings.request, balancer.reason
        context = RequestContext(self._attempts, request, request_id, began, deadline, True, self, client, reason)
        services.in_flight.active.add(context)
        if SWITCH.enabled:
            self._trace_arrival(context)
        try:
            if self._rate_limits is not None:
                context.rate_limit_fields = self._rate_limits.admit(request, client, fields)
            if request.method in ("OPTIONS", "TRACE"):
                forwardable = _one_hop_less(request.method, fields)
                if forwardable is None:
                    return self._final_recipient(context)
                fields = forwardable
            if balancer.cookies is not None:
                fields = fields.copy()
                context.sticky_backend = balancer.sticky_backend(take(fields, balancer.cookies.name))
            upstream, hook_calls = self._upstream_request(context, fields, may_upgrade)
            if self._mirror is not None:
                self._mirror.copy(request, client, upstream, request_id)
            if services.tracing is not None:
                context.trace = services.tracing.begin(upstream.fields)
            safe = request.body is None and request.method in retry.IDEMPOTENT
            key = balancer.key(client, request.target.text, request.fields) if balancer.has_key else None
            plan = balancer.plan(key, safe, context.sticky_backend)
            if hook_calls is not None:
                plan = hook_calls.reorder(plan)
            context.reason = plan.reason
            if SWITCH.enabled:
                trace(request_id, "planned", why=plan.reason)
            response = context.first_response(plan, upstream, context.trace, context.sticky_backend)
        except RateLimitExceeded as fault:
            context.rate_limit_fields = fault.fields
            return self._refuse(context, fault)
        except Fault as fault:
            return self._refuse(context, fault)
        except BaseException:
            services.in_flight.active.discard(context)
            context.end()
            raise
        if response.answer.status == 101:
            self._run_tunnel(context, response)
            return None
        return self._client_response(context, response)

    def _trace_arrival(self, context: RequestContext) -> None:
        request, request_id = context.request, context.request_id
        trace(
            request_id,
            "parsed",
            client=context.client,
            method=request.method,
            target=request.raw_target,
            protocol=request.protocol,
        )
        trace(request_id, "routed", route=self.route, pool=self.balancer.pool.name)

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._replies.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._replies.record_refusal(peer, status, reason, sent)

    def _upstream_request(
        self, context: RequestContext, fields: Fields, may_upgrade: bool
    ) -> tuple[BackendRequest, HookCalls | None]:
        """The request as each backend of the plan gets it, after the hooks. Raises Fault: refused by a hook, or one
        tunnel too many.
        """
        request, exchange = context.request, context.request.server_exchange
        target, upgrade = request.target.text, ""
        if self._actions is not None:
            target, fields = self._actions.edit_request(target, fields)
        on_interim, expects_continue = None, False
        if exchange is not None and request.protocol == "HTTP/1.1":
            on_interim = partial(pass_interim, exchange, self._settings.via)
            expects_continue = request.body is not None and exchange.expects_continue
            if expects_continue:
                fields = [*fields, ("Expect", "100-continue")]
            if may_upgrade and self._settings.tunnels:
                upgrade = self._upgrade(request)
                fields = with_upgrade(fields, upgrade) if upgrade else fields
        hook_calls = None
        if self.services.hooks is not None:
            hook_calls = call_request_hooks(
                self.services.hooks,
                request,
                context.request_id,
                context.client,
                self.balancer.pool.name,
                fields,
            )
            fields = hook_calls.fields
        upstream = BackendRequest(  # by position, since keywords would double the cost
            request.method,
            target,
            fields,
            request.framing,
            request.body,
            context.deadline,
            expects_continue,
            upgrade,
            on_interim,
            None if exchange is None else exchange.on_gone,
            partial(trace, context.request_id) if SWITCH.enabled else None,
        )
        return upstream, hook_calls

    def _upgrade(self, request: ClientRequest) -> str:
        """The protocols that the client would upgrade to; empty for none. Raises Fault for one tunnel too many."""
        upgrade = requested_upgrade(request.fields, request.protocol)
        tunnels = len(self.services.in_flight.tunnels)
        if upgrade and tunnels >= self._settings.tunnels:
            raise Fault(Blame.SELF, Stage.CHOOSE, 503, f"{tunnels} tunnels are open, as many as may be")
        return upgrade

    def _client_response(self, context: RequestContext, response: BackendResponse) -> ClientResponse:
        answer, via = response.answer, self._settings.via
        if answer.status == 204:
            fields = bodiless_response(answer.fields, via)
        elif not answer.cleared:
            fields = client_response(answer.fields, via)
        elif via is None:
            fields = answer.fields
        else:
            fields = [*answer.fields, ("Via", "1.1 " + via)]
        if self._actions is not None:
            fields = self._actions.edit_response(fields)
        if self.balancer.cookies is not None:
            fields = [*fields, *self._set_cookie_fields(context, fields)]
        if context.rate_limit_fields is not None:
            fields = [*fields, *context.rate_limit_fields]
        passes_trailers = answer.framing.chunked and te_trailers(context.request.fields, context.request.protocol)
        if passes_trailers:
            fields = [*fields, *(field for field in answer.fields if field[0].lower() == "trailer")]
        context.status = answer.status
        if SWITCH.enabled:
            trace(context.request_id, "body", length=answer.framing.length, chunked=answer.framing.chunked)
        return ClientResponse(
            f"{answer.status} {answer.reason or reason_phrase(answer.status)}",
            fields,
            response,
            context.finish,
            context.deadline,
            self.services.clock,
            passes_trailers,
        )

    def _set_cookie_fields(self, context: RequestContext, fields: Fields) -> Fields:
        """Set-Cookie fields for a session that was created or moved, in a response with these fields."""
        cookies, sticky_backend, serving_id = self.balancer.cookies, context.sticky_backend, context.serving_id
        if cookies is None or (sticky_backend is not None and sticky_backend.id == serving_id):
            return []
        request = context.request
        hop = self.services.hops.hop(request)
        origin = request_origin(request.fields, hop, request.host, self._settings.is_trusted)
        return cookies.set_cookie_fields(serving_id, request.method, fields, secure=origin.secure)

    def _run_tunnel(self, context: RequestContext, response: BackendResponse) -> None:
        """Pass bytes both ways until the tunnel ends."""
        answer, exchange, settings = response.answer, context.request.server_exchange, self._settings
        if exchange is None:
            raise RuntimeError("a backend has upgraded a request that asked for no upgrade")
        context.status = 101
        protocols = ", ".join([value for name, value in answer.fields if name.lower() == "upgrade"])
        fields = bodiless_response(answer.fields, settings.via)
        fields = [*fields, *self._set_cookie_fields(context, fields), *(context.rate_limit_fields or ())]
        run_tunnel(
            exchange,
            response,
            with_upgrade(fields, protocols),
            context.finish,
            idle_timeout=settings.tunnel_idle,
            in_flight=self.services.in_flight,
        )

    def _final_recipient(self, context: RequestContext) -> ClientResponse:
        """The response to a request whose Max-Forwards is 0: the balancer is its final recipient (RFC 9110 §7.6.2)."""
        request = context.request
        status, fields, body = final_answer(
            request.method, request.raw_target, request.protocol, request.fields, self._settings.via
        )
        context.status = int(status[:3])
        return ClientResponse(status, fields, body, context.finish)

    def _refuse(self, context: RequestContext, fault: Fault) -> ClientResponse:
        request = context.request
        retry_after = self._settings.retry_after if fault.status == 503 else None
        status, fields, body = error_response(fault, accept_of(request.fields), self._settings, retry_after)
        if self._actions is not None:
            fields = self._actions.edit_response(fields)
        fields = [*fields, *(context.rate_limit_fields or ())]
        context.status = fault.status
        if not context.events or fault.blame is Blame.CLIENT:
            context.refusal = fault.reason
        return local_response(request.method, status, fields, body, context.finish)


def _one_hop_less(method: str, fields: Fields) -> Fields | None:
    try:
        return with_one_hop_less(method, fields)
    except BadMaxForwards as bad:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, str(bad)) from None
