"""A request with what a check has found about it."""

from __future__ import annotations

from typing import NamedTuple

from lbflask.core.http.types import Fields
from lbflask.proxy.client_request import ClientRequest


class AuthGrant(NamedTuple):
    """What a check has found: fields for backends, and the user."""

    fields: Fields
    user: str


class AdmittedRequest(ClientRequest):
    """The request of an authenticated user, with the fields for the backend. `reply_fields` go to the client, with any
    response.
    """

    __slots__ = ("_received", "_user", "reply_fields")

    def __init__(self, request: ClientRequest, fields: Fields, user: str, reply_fields: Fields | None = None) -> None:
        super().__init__(
            request.method, request.raw_target, request.target, request.protocol, fields, request.host, request.peer,
            request.scheme, request.framing, request.body, request.server_exchange, request.listener,
        )  # fmt: skip
        self._received = request.received_fields
        self._user = user
        self.reply_fields: Fields = reply_fields or []

    @property
    def user(self) -> str:
        """As of ClientRequest."""
        return self._user

    @property
    def received_fields(self) -> Fields:
        """As of ClientRequest."""
        return self._received

    def with_fields(self, fields: Fields) -> ClientRequest:
        """As of ClientRequest."""
        return AdmittedRequest(self, fields, self._user, self.reply_fields)
