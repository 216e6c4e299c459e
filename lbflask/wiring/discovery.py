"""The source of a pool's backends, as it is configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lbflask.config.discovery import Discovery
from lbflask.core.discovery import Found
from lbflask.discovery.file import FileSource
from lbflask.discovery.source import Source


def source_for(discovery: Discovery, read: Callable[[Path], tuple[Found, ...]]) -> Source | None:
    """The source; None if none is configured. `read` reads a file of backends, and raises ConfigError."""
    where = discovery.where()
    if where is None:
        return None
    if where.kind == "file":
        return FileSource(Path(where.name), read)
    # Only who asks name servers takes the time to load what that needs.
    from lbflask.discovery.dns_sources import AddressSource, Pace, ServiceSource  # noqa: PLC0415
    from lbflask.discovery.names import Names, Server  # noqa: PLC0415

    servers = [Server(*server) for server in discovery.servers()]
    names = Names(servers, timeout=discovery.timeout, family=discovery.family)
    pace = Pace(discovery.min_ttl, discovery.max_ttl)
    if where.kind == "srv":
        return ServiceSource(names, where.name, discovery.scheme, pace)
    return AddressSource(names, where.name, where.port, discovery.scheme, discovery.weight, pace)
