"""Configuration of the export of spans."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import Section, required
from lbflask.config.redaction import CollectorURL

Endpoint = Annotated[
    CollectorURL, required(re.compile(r"https?://").match, "must be a URL, such as http://127.0.0.1:4318/v1/traces")
]


class TracingConfig(Section):
    """Spans of requests and attempts, for an OpenTelemetry collector (docs/tracing.md)."""

    endpoint: Endpoint | None = None
    """URL of the collector for OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; unset for no tracing."""
    service: str = Field(default="lbflask", min_length=1)
    """The name of the service in spans."""
    sample_percent: float = Field(default=100.0, ge=0, le=100, allow_inf_nan=False)
    """Percent of the traces that begin here. A trace that a client began is sampled if the client samples it."""
