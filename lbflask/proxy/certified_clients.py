"""The check of routes that are for clients with a certificate only."""

from __future__ import annotations

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import NotAdmitted
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.client_request import ClientRequest


class CertifiedClients:
    """Admits requests of connections whose listener has verified a certificate of the client."""

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:  # noqa: ARG002
        """As of AdmissionCheck."""
        if request.server_exchange is None or not request.server_exchange.client_certificates:
            raise NotAdmitted(403, "the request needs a certificate of the client", AnswerCause.ACCESS)
        return request
