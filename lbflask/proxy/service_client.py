"""Asks an HTTP service, over the connections of a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.service_address import ServiceAddress
from lbflask.core.http.types import Fields
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport


class ServiceResponse(NamedTuple):
    """A response with its whole body."""

    status: int
    fields: Fields
    body: bytes


class ServiceClient:
    """The client of one service. Threads and greenlets may share it. `clock` is monotonic, in seconds."""

    def __init__(
        self, address: ServiceAddress, transport: BackendTransport, timeout: float, clock: Callable[[], float]
    ) -> None:
        self.address = address
        self._transport = transport
        self._timeout = timeout
        self._clock = clock

    def __repr__(self) -> str:
        return f"ServiceClient({self.address.origin})"

    def get(self, fields: Fields, most: int) -> ServiceResponse:
        """The response to a GET with these fields, and a body of `most` bytes at most, within the time-out.

        Raises Fault. A connection that was kept, and that the service has closed, costs one more attempt.
        """
        deadline = self._clock() + self._timeout
        try:
            response = self._send(fields, deadline, fresh=False)
        except Fault as fault:
            if not fault.reused or fault.answered:
                raise
            response = self._send(fields, deadline, fresh=True)
        try:
            body = bytearray()
            for piece in response.answer.pieces():
                body += piece
                if len(body) > most:
                    raise Fault(Blame.BACKEND, Stage.BODY, 502, f"sent a body of more than {most} bytes")
        finally:
            response.close()
        return ServiceResponse(response.answer.status, response.answer.fields, bytes(body))

    def _send(self, fields: Fields, deadline: float, *, fresh: bool) -> BackendResponse:
        where = self.address
        request = BackendRequest("GET", where.target, fields, deadline=deadline)
        request.set_destination(where.origin, where.address, where.host, fresh)
        left = max(0.001, deadline - self._clock())
        return self._transport.send(request, (left, left))
