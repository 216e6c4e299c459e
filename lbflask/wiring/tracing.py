"""Tracing as it is configured."""

from __future__ import annotations

from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.telemetry.redaction import conceal
from lbflask.telemetry.tracing import NoOpenTelemetry, TracingSink


def tracing_of(config: Config) -> TracingSink | None:
    """The tracing that is configured, if any. Raises ConfigError where its libraries are missing or refuse to begin."""
    settings = config.tracing
    try:
        if settings.endpoint is None:
            return None
        conceal(settings.endpoint.reveal(), str(settings.endpoint))
        return TracingSink(settings.endpoint.reveal(), settings.service, settings.sample_percent / 100)
    except NoOpenTelemetry as error:
        raise ConfigError(f"tracing.endpoint: {error}") from None


def begin(tracing: TracingSink) -> None:
    """Let it send. Raises ConfigError."""
    try:
        tracing.start()
    except NoOpenTelemetry as error:
        raise ConfigError(f"tracing.endpoint: {error}") from None
