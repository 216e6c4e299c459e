"""The connections to backends: pools with the same TLS settings and PROXY protocol share them, and a reload renews
those whose settings or files have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from lbflask.config.schema import Config
from lbflask.config.tls import BackendTLSConfig
from lbflask.core.model import Address
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer
from lbflask.wiring import idle_connections
from lbflask.wiring.pipelines import PoolPipeline


class _Shared(NamedTuple):
    """What pools with the same settings of connections share. `identity` has these, and a digest of their files."""

    identity: tuple[object, ...]
    dialer: Dialer
    connections: ConnectionPool


class BackendConnections:
    """The connections of a worker. `clock` is monotonic, in seconds; `new_dialer` makes what opens connections with
    these TLS settings and these first bytes.
    """

    def __init__(
        self, config: Config, new_dialer: Callable[[BackendTLSConfig, bytes], Dialer], clock: Callable[[], float]
    ) -> None:
        self._new_dialer = new_dialer
        self._clock = clock
        self._ended = (0, 0)  # opened and reused, of what a reload has replaced
        self._by_pool = self._shared_by(config, ())

    def __repr__(self) -> str:
        return f"<BackendConnections of {len(self._all())} TLS settings for {len(self._by_pool)} pools>"

    def apply_config(self, config: Config) -> None:
        """Open new connections by this configuration. Those of pools whose TLS settings have changed are closed: at
        once if they are idle, else after their request.
        """
        before = self._all()
        self._by_pool = self._shared_by(config, before)
        kept = {id(one) for one in self._all()}
        for one in before:
            if id(one) not in kept:
                opened, reused = self._ended
                self._ended = opened + one.connections.opened, reused + one.connections.reused
                one.connections.close()

    def of_pool(self, pool: str) -> ConnectionPool:
        """The connections to the backends of this pool."""
        return self._by_pool[pool].connections

    def dialer(self, pool: str) -> Dialer:
        """What opens connections to the backends of this pool."""
        return self._by_pool[pool].dialer

    def certificate_expiry(self, address: Address) -> float | None:
        """When the certificate expires that the backend presented last, in seconds since the epoch: the first one if
        pools got several. None if unknown.
        """
        found = (one.dialer.certificate_expiry(address) for one in self._all())
        return min((expiry for expiry in found if expiry is not None), default=None)

    @property
    def opened(self) -> int:
        """The number of opened connections, since the start."""
        return self._ended[0] + sum(one.connections.opened for one in self._all())

    @property
    def reused(self) -> int:
        """The number of requests over a connection that had carried one before, since the start."""
        return self._ended[1] + sum(one.connections.reused for one in self._all())

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return sum(one.connections.idle for one in self._all())

    def sweep(self, pipelines: Mapping[str, PoolPipeline]) -> None:
        """Close connections that were idle for too long, and those to backends that do not serve."""
        by_pool, every = self._by_pool, self._all()
        for one in every:
            using = [pipeline for name, pipeline in pipelines.items() if by_pool.get(name) is one]
            idle_connections.sweep(one.connections, using, shares=len(every))

    def close(self) -> None:
        """Close all idle connections, and those that are given back later."""
        for one in self._all():
            one.connections.close()

    def _all(self) -> list[_Shared]:
        return list({id(one): one for one in self._by_pool.values()}.values())

    def _shared_by(self, config: Config, before: Iterable[_Shared]) -> dict[str, _Shared]:
        shared = {one.identity: one for one in before}
        found = {}
        for name, table in config.every_pool().items():
            tls, opening = config.traffic(name).backend_tls, table.opening
            identity = (tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name, tls.contents(), opening)
            if identity not in shared:
                dialer = self._new_dialer(tls, opening)
                shared[identity] = _Shared(identity, dialer, ConnectionPool(self._clock, dialer))
            found[name] = shared[identity]
        return found
