"""Sends requests to backends over pooled connections, and returns their responses once the heads have arrived."""

from __future__ import annotations

import time

from mypy_extensions import mypyc_attr

from lbflask.core.faults import AttemptTimeout, Fault
from lbflask.core.retry import IDEMPOTENT
from lbflask.upstream.backend_request import UWSGI, BackendRequest
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import MAX_AGE, MAX_IDLE, MAX_KEPT, UNLIMITED, ConnectionPool
from lbflask.upstream.stream import NEVER, BackendAnswer, ExchangeTimeouts, NetworkStream


@mypyc_attr(allow_interpreted_subclasses=True)
class BackendResponse:
    """A response whose body has not been read. The first `release` or `close` ends it; later calls do nothing."""

    def __init__(
        self,
        answer: BackendAnswer,
        connection: UpstreamConnection,
        pool: ConnectionPool,
        origin: str,
        max_kept: int = MAX_KEPT,
    ) -> None:
        #: The response as it arrived: status, reason, fields with repeats, and the pieces of the body.
        self.answer = answer
        self._connection = connection
        self._pool = pool
        self._origin = origin
        self._max_kept = max_kept
        self._released = False

    @property
    def network_stream(self) -> NetworkStream:
        """The stream of the connection, for a tunnel."""
        return self._connection.stream

    def release(self) -> None:
        """The body was read: keep the connection if it may carry another request."""
        if self._released:
            return
        self._released = True
        self._pool.give_back(self._origin, self._connection, self._max_kept)

    def discard(self) -> None:
        """End a response whose body is not used: a connection on which all of it has arrived is kept."""
        self.answer.whole()
        self.close()

    def close(self) -> None:
        """End the response. An unread rest is not drained, which could take for ever: the connection is closed."""
        if self.answer.complete:
            self.release()
        elif not self._released:
            self._released = True
            self._connection.abort()


@mypyc_attr(allow_interpreted_subclasses=True)
class BackendTransport:
    """Sends requests over the connections of a pool that were idle for at most `max_idle` seconds, of which it keeps
    `max_kept` to each backend, until they are `max_age` seconds old or have carried `max_requests`. An attempt without
    a head of a response within `per_attempt` seconds fails; it is not limited while its body is still to arrive. Every
    failure is a Fault. Threads and greenlets may share it.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        between_bytes: float,
        max_idle: float = MAX_IDLE,
        max_kept: int = MAX_KEPT,
        per_attempt: float = NEVER,
        max_age: float = MAX_AGE,
        max_requests: int = UNLIMITED,
    ) -> None:
        self._pool = pool
        self._max_age = max_age
        self._max_requests = max_requests
        self._max_idle = max_idle
        self._max_kept = max_kept
        self._per_attempt = per_attempt
        self._between_bytes = between_bytes
        self._timing = ExchangeTimeouts(between_bytes=between_bytes)

    def __repr__(self) -> str:
        return f"BackendTransport({self._pool!r})"

    def send(self, request: BackendRequest, timeouts: tuple[float, float]) -> BackendResponse:
        """The response, once its head has arrived. `timeouts`: to connect, and of its first byte, in seconds."""
        connect, first_byte = timeouts
        pool, body, deadline, ends = self._pool, request.body, request.deadline, NEVER
        if self._per_attempt != NEVER and (body is None or body.repeatable):
            ends = time.monotonic() + self._per_attempt
            connect, deadline = min(connect, self._per_attempt), min(ends, deadline)
        # A request that may not be retried must not use a connection that the backend has closed.
        once = request.method not in IDEMPOTENT or (body is not None and not body.repeatable)
        connection = None if request.fresh else pool.take(request.url, once, self._max_idle, self._max_age)
        if request.on_step is not None:
            request.on_step("connection", reused=connection is not None, to=request.url)
        if connection is None:
            connection = pool.open(request.address, connect, request.opening)
        request.set_connection(connection)
        timing = self._timing
        if timing.first_byte != first_byte or timing.deadline != deadline:
            timing = self._timing = ExchangeTimeouts(first_byte, self._between_bytes, deadline)
        try:
            answer = connection.exchange(request, timing)
        except BaseException as error:
            connection.close()
            if isinstance(error, Fault) and connection.timed_out and ends <= time.monotonic() < request.deadline:
                raise AttemptTimeout(error.stage, self._per_attempt) from None
            raise
        if ends != NEVER:
            connection.set_deadline(request.deadline)
        kept = self._max_kept
        if request.address.scheme == UWSGI or connection.exchanges >= self._max_requests:
            kept = 0  # the response is the last one of the connection; always so with uwsgi
        return BackendResponse(answer, connection, pool, request.url, kept)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()
