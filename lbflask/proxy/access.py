"""The check of clients' addresses."""

from __future__ import annotations

from lbflask.core.access_list import AccessList
from lbflask.core.answers import AnswerCause
from lbflask.core.faults import NotAdmitted
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.client_request import ClientRequest


class AccessCheck:
    """Admits requests of clients whose addresses the list admits (`proxy.admission.AdmissionCheck`)."""

    def __init__(self, access: AccessList) -> None:
        self._access = access

    def __repr__(self) -> str:
        return f"AccessCheck({self._access!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        """As of AdmissionCheck."""
        if self._access.admits(origin.client):
            return request
        reason = "requests from this address are not allowed"
        raise NotAdmitted(403, reason, AnswerCause.ACCESS)
