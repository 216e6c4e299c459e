"""Copies of requests for a pool whose answers nobody sees. They never delay the original, nor fail it."""

from __future__ import annotations

import _thread
import logging
import random
from collections.abc import Callable
from itertools import islice

from lbflask.core import retry
from lbflask.core.faults import Fault
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.context import RequestContext, SharedServices
from lbflask.upstream.requests_adapter import BackendRequest, BackendResponse

log = logging.getLogger("lbflask")

#: Copies that a worker has on their way at once; beyond these none are made, so that a slow pool costs no more.
MOST_AT_ONCE = 64
#: Bytes of a body that is sent twice: 64 of them are what copies hold at most.
MOST_BODY = 1 << 18
#: Bytes of an answer that are read for the connection's sake; a longer one is cut.
MOST_READ = 1 << 18


class Mirroring:
    """Sends a share of the requests to another pool too. Threads and greenlets may share it."""

    def __init__(
        self,
        balancing: PoolBalancer,
        attempts: Attempts,
        percent: float,
        house: SharedServices,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._balancing = balancing
        self._attempts = attempts
        self._percent = percent
        self._house = house
        self._chance = chance

    def __call__(self, inbound: ClientRequest, client: str, request: BackendRequest) -> None:
        """Send a copy of the request as its backend is to get it, if chance wants it and there is room.

        Not of one whose body is not all here, or is large, nor of one that would be a tunnel.
        """
        body = inbound.body
        if request.upgrade or (body is not None and (body.whole is None or len(body.whole) > MOST_BODY)):
            return
        if self._percent < 100 and self._chance() * 100 >= self._percent:
            return
        occupancy = self._house.occupancy
        if occupancy.mirrored >= MOST_AT_ONCE:
            occupancy.unmirrored += 1
            return
        copy = BackendRequest(inbound.method, request.target, [*request.fields], inbound.framing, body)
        exchange = RequestContext(inbound, self._house.clock(), client, "", waits=False)
        occupancy.mirrored += 1
        try:
            # Not a Thread, which would wait here until it has begun.
            _thread.start_new_thread(self._send, (exchange, copy))
        except RuntimeError:  # no more threads are to be had
            occupancy.mirrored -= 1
            occupancy.unmirrored += 1

    def _send(self, exchange: RequestContext, copy: BackendRequest) -> None:
        broken: Fault | None = None
        try:
            inbound = exchange.inbound
            safe = inbound.body is None and inbound.method in retry.IDEMPOTENT
            plan = self._balancing.order(inbound, exchange.client, safe=safe)
            _discard(self._attempts.first_response(exchange, islice(plan, 1), copy))
        except Fault as fault:
            broken = fault  # nobody waits for the answer, but it says something of the backend
        except Exception:
            log.exception("a copy of a request could not be sent")
        finally:
            if exchange.serving:
                self._attempts.ended(exchange, broken)
            self._house.occupancy.mirrored -= 1


def _discard(response: BackendResponse) -> None:
    """Read a short answer to its end, so that its connection can be used again."""
    read = 0
    try:
        for piece in response.answer.pieces():
            read += len(piece)
            if read > MOST_READ:
                break
    finally:
        response.close()
