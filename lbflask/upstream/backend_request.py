"""A request as it is sent to a backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import NO_BODY, Framing
from lbflask.core.http.types import Fields
from lbflask.core.http.uwsgi_packet import TooManyVariables, uwsgi_packet
from lbflask.core.model import Address, Backend
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.stream import NEVER, RequestBody

_NOWHERE: Final = Address("", "", 0)
#: The scheme of backends that get a packet in the place of a request line and fields.
UWSGI: Final = "uwsgi"


class BackendRequest:
    """A request as it is sent: raw target, fields in order and with repeats, and one framing.

    `fresh` asks for a new connection; `deadline` is the end of the whole request, in seconds of the monotonic clock.
    `opening` are the first bytes of a new connection. For the rest see `UpstreamRequest`.
    """

    url = ""  #: of the backend, without a path
    address: Address = _NOWHERE
    host = ""
    fresh = False
    opening = b""
    backend_id = ""
    connection: UpstreamConnection | None = None  #: of the latest attempt, once it has one

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a message
        self,
        method: str,
        target: str,
        fields: Fields,
        framing: Framing = NO_BODY,
        body: RequestBody | None = None,
        deadline: float = NEVER,
        expects_continue: bool = False,
        upgrade: str = "",
        on_interim: Callable[[int, str, Fields], None] | None = None,
        on_gone: Callable[[Callable[[], None]], None] | None = None,
        on_step: Callable[..., None] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.framing = framing
        self.body = body
        self.deadline = deadline
        self.expects_continue = self._awaits_continue = expects_continue
        self.upgrade = upgrade
        self.on_interim = on_interim
        self.on_gone = on_gone
        self.on_step = on_step

    def beside(self) -> BackendRequest:
        """The same request of the same client, for an attempt beside this one: without a body, an upgrade, and those
        who wait for informational responses.
        """
        copy = BackendRequest(self.method, self.target, self.fields, deadline=self.deadline, on_step=self.on_step)
        copy.set_client(self.fields, self.opening)
        return copy

    def to(self, backend: Backend, host: str, fresh: bool = False, fields: Fields | None = None) -> BackendRequest:
        """The same request, addressed to a backend, with `host` in its Host field; `fields` replace those before."""
        if fields is not None:
            self.fields = fields
        self.url = backend.url
        self.address = backend.address
        self.backend_id = backend.id
        self.host = host
        self.fresh = fresh
        if self._awaits_continue:  # a server of the uwsgi protocol sends no 100
            self.expects_continue = backend.scheme != UWSGI
        return self

    def set_destination(self, url: str, address: Address, host: str, fresh: bool = False) -> None:
        """Address the request to the server of this URL, with `host` in its Host field."""
        self.url, self.address, self.host, self.fresh = url, address, host, fresh

    def set_fresh(self) -> None:
        """The next attempt is over a new connection."""
        self.fresh = True

    def set_on_gone(self, on_gone: Callable[[Callable[[], None]], None]) -> None:
        """Register by `on_gone` what ends an exchange."""
        self.on_gone = on_gone

    def set_client(self, fields: Fields, opening: bytes) -> None:
        """The client is stated by these fields, which replace those before, and by the first bytes of connections."""
        self.fields, self.opening = fields, opening

    def set_connection(self, connection: UpstreamConnection) -> None:
        """The latest attempt is over this connection."""
        self.connection = connection

    def head(self) -> bytes:
        """The request line and the fields, Host first (RFC 9110 §7.2) and framing last; for a server of the uwsgi
        protocol its packet. Raises Fault for a request that the packet cannot hold.
        """
        if self.address.scheme == UWSGI:
            return self._packet()
        lines = [f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.host}", *map(": ".join, self.fields)]
        if self.framing.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body is not None:
            lines.append(f"Content-Length: {self.framing.length}")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def _packet(self) -> bytes:
        if self.framing.chunked:
            reason = "the uwsgi protocol needs the length of the body, unless `buffering.requests` stores it first"
            raise Fault(Blame.CLIENT, Stage.SEND, 411, reason)
        length = None if self.body is None else self.framing.length
        try:
            return uwsgi_packet(self.method, self.target, self.host, self.fields, length)
        except TooManyVariables as error:
            raise Fault(Blame.CLIENT, Stage.SEND, 431, f"too large for the uwsgi protocol: {error}") from None
