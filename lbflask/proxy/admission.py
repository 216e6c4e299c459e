"""Checks that a request must pass before anything is done for it: addresses, credentials. Unused without checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lbflask.core.faults import Fault, NotAdmitted, RefusalResponse
from lbflask.core.http.cookies import with_privacy
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.admitted_request import AdmittedRequest
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.router import Handler


class AdmissionCheck(Protocol):
    """A condition that requests must meet. Threads and greenlets may share it."""

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        """The request as it goes on: the same one, or one with other fields (`ClientRequest.with_fields`).

        `origin` has the address of the client, behind trusted proxies. Raises NotAdmitted, or another Fault.
        """
        ...


class AdmissionHandler:
    """Passes requests to `inner` that all checks admit, in their order. A refusal is a local reply by `replies`."""

    def __init__(self, inner: Handler, checks: Sequence[AdmissionCheck], replies: LocalReplies) -> None:
        self._inner = inner
        self._checks = tuple(checks)
        self._replies = replies

    def __repr__(self) -> str:
        return f"AdmissionHandler({len(self._checks)} checks, {self._inner!r})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """As of Handler."""
        try:
            origin = self._replies.services.hops.origin(request)
            for check in self._checks:
                request = check.admit(request, origin)
        except RefusalResponse as passed:
            status = f"{passed.status} {reason_phrase(passed.status)}"
            fields = [*passed.fields, ("Content-Length", str(len(passed.body)))]
            cause = passed.answer_cause
            return self._replies.respond(request, status, fields, passed.body, cause, passed.reason)
        except NotAdmitted as refusal:
            return self._replies.reject(request, refusal, refusal.fields, refusal.log_reason)
        except Fault as fault:
            return self._replies.reject(request, fault)
        response = self._inner.dispatch(request)
        if response is not None and isinstance(request, AdmittedRequest) and request.reply_fields:
            response.add_fields(with_privacy(request.reply_fields, request.method, response.fields))
        return response

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._replies.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._replies.record_refusal(peer, status, reason, sent)
