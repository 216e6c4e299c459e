"""The source of a pool's backends, as it is configured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lbflask.config.load import ConfigError, read_backends
from lbflask.config.pools import PoolConfig
from lbflask.core.discovery import DiscoveredBackend
from lbflask.discovery.file import FileSource
from lbflask.discovery.source import DiscoverySource


def source_for(table: PoolConfig) -> DiscoverySource | None:
    """The source; None if none is configured."""
    discovery, where = table.discovery, table.discovery.where()
    if where is None:
        return None
    if where.kind == "file":
        return FileSource(Path(where.name), partial(found_in, table))
    # Only who asks name servers takes the time to load what that needs.
    from lbflask.discovery.dns_sources import AddressSource, ServiceSource, TtlBounds  # noqa: PLC0415
    from lbflask.discovery.names import DnsResolver, Server  # noqa: PLC0415

    servers = [Server(*server) for server in discovery.servers()]
    names = DnsResolver(servers, timeout=discovery.timeout, family=discovery.family)
    pace = TtlBounds(discovery.min_ttl, discovery.max_ttl)
    if where.kind == "srv":
        return ServiceSource(names, where.name, discovery.scheme, pace)
    return AddressSource(names, where.name, where.port, discovery.scheme, discovery.weight, pace)


def found_in(table: PoolConfig, path: Path) -> tuple[DiscoveredBackend, ...]:
    """The backends in a file, each with the check that its own table asks for. Raises ConfigError."""
    try:
        return tuple(
            DiscoveredBackend(
                backend.to_model(),
                None if backend.health is None else table.check_of(backend, f"backends[{number}].health"),
            )
            for number, backend in enumerate(read_backends(path))
        )
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
