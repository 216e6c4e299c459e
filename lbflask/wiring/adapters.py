"""Builds the adapters that the configuration names: store, hooks, tracing, discovery source, TLS towards backends.

gunicorn's master does not import this module with its settings: `server/shared_modules.py` has the reason.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lbflask.config.load import ConfigError, read_backends
from lbflask.config.pools import PoolConfig
from lbflask.config.schema import Config
from lbflask.config.tls import BackendTLSConfig
from lbflask.core.discovery import DiscoveredBackend
from lbflask.discovery.file import FileSource
from lbflask.discovery.source import DiscoverySource
from lbflask.hooks.runner import BadHook, Hooks
from lbflask.store.embedded import store_url
from lbflask.store.redis import OPERATION_TIMEOUT, RedisStore, connect
from lbflask.store.redis_client import Trip
from lbflask.telemetry.redaction import conceal
from lbflask.telemetry.tracing import NoOpenTelemetry, TracingSink
from lbflask.upstream.tls import TLSSettings


def store_for(config: Config, timeout: float = OPERATION_TIMEOUT, trip: Trip | None = None) -> RedisStore:
    """The configured store, or the private one of this machine. Does not connect yet.

    Each command may take `timeout` seconds; `trip` is called after each. Raises ConfigError for unusable options in the
    URL.
    """
    try:
        client = connect(store_url(config), timeout, trip)
    except ValueError as error:
        # urllib quotes the text that it takes for the port, which may be a part of the password.
        raise ConfigError(f"redis_url: {str(error).partition(' as ')[0]}") from None
    return RedisStore(client, config.namespace)


def hooks_for(config: Config) -> Hooks | None:
    """The configured hooks; None without any. Raises ConfigError for a hook that cannot be loaded."""
    try:
        return Hooks(config.hooks, config.hook_budget) if config.hooks else None
    except BadHook as error:
        raise ConfigError(f"hooks: {error}") from None


def tracing_for(config: Config) -> TracingSink | None:
    """The configured tracing, not started; None without any. Raises ConfigError if its libraries are missing."""
    settings = config.tracing
    try:
        if settings.endpoint is None:
            return None
        conceal(settings.endpoint.reveal(), str(settings.endpoint))
        return TracingSink(settings.endpoint.reveal(), settings.service, settings.sample_percent / 100)
    except NoOpenTelemetry as error:
        raise ConfigError(f"tracing.endpoint: {error}") from None


def start_tracing(tracing: TracingSink) -> None:
    """Start the exporter. Raises ConfigError."""
    try:
        tracing.start()
    except NoOpenTelemetry as error:
        raise ConfigError(f"tracing.endpoint: {error}") from None


def tls_settings_for(tls: BackendTLSConfig) -> TLSSettings:
    """TLS settings for connections to backends, of workers and of the checker."""
    return TLSSettings(tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name)


def source_for(pool: PoolConfig) -> DiscoverySource | None:
    """The discovery source of the pool; None without one."""
    discovery, where = pool.discovery, pool.discovery.where()
    if where is None:
        return None
    if where.kind == "file":
        return FileSource(Path(where.name), partial(backends_in_file, pool))
    # dnspython is loaded only for pools that need it.
    from lbflask.discovery.dns_resolver import DnsResolver, Server  # noqa: PLC0415
    from lbflask.discovery.dns_sources import AddressSource, ServiceSource, TtlBounds  # noqa: PLC0415

    servers = [Server(*server) for server in discovery.servers()]
    resolver = DnsResolver(servers, timeout=discovery.timeout, family=discovery.family)
    ttl_bounds = TtlBounds(discovery.min_ttl, discovery.max_ttl)
    if where.kind == "srv":
        return ServiceSource(resolver, where.name, discovery.scheme, ttl_bounds)
    return AddressSource(resolver, where.name, where.port, discovery.scheme, discovery.weight, ttl_bounds)


def backends_in_file(pool: PoolConfig, path: Path) -> tuple[DiscoveredBackend, ...]:
    """The backends in a discovery file, each with the health check of its own `health` table. Raises ConfigError."""
    try:
        return tuple(
            DiscoveredBackend(
                backend.to_model(),
                None if backend.health is None else pool.check_of(backend, f"backends[{number}].health"),
            )
            for number, backend in enumerate(read_backends(path))
        )
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
