"""Configuration of the export of spans."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from lbflask.config.field_types import Section
from lbflask.config.redaction import CollectorURL


def _endpoint(value: CollectorURL) -> CollectorURL:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must be a URL, such as http://127.0.0.1:4318/v1/traces")
    return value


class TracingConfig(Section):
    """Spans of requests and attempts, for an OpenTelemetry collector (docs/tracing.md)."""

    endpoint: Annotated[CollectorURL, AfterValidator(_endpoint)] | None = None
    """Where the collector takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; unset, nothing is traced."""
    service: str = Field(default="lbflask", min_length=1)
    """The name by which we appear."""
    sample_percent: float = Field(default=100.0, ge=0, le=100, allow_inf_nan=False)
    """Percent of the traces that begin here; one that comes to us is sampled if whoever began it wanted that."""
