"""Connections without HTTP: each goes to one backend of its pool, chosen as for a request, and bytes pass both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lbflask.core import server_names
from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.addresses import plain_address
from lbflask.core.model import Backend
from lbflask.core.proxy_protocol import header, header_without_client
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.services import SharedServices
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import ConnectionOpener
from lbflask.upstream.shortage import shortage
from lbflask.upstream.stream import NEVER
from lbflask.upstream.tunnel import Tunnel, TunnelEnd

_NO_POOL = Fault(Blame.CLIENT, Stage.CHOOSE, 404, "no pool is for this name", answer_cause=AnswerCause.NO_ROUTE)


class TcpClient(Protocol):
    """A connection of a client, as the worker has it."""

    peer: tuple[str, str]  #: the client's address and port, empty on a unix socket
    local: object
    listener: str
    server_name: str  #: that the client asks for; empty if it was not read
    early: bytes  #: what has been read of the client

    def detach(self) -> TunnelEnd:
        """The stream."""
        ...

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call it once when the client hangs up; None cancels it."""
        ...


@dataclass(frozen=True, slots=True)
class TcpPool:
    """A pool of backends that get connections. `opener` opens them."""

    balancer: PoolBalancer
    attempts: Attempts
    opener: ConnectionOpener


class TcpListener:
    """The pools of a listener: by the name that clients ask for, or `default`."""

    def __init__(self, default: TcpPool | None, by_name: Mapping[str, TcpPool]) -> None:
        self._default = default
        self._by_name = by_name

    def __repr__(self) -> str:
        return f"TcpListener({len(self._by_name)} names, default {self._default is not None})"

    def find(self, name: str) -> TcpPool | None:
        """The pool for the name; None if such connections are closed."""
        return server_names.find(self._by_name, name) or self._default


class TcpListeners:
    """The listeners of one configuration, by label."""

    def __init__(self, by_label: Mapping[str, TcpListener], services: SharedServices) -> None:
        self._by_label = by_label
        self._services = services

    def __repr__(self) -> str:
        return f"TcpListeners({', '.join(self._by_label)})"

    def serve(self, client: TcpClient) -> None:
        """Pass the connection on until it ends, within the calling thread or greenlet. Closes what it opens."""
        listener = self._by_label.get(client.listener)
        passage = TcpPassage(client, None if listener is None else listener.find(client.server_name), self._services)
        in_flight = self._services.in_flight
        in_flight.active.add(passage)
        in_flight.tunnels[passage] = None
        try:
            passage.run(len(in_flight.tunnels))
        except Fault as fault:
            passage.refuse(fault)
        finally:
            in_flight.active.discard(passage)
            del in_flight.tunnels[passage]
            passage.finish()


class TcpPassage:
    """One connection, from its acceptance to its end. `backend_id` is that of the backend which has accepted it."""

    backend_id: str = ""
    may_queue: bool = True
    deadline: float = NEVER
    _queued: float = 0.0

    def __init__(self, client: TcpClient, pool: TcpPool | None, services: SharedServices) -> None:
        self._client = client
        self._pool = pool
        self._services = services
        self._began = services.clock()
        self.request_id = services.new_request_id()
        self.pool_name = "" if pool is None else pool.balancer.pool.name
        self._events: list[AttemptEvent] = []
        self._tunnel: Tunnel | None = None
        self._why = ""
        self._status = 200
        self._cut = ""
        self._cause = AnswerCause.BACKEND

    def __repr__(self) -> str:
        return f"<TcpPassage {self._client!r} {self._tunnel!r}>"

    def add_wait(self, seconds: float) -> None:
        """As of WaitingRequest."""
        self._queued += seconds

    def run(self, open_tunnels: int) -> None:
        """Connect, and pass bytes on. Raises Fault before a backend is connected."""
        pool = self._pool
        if pool is None:
            raise _NO_POOL
        settings, traffic, queue = pool.attempts.settings, pool.attempts.traffic, pool.attempts.slot_queue
        if open_tunnels > settings.tunnels:
            reason = f"{open_tunnels - 1} tunnels are open, as many as may be"
            raise Fault(Blame.SELF, Stage.CHOOSE, 503, reason, answer_cause=AnswerCause.TUNNELS)
        key = pool.balancer.key(plain_address(self._client.peer[0]), "", []) if pool.balancer.has_key else None
        plan = pool.balancer.plan(key, safe=True)
        self._why, backends = plan.reason, plan.backends
        turns = None
        if queue is not None:
            backends = turns = queue.turns(backends, self, None, self._client.on_gone)
        try:
            backend, connection = self._connect(pool, backends)
            self.backend_id = backend.id
            try:
                self._pass_on(connection, settings.tunnel_idle)
            finally:
                connection.close()
                traffic.ended(backend.id)
        finally:
            if turns is not None:
                turns.close()

    def refuse(self, fault: Fault) -> None:
        """No backend has got the connection."""
        self._status, self._cause, self._cut = fault.status, fault.answer_cause, fault.reason

    def finish(self) -> None:
        """Record the connection, which has ended."""
        services, tunnel, client = self._services, self._tunnel, self._client
        event = RequestEvent(
            client=plain_address(client.peer[0]) or "unix:",
            method="TCP",
            target=client.server_name or "-",
            protocol="TCP",
            pool=self.pool_name,
            status=self._status,
            sent=0 if tunnel is None else tunnel.down,
            seconds=services.clock() - self._began,
            attempts=self._events,
            request_id=self.request_id,
            cut=self._cut,
            received=0 if tunnel is None else tunnel.up,
            why=self._why,
            cause=self._cause,
            queued=self._queued,
        )
        for listener in services.listeners:
            listener(event)

    def _connect(self, pool: TcpPool, backends: Iterable[Backend]) -> tuple[Backend, UpstreamConnection]:
        """The first backend that accepts. Raises Fault: the last one, if as many were tried as may be."""
        attempts, last = pool.attempts, None
        for tried, backend in enumerate(backends, 1):
            try:
                return backend, self._attempt(pool, backend)
            except Fault as fault:
                last = fault
                if fault.blame is not Blame.BACKEND or tried > attempts.settings.retries.attempts:
                    break
        raise last or Fault(Blame.BACKEND, Stage.CHOOSE, 503, "no backend can take the connection now")

    def _attempt(self, pool: TcpPool, backend: Backend) -> UpstreamConnection:
        attempts, clock, opening = pool.attempts, self._services.clock, b""
        traffic, settings = attempts.traffic, attempts.settings
        if settings.proxy_version:
            opening = self._header(settings.proxy_version)
        began = clock()
        traffic.began(backend.id)
        try:
            connection = pool.opener.open(backend.address, settings.connect, began, opening)
        except Fault as fault:
            traffic.failed(backend.id, fault)
            self._events.append(AttemptEvent(backend.id, clock() - began, fault, began - self._began))
            if fault.blame is Blame.BACKEND:
                attempts.fleet.report_unreachable(attempts.pool, backend.id)
            raise
        except BaseException:
            traffic.abandoned(backend.id)
            raise
        traffic.answered(backend.id, 200)
        event = AttemptEvent(backend.id, clock() - began, None, began - self._began)
        self._events.append(event)
        traffic.sample(event)
        return connection

    def _header(self, version: int) -> bytes:
        local = self._client.local
        if not isinstance(local, tuple):
            return header_without_client(version)
        return header(version, self._client.peer, (str(local[0]), str(local[1])))

    def _pass_on(self, connection: UpstreamConnection, idle: float) -> None:
        self._tunnel = tunnel = Tunnel(self._client.detach(), connection.stream, idle)
        self._services.in_flight.tunnels[self] = tunnel
        try:
            tunnel.run(self._client.early)
        except OSError as error:
            lack = shortage(error, Stage.BODY)
            self._cut = "the client hung up" if lack is None else lack.reason
        else:
            self._cut = tunnel.cut
