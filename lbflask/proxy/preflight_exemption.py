"""Preflight requests pass a check of credentials: browsers send none with them, and no backend gets them."""

from __future__ import annotations

from lbflask.core.http.cors import is_preflight
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.admission import AdmissionCheck
from lbflask.proxy.client_request import ClientRequest


class PreflightExemption:
    """A check of all requests but preflight ones, for handlers that respond to these by themselves."""

    def __init__(self, check: AdmissionCheck) -> None:
        self._check = check

    def __repr__(self) -> str:
        return f"PreflightExemption({self._check!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        """As of AdmissionCheck."""
        return request if is_preflight(request.method, request.fields) else self._check.admit(request, origin)
