"""Drops what clients state of users: the fields that checks of credentials grant, on the routes of all and of none."""

from __future__ import annotations

from collections.abc import Collection

from lbflask.core.http.granted_fields import StatedFields
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.client_request import ClientRequest


class StatedIdentity:
    """Admits all requests, without the fields of these names, in heads and trailers. Threads may share it.

    A backend that trusts such a field on one route reads it on the others too.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._stated = StatedFields(names)

    def __repr__(self) -> str:
        return f"StatedIdentity({self._stated!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:  # noqa: ARG002
        """As of AdmissionCheck."""
        if request.body is not None:
            request.body.set_trailer_rule(self._stated.dropped_from)
        kept = self._stated.dropped_from(request.fields)
        return request if kept is request.fields else request.with_fields(kept)
