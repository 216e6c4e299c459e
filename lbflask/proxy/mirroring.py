"""Copies of requests for another pool, whose responses are discarded. They neither delay nor fail the original."""

from __future__ import annotations

import _thread
import logging
import random
from collections.abc import Callable
from itertools import islice

from lbflask.core import retry
from lbflask.core.faults import Fault
from lbflask.core.planning import Plan
from lbflask.proxy.attempts import Attempts, RequestAttempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.services import MAX_MIRRORED, SharedServices
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.stream import NEVER

log = logging.getLogger("lbflask")

#: Bytes of the largest body that is sent twice; with MAX_MIRRORED it bounds the memory of copies.
MAX_BODY = 1 << 18
#: Bytes of a response that are read to keep its connection; a longer response is cut.
MAX_RESPONSE = 1 << 18


class Mirroring:
    """Sends a percentage of the requests to another pool too. Threads and greenlets may share it."""

    def __init__(
        self,
        balancer: PoolBalancer,
        attempts: Attempts,
        percent: float,
        services: SharedServices,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._balancer = balancer
        self._attempts = attempts
        self._percent = percent
        self._services = services
        self._random_share = random_share

    def __repr__(self) -> str:
        return f"Mirroring({self._percent:g} % to {self._balancer!r})"

    def copy(self, request: ClientRequest, client: str, upstream: BackendRequest, request_id: str) -> None:
        """Send a copy of the upstream request, if the random share selects it and few enough copies are in flight.

        Tunnels and requests with a body that is large or not completely received are never copied. In traces the
        copy has the id of the request with `+mirror` behind it.
        """
        body = request.body
        if upstream.upgrade or (body is not None and (body.whole is None or len(body.whole) > MAX_BODY)):
            return
        if self._percent < 100 and self._random_share() * 100 >= self._percent:
            return
        in_flight = self._services.in_flight
        if len(in_flight.mirrored) >= MAX_MIRRORED:
            in_flight.skip_copy()
            return
        copy = BackendRequest(request.method, upstream.target, [*upstream.fields], upstream.framing, body)
        in_flight.mirrored.add(copy)
        try:
            # Not a Thread: its start() waits until the thread runs.
            _thread.start_new_thread(self._send, (request, client, copy, f"{request_id}+mirror"))
        except RuntimeError:  # the process can't start more threads
            in_flight.mirrored.discard(copy)
            in_flight.skip_copy()

    def _send(self, request: ClientRequest, client: str, copy: BackendRequest, request_id: str) -> None:
        attempts = RequestAttempts(self._attempts, request, request_id, self._services.clock(), NEVER, False)
        cut: Fault | None = None
        try:
            safe = request.body is None and request.method in retry.IDEMPOTENT
            plan = self._balancer.plan(self._balancer.key(client, request.target.text, request.fields), safe=safe)
            first = Plan(backends=islice(plan.backends, 1), reason=plan.reason)
            _discard(attempts.first_response(first, copy))
        except Fault as fault:
            cut = fault  # counts for the ejection of the backend
        except Exception:
            log.exception("a copy of a request could not be sent")
        finally:
            attempts.end(cut)
            self._services.in_flight.mirrored.discard(copy)


def _discard(response: BackendResponse) -> None:
    """Read a short response to its end, so that its connection can be reused."""
    received = 0
    try:
        for piece in response.answer.pieces():
            received += len(piece)
            if received > MAX_RESPONSE:
                break
    finally:
        response.close()
