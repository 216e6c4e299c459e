"""Local replies: responses that the balancer generates by itself. Their requests have events like all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.direct_response import DirectResponse, Redirect
from lbflask.core.http.fields import backend_request, credible_fields
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.paths import with_prefix
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.types import Fields
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, local_response
from lbflask.proxy.error_response import accept_of, error_response
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.telemetry.debug import SWITCH, trace
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
        edits: Edits | None = None,
    ) -> None:
        self.services = services
        self.pool = pool
        self.route = route
        self._settings = settings
        self._edits = edits

    def __repr__(self) -> str:
        return f"LocalReplies(pool {self.pool or '-'}, route {self.route or '-'})"

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """The response to a request that could not be read."""
        status, fields, body = error_response(fault, accept, self._settings)
        record = _LocalReply(self, plain_address(peer), method, target, protocol, fault.status, reason=fault.reason)
        return local_response(method, status, fields, body, record.finish)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """Record a request that the server could not read and has refused, with a response body of `sent` bytes."""
        record = _LocalReply(self, plain_address(peer), "-", "-", "-", status, reason=reason)
        record.finish(sent)

    def credible(self, request: ClientRequest) -> Fields:
        """The fields of the request without the claims of untrusted peers about other hops."""
        return credible_fields(request.fields, self.services.hops.hop(request))

    def reject(self, request: ClientRequest, fault: Fault) -> ClientResponse:
        """The error response to a request that was read and has no destination."""
        status, fields, body = error_response(fault, accept_of(request.fields), self._settings)
        return self.respond(request, status, fields, body, fault.reason)

    def respond(
        self, request: ClientRequest, status: str, fields: Fields, body: bytes, reason: str = ""
    ) -> ClientResponse:
        """The response with this status line, these fields and this body. `reason` is for the event."""
        services = self.services
        # Only for the event: the client's address and the id of the request.
        head = backend_request(
            request.fields,
            services.hops.hop(request),
            host=request.host,
            request_id=services.new_request_id(),
            is_trusted=self._settings.is_trusted,
        )
        if self._edits is not None:
            fields = self._edits.of(fields)
        record = _LocalReply(
            self, head.client, request.method, request.raw_target, request.protocol, int(status[:3]),
            request_id=head.request_id, reason=reason,
        )  # fmt: skip
        return local_response(request.method, status, fields, body, record.finish)


@dataclass(slots=True)
class _LocalReply:
    """A local reply on its way, and its event."""

    replies: LocalReplies
    client: str
    method: str
    target: str
    protocol: str
    status: int
    request_id: str = "-"
    reason: str = ""
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.replies.services.clock()

    def finish(self, sent: int, cut: str = "", fault: Fault | None = None) -> None:  # noqa: ARG002 - as of Finish
        """Emit the event."""
        replies, id_ = self.replies, self.request_id
        seconds, cut = replies.services.clock() - self.began, cut or self.reason
        if SWITCH.enabled:
            trace(id_, "parsed", client=self.client, method=self.method, target=self.target, protocol=self.protocol)
            trace(id_, "routed", route=replies.route, pool=replies.pool)
            trace(id_, "finished", status=self.status, sent=sent, seconds=seconds, cut=cut)
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
        segments: int,
        prefix: str | None,
    ) -> None:
        self._response = response
        self._replies = replies
        self._via: Fields = [] if via is None else [("Via", "1.1 " + via)]
        self._segments = segments
        self._prefix = prefix
        self._needs_host = isinstance(response, Redirect) and "{host}" in response.to

    def __repr__(self) -> str:
        return f"DirectResponseRoute({self._replies.route}: {self._response.status})"

    def dispatch(self, request: ClientRequest) -> ClientResponse:
        """The direct response to the request."""
        if self._needs_host and not request.host:
            return self._replies.reject(request, Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing"))
        target = request.target.text
        if self._prefix is not None:
            target = with_prefix(target, self._segments, self._prefix)
        fields, body = self._response.parts(request.host, target)
        status = f"{self._response.status} {reason_phrase(self._response.status)}"
        return self._replies.respond(request, status, fields + self._via, body)
