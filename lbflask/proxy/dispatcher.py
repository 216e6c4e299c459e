"""The request pipeline of a pool: `Dispatcher.dispatch` calls the stages in their order.

Rules are in `core/`; each stage returns a value. A RequestContext collects the values; only this module writes it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from lbflask.core import retry
from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, NotAdmitted
from lbflask.core.http.compression import with_strong_tags
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.fields import backend_request, bodiless_response, te_trailers
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.trace_context import Trace
from lbflask.core.http.types import Fields
from lbflask.core.http.upgrade import with_upgrade
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.model import Backend
from lbflask.proxy.attempts import MAX_ASIDE, Attempts, RequestAttempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.buffering import Buffering
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, local_response
from lbflask.proxy.error_response import accept_of, error_response
from lbflask.proxy.final_recipient import final_response
from lbflask.proxy.hook_stage import HookCalls, call_request_hooks
from lbflask.proxy.informational_stage import run_tunnel, upgrade_of
from lbflask.proxy.internal_files import InternalFiles
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.rate_limits import RateLimitExceeded, RateLimits
from lbflask.proxy.request_facts import facts_of
from lbflask.proxy.response_rules import ResponseRules
from lbflask.proxy.route_actions import RouteActions
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.stated_client import stated_client_for
from lbflask.telemetry.debug import SWITCH, trace, trace_arrival
from lbflask.telemetry.events import RequestEvent
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse


class RequestContext(RequestAttempts):
    """Everything that is decided about one request, and its attempts. `finish` settles it, once."""

    rate_limit_fields: Fields | None = None
    sticky_backend: Backend | None = None
    hook_calls: HookCalls | None = None
    trace: Trace | None = None
    status: int = 0
    refusal: str = ""  #: why the request was refused, unless an attempt shows it
    cause: AnswerCause | None = None  #: of a response of the balancer's own
    limit: str = ""  #: the exceeded rate limit

    def __init__(
        self, dispatcher: Dispatcher, request: ClientRequest, request_id: str, began: float, client: str
    ) -> None:
        super().__init__(dispatcher.attempts, request, request_id, began, began + dispatcher.settings.request, True)
        self.dispatcher = dispatcher
        self.client = client
        self.reason = dispatcher.balancer.reason  #: for the choice of the first backend
        # Here, since mypyc makes no default of a union of three types.
        self.fields: Fields | FieldLines | None = None  #: of the response

    def facts(self) -> RequestFacts:
        """What the variables of header values stand for."""
        of = self.dispatcher
        found = self.request_id, self.serving_id or "", of.balancer.pool.name, of.route
        return facts_of(self.request, of.services.hops, found)

    def finish(self, sent: int, cut: str, fault: Fault | None, cause: AnswerCause | None = None) -> None:
        """Release what the request holds, and emit its event."""
        dispatcher, request = self.dispatcher, self.request
        services = dispatcher.services
        services.in_flight.active.discard(self)
        self.end(fault)
        if request.body is not None:
            request.body.release()
        if SWITCH.enabled:
            seconds, cut = services.clock() - self.began, cut or self.refusal
            trace(self.request_id, "finished", status=self.status, sent=sent, seconds=seconds, cut=cut)
        cause = self.cause or cause
        if services.note_answer is not None and cause is None:
            services.note_answer((self.status, self.client))
            return
        event = RequestEvent(
            client=self.client, method=request.method, target=request.raw_target, protocol=request.protocol,
            pool=dispatcher.balancer.pool.name, status=self.status, sent=sent, seconds=services.clock() - self.began,
            attempts=self.events, request_id=self.request_id, cut=cut or self.refusal, route=dispatcher.route,
            received=0 if request.body is None else request.body.received, why=self.reason, trace=self.trace,
            fields=self.fields, facts=self.facts() if services.logs_facts else None, queued=self.queued,
            user=request.user,
        )  # fmt: skip
        if cause is not None:
            event.cause, event.limit = cause, self.limit
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
        self.balancer, self.attempts = balancer, attempts
        self.settings, self.services = settings, services
        self.route = "" if actions is None else actions.name
        self._actions, self._request_edits = actions, settings.request_edits
        self._mirror, self._stated = None if actions is None else actions.mirror, stated_client_for(settings)
        self._rate_limits, self._body_limit = rate_limits, settings.body_limit
        self._via_line = b"" if settings.via is None else f"Via: 1.1 {settings.via}\r\n".encode("latin-1")
        self._rules, self._compression = ResponseRules(settings), settings.compression
        changed_by_hooks = services.hooks is not None and services.hooks.has_response_head
        self._passes_lines = balancer.cookies is None and self._rules.changes_nothing and not changed_by_hooks
        self._replies = LocalReplies(services, settings, pool=balancer.pool.name)
        self._buffering = None if settings.buffering is None else Buffering(settings.buffering, services)

    def __repr__(self) -> str:
        return f"Dispatcher({self.balancer!r}, route {self.route or '-'})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:  # noqa: C901 - a stage each
        """The response to the request: that of a backend, or a local reply. None after a tunnel has ended."""
        services, settings, balancer = self.services, self.settings, self.balancer
        hop = services.hops.hop(request)
        fields, client, request_id, may_upgrade = backend_request(
            request.fields, hop, request.host, services.new_request_id(), settings.is_trusted
        )
        context = RequestContext(self, request, request_id, services.clock(), client)
        services.in_flight.active.add(context)
        if SWITCH.enabled:
            head = client, request.method, request.raw_target, request.protocol
            trace_arrival(request_id, head, self.route, balancer.pool.name)
        try:
            if self._rate_limits is not None:
                context.rate_limit_fields = self._rate_limits.admit(request, client, fields)
            if self._body_limit and request.body is not None:
                request.body.set_limit(self._body_limit)
            if request.method in ("OPTIONS", "TRACE"):
                answer, fields = final_response(request, fields, settings.cors, settings.via)
                if answer is not None:
                    return self._local_answer(context, *answer)
            if balancer.cookies is not None:
                fields = fields.copy()
                context.sticky_backend = balancer.sticky_backend(balancer.cookies.take(fields))
            upstream, hook_calls = self._upstream_request(context, fields, may_upgrade)
            if self._mirror is not None:
                self._mirror.copy(request, client, upstream, request_id)
            if services.tracing is not None:
                context.trace = services.tracing.begin(upstream.fields)
            safe = request.body is None and request.method in retry.IDEMPOTENT
            key = balancer.key(client, request.target.text, request.fields) if balancer.has_key else None
            plan = balancer.plan(key, safe, context.sticky_backend)
            if hook_calls is not None:
                context.hook_calls = hook_calls
                plan = hook_calls.reorder(plan)
            context.reason = plan.reason
            if SWITCH.enabled:
                trace(request_id, "planned", why=plan.reason)
            response = context.first_response(plan, upstream, context.trace, context.sticky_backend)
        except RateLimitExceeded as exceeded:
            context.rate_limit_fields = exceeded.fields
            return self._refuse(context, exceeded)
        except Fault as fault:
            return self._refuse(context, fault)
        except BaseException as error:
            self._abandon(context, error)
            raise
        if response.answer.status == 101:
            self._run_tunnel(context, response)
            return None
        return self._client_response(context, response)

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
        request, exchange, body = context.request, context.request.server_exchange, context.request.body
        target, upgrade, framing, edits = request.target.text, "", request.framing, self._request_edits
        stored = None if self._buffering is None else self._buffering.begin(request)
        if self._actions is not None:
            target = self._actions.target(target)
        if self._compression is not None:
            fields = with_strong_tags(fields)
        if edits is not None:
            fields = edits.of(fields, context.facts() if edits.needs_facts else None)
        on_interim, expects_continue = None, False
        if exchange is not None and request.protocol == "HTTP/1.1":
            on_interim = context.pass_interim
            expects_continue = body is not None and stored is None and exchange.expects_continue
            if expects_continue:
                fields = [*fields, ("Expect", "100-continue")]
            if may_upgrade and (tunnels := self.settings.tunnels):
                upgrade = upgrade_of(request, tunnels, self.services.in_flight)
                fields = with_upgrade(fields, upgrade) if upgrade else fields
        hook_calls = None
        if self.services.hooks is not None:
            known = context.request_id, context.client, self.balancer.pool.name
            hook_calls = call_request_hooks(self.services.hooks, request, *known, fields)
            fields = hook_calls.fields
        if self._buffering is not None and stored is not None:
            framing = self._buffering.store(request, stored, context.deadline)
        on_gone = None if exchange is None else exchange.on_gone
        on_step = partial(trace, context.request_id) if SWITCH.enabled else None
        # By position, since keywords would double the cost.
        upstream = BackendRequest(
            request.method, target, fields, framing, body, context.deadline, expects_continue, upgrade, on_interim,
            on_gone, on_step,
        )  # fmt: skip
        if self._stated is not None:
            self._stated.complete(upstream, request, context.client)
        return upstream, hook_calls

    def _client_response(self, context: RequestContext, response: BackendResponse) -> ClientResponse:
        answer, lines, passes_trailers = response.answer, response.answer.lines, False
        if self._rules.has_pages and (page := self._rules.page_for(context.request, answer.status)) is not None:
            return self._page_response(context, response, page)
        fields: Fields | FieldLines
        compressor = None
        if lines is not None and self._passes_lines and context.rate_limit_fields is None and answer.status != 204:
            fields = (lines[0] + self._via_line, lines[1], lines[2]) if self._via_line else lines
        else:
            files = self.settings.internal_files
            if files is not None and (replaced := self._file(context, response, files)) is not None:
                return replaced
            passed = self._rules.passed_fields(context.request, answer, context.facts)
            fields = self._edited_fields(context, answer.status, passed)
            passes_trailers = answer.framing.chunked and te_trailers(context.request.fields, context.request.protocol)
            if passes_trailers:
                fields = [*fields, *(field for field in answer.fields if field[0].lower() == "trailer")]
            if self._compression is not None:
                fields, compressor = self._compression.begin(context.request, answer.status, fields)
        context.status, context.fields = answer.status, fields
        if SWITCH.enabled:
            trace(context.request_id, "body", length=answer.framing.length, chunked=answer.framing.chunked)
        buffer = None
        if self._buffering is not None:
            buffer = self._buffering.response_buffer(response, context.request.server_exchange, context.end)
        status = f"{answer.status} {answer.reason or reason_phrase(answer.status)}"
        clock, deadline = self.services.clock, context.deadline
        found = ClientResponse(status, fields, response, context.finish, deadline, clock, passes_trailers, buffer)
        if compressor is not None:
            context.fields = found.set_compressor(compressor)
        return found

    def _file(self, context: RequestContext, response: BackendResponse, files: InternalFiles) -> ClientResponse | None:
        """The response with the file that the backend's response names; None if that names none."""
        try:
            found = files.answer(context.request, response.answer, self.settings.via)
        except Fault as fault:
            response.discard()
            context.refusal = fault.reason
            return self._refuse(context, fault)
        if found is None:
            return None
        edited = self._rules.edited(context.request, found.status, found.fields, context.facts)
        fields = self._edited_fields(context, found.status, edited)
        response.discard()
        context.end()  # the backend is free while the client reads
        replaced = found.response(context.request, fields, context.finish, context.deadline, self._compression)
        context.status, context.fields = found.status, replaced.fields
        return replaced

    def _page_response(self, context: RequestContext, response: BackendResponse, page: ErrorPage) -> ClientResponse:
        """The page in the place of the body of a backend's response."""
        answer = response.answer
        passed = self._rules.passed_fields(context.request, answer, context.facts)
        edited = self._edited_fields(context, answer.status, passed)
        fields, body = self._rules.with_page(context.request, answer.status, edited, page)
        with suppress(Fault):  # what the backend fails to send is not needed
            answer.buffer(MAX_ASIDE)
        response.close()
        context.status, context.fields = answer.status, fields
        status = f"{answer.status} {answer.reason or reason_phrase(answer.status)}"
        return local_response(context.request.method, status, fields, body, context.finish)

    def _edited_fields(self, context: RequestContext, status: int, fields: Fields) -> Fields:
        """The fields of the response for the client: as hooks change them, and with those that this balancer adds."""
        if context.hook_calls is not None:
            fields = context.hook_calls.edit(status, fields)
        if self.balancer.cookies is not None:
            fields = [*fields, *self._set_cookie_fields(context, fields)]
        return fields if context.rate_limit_fields is None else [*fields, *context.rate_limit_fields]

    def _set_cookie_fields(self, context: RequestContext, fields: Fields) -> Fields:
        """Set-Cookie fields for a session that was created or moved, in a response with these fields."""
        cookies, request = self.balancer.cookies, context.request
        if cookies is None or (context.sticky_backend is not None and context.sticky_backend.id == context.serving_id):
            return []
        secure = self.services.hops.origin(request).secure
        return cookies.set_cookie_fields(context.serving_id, request.method, fields, secure=secure)

    def _run_tunnel(self, context: RequestContext, response: BackendResponse) -> None:
        """Pass bytes both ways until the tunnel ends."""
        answer, exchange, settings = response.answer, context.request.server_exchange, self.settings
        if exchange is None:
            raise RuntimeError("a backend has upgraded a request that asked for no upgrade")
        context.status, fields = 101, bodiless_response(answer.fields, settings.via)
        fields = [*fields, *self._set_cookie_fields(context, fields), *(context.rate_limit_fields or ())]
        idle, in_flight = settings.tunnel_idle, self.services.in_flight
        run_tunnel(exchange, response, fields, context.finish, idle_timeout=idle, in_flight=in_flight, of=context)

    def _local_answer(self, context: RequestContext, status: str, fields: Fields, body: bytes) -> ClientResponse:
        """The response to a request that the balancer answers in the place of a backend."""
        context.status, context.fields, context.cause = int(status[:3]), fields, AnswerCause.DIRECT_RESPONSE
        return ClientResponse(status, fields, body, context.finish)

    def _abandon(self, context: RequestContext, error: BaseException) -> None:
        """Count a request that ends without a response: by an error of the balancer, or with its worker."""
        failed = isinstance(error, Exception)
        context.status, context.cause = (500, AnswerCause.INTERNAL) if failed else (503, AnswerCause.STOPPED)
        context.finish(0, "the balancer failed" if failed else "the worker has ended", None)

    def _refuse(self, context: RequestContext, fault: Fault) -> ClientResponse:
        request = context.request
        retry_after = self.settings.retry_after if fault.status == 503 else None
        status, fields, body = error_response(fault, accept_of(request.fields), self.settings, retry_after)
        fields = [*self._rules.edited(request, fault.status, fields, context.facts), *(context.rate_limit_fields or ())]
        if isinstance(fault, NotAdmitted):
            fields += fault.fields
        context.status, context.fields, context.cause = fault.status, fields, fault.answer_cause
        context.limit = fault.limit
        if not context.events or fault.blame is Blame.CLIENT:
            context.refusal = fault.reason
        return local_response(request.method, status, fields, body, context.finish)
