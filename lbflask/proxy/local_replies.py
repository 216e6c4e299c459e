"""Local replies: responses that the balancer generates by itself. Their requests have events like all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lbflask.core.answers import AnswerCause, local_answer
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.direct_response import DirectResponse, Redirect
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.fields import credible_fields, request_identity
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.rewrites import Rewrite
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Field, Fields
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.route_match import RequestSource
from lbflask.files.file_region import FileRegion
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, local_response
from lbflask.proxy.compressed_file_response import CompressedFileResponse
from lbflask.proxy.compression import Compressor
from lbflask.proxy.error_response import accept_of, error_response
from lbflask.proxy.file_response import FileResponse
from lbflask.proxy.request_facts import facts_of
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.telemetry.debug import SWITCH, trace, trace_arrival
from lbflask.telemetry.events import AttemptEvent, RequestEvent

NO_ATTEMPTS: Sequence[AttemptEvent] = ()


class LocalReplies:
    """The local replies on behalf of a pool, of a route, or of neither."""

    def __init__(
        self,
        services: SharedServices,
        settings: ProxySettings,
        *,
        pool: str = "",
        route: str = "",
    ) -> None:
        self.services = services
        self.pool = pool
        self.route = route
        self._settings = settings
        self._edits = settings.response_edits

    def __repr__(self) -> str:
        return f"LocalReplies(pool {self.pool or '-'}, route {self.route or '-'})"

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """The response to a request that could not be read."""
        status, fields, body = error_response(fault, accept, self._settings)
        if self._edits is not None:
            # Without those that have variables: there is no request.
            fields = self._edits.of(fields, None, fault.status)
        record = _LocalReply(
            self, plain_address(peer), method, target, protocol, fault.status, fault.answer_cause, reason=fault.reason,
            fields=fields,
        )  # fmt: skip
        return local_response(method, status, fields, body, record.finish)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """Record a request that the server could not read and has refused, with a response body of `sent` bytes."""
        cause = AnswerCause.CLIENT_SLOW if status == 408 else AnswerCause.BAD_REQUEST
        record = _LocalReply(self, plain_address(peer), "-", "-", "-", status, cause, reason=reason)
        record.finish(sent)

    def credible(self, request: ClientRequest) -> Fields:
        """The fields of the request without the claims of untrusted peers about other hops."""
        return credible_fields(request.fields, self.services.hops.hop(request))

    def source(self, request: ClientRequest) -> RequestSource:
        """Where the request came from, as far as trusted proxies tell."""
        origin = self.services.hops.origin(request)
        return RequestSource(origin.client, "https" if origin.secure else "http", request.listener)

    def reject(
        self, request: ClientRequest, fault: Fault, more: Sequence[Field] = (), log_reason: str = ""
    ) -> ClientResponse:
        """The error response to a request that was read and has no destination, with these fields too. `log_reason`,
        for the event, may have what is not for the client.
        """
        status, fields, body = error_response(fault, accept_of(request.fields), self._settings)
        return self.respond(request, status, [*fields, *more], body, fault.answer_cause, log_reason or fault.reason)

    def respond(
        self,
        request: ClientRequest,
        status: str,
        fields: Fields,
        body: bytes,
        cause: AnswerCause = AnswerCause.DIRECT_RESPONSE,
        reason: str = "",
    ) -> ClientResponse:
        """The response with this status line, these fields and this body. `reason` is for the event."""
        record = self._record(request, self._identity(request), status, fields, (cause, reason))
        return local_response(request.method, status, record.fields or [], body, record.finish)

    def respond_directly(
        self, request: ClientRequest, response: DirectResponse | Redirect, target: str, via: Fields
    ) -> ClientResponse:
        """The direct response, whose variables have the path of `target`."""
        identity = self._identity(request)
        facts = replace(self._facts(request, identity[1]), target=target)
        fields, body = response.parts(facts)
        status = f"{response.status} {reason_phrase(response.status)}"
        record = self._record(request, identity, status, fields + via, (AnswerCause.DIRECT_RESPONSE, ""))
        return local_response(request.method, status, record.fields or [], body, record.finish)

    def respond_whole(self, request: ClientRequest, lines: FieldLines, body: bytes) -> ClientResponse:
        """The response with a whole file, whose field lines are known; only where `edits_fields` is false."""
        client, request_id = self._identity(request)
        record = _LocalReply(
            self, client, request.method, request.raw_target, request.protocol, 200, AnswerCause.FILE,
            request_id, "", lines, self._facts(request, request_id) if self.services.logs_facts else None,
            user=request.user,
        )  # fmt: skip
        return local_response(request.method, "200 OK", lines, body, record.finish)

    @property
    def edits_fields(self) -> bool:
        """Whether the fields of responses are edited."""
        return self._edits is not None

    def respond_file(
        self, request: ClientRequest, status: str, fields: Fields, region: FileRegion, compressor: Compressor | None
    ) -> ClientResponse:
        """The response with this status line and these fields, whose body is a part of a file."""
        record = self._record(request, self._identity(request), status, fields, (AnswerCause.FILE, ""))
        if compressor is not None:
            return CompressedFileResponse(status, record.fields or [], region, record.finish, compressor)
        return FileResponse(status, record.fields or [], region, record.finish)

    def _identity(self, request: ClientRequest) -> tuple[str, str]:
        """The client's address and the id of the request."""
        services = self.services
        hop, fresh = services.hops.hop(request), services.new_request_id()
        return request_identity(request.fields, hop, request.host, fresh, self._settings.is_trusted)

    def _record(
        self,
        request: ClientRequest,
        identity: tuple[str, str],
        status: str,
        fields: Fields,
        why: tuple[AnswerCause, str],
    ) -> _LocalReply:
        """The record of a reply, with the fields as the route edits them."""
        client, request_id = identity
        if self._edits is not None:
            facts = self._facts(request, request_id) if self._edits.needs_facts else None
            fields = self._edits.of(fields, facts, int(status[:3]))
        cause, reason = why
        return _LocalReply(
            self, client, request.method, request.raw_target, request.protocol, int(status[:3]), cause,
            request_id=request_id, reason=reason, fields=fields,
            facts=self._facts(request, request_id) if self.services.logs_facts else None, user=request.user,
        )  # fmt: skip

    def _facts(self, request: ClientRequest, request_id: str) -> RequestFacts:
        return facts_of(request, self.services.hops, (request_id, "", self.pool, self.route))


class _LocalReply:
    """A local reply on its way, and its event."""

    __slots__ = (
        "began", "cause", "client", "facts", "fields", "method", "protocol", "reason", "replies", "request_id",
        "status", "target", "user",
    )  # fmt: skip

    # Written out, as in all records that each request makes: that of a dataclass is not compiled.
    def __init__(  # noqa: PLR0913, PLR0917 - all that is known of a reply
        self,
        replies: LocalReplies,
        client: str,
        method: str,
        target: str,
        protocol: str,
        status: int,
        cause: AnswerCause,
        request_id: str = "-",
        reason: str = "",
        fields: Fields | FieldLines | None = None,
        facts: RequestFacts | None = None,
        user: str = "",
    ) -> None:
        self.replies = replies
        self.client = client
        self.method = method
        self.target = target
        self.protocol = protocol
        self.status = status
        self.cause = cause
        self.request_id = request_id
        self.reason = reason
        self.fields = fields
        self.facts = facts
        self.user = user
        self.began = replies.services.clock()

    def __repr__(self) -> str:
        return f"<_LocalReply {self.status} to {self.method} {self.target}>"

    def finish(
        self,
        sent: int,
        cut: str = "",
        fault: Fault | None = None,  # noqa: ARG002
        cut_cause: AnswerCause | None = None,
    ) -> None:
        """Note the answer, or emit its event. `cut_cause` is the cause of a reply that was cut."""
        replies, id_, cause = self.replies, self.request_id, cut_cause or self.cause
        seconds, cut = replies.services.clock() - self.began, cut or self.reason
        if SWITCH.enabled:
            trace_arrival(id_, (self.client, self.method, self.target, self.protocol), replies.route, replies.pool)
            trace(id_, "finished", status=self.status, sent=sent, seconds=seconds, cut=cut)
        if replies.services.note_answer is not None:
            replies.services.note_answer((local_answer(self.status, cause, replies.pool), self.client))
            return
        event = RequestEvent(
            client=self.client,
            method=self.method,
            target=self.target,
            protocol=self.protocol,
            pool=replies.pool,
            status=self.status,
            sent=sent,
            seconds=seconds,
            attempts=NO_ATTEMPTS,
            request_id=id_,
            cut=cut,
            route=replies.route,
            cause=cause,
            fields=self.fields,
            facts=self.facts,
            user=self.user,
        )
        for listener in replies.services.listeners:
            listener(event)


class DirectResponseRoute:
    """A route with a direct response: no backend gets its requests."""

    def __init__(
        self,
        response: DirectResponse | Redirect,
        replies: LocalReplies,
        via: str | None,
        rewrite: Rewrite | None,
    ) -> None:
        self._response = response
        self._replies = replies
        self._via: Fields = [] if via is None else [("Via", "1.1 " + via)]
        self._rewrite = rewrite
        self._fixed = None if response.varies else response.parts(RequestFacts("", "", "", "", "", "", []))
        self._needs_host = isinstance(response, Redirect) and bool(response.template.names & {"host", "authority"})

    def __repr__(self) -> str:
        return f"DirectResponseRoute({self._replies.route}: {self._response.status})"

    def dispatch(self, request: ClientRequest) -> ClientResponse:
        """The direct response to the request."""
        if self._needs_host and not host_of(self._replies.services.hops.origin(request).host):
            return self._replies.reject(request, Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing"))
        if self._fixed is not None:
            fields, body = self._fixed
            status = f"{self._response.status} {reason_phrase(self._response.status)}"
            return self._replies.respond(request, status, fields + self._via, body)
        target = request.target.text
        if self._rewrite is not None:
            target = self._rewrite.of(target)
        return self._replies.respond_directly(request, self._response, target, self._via)
