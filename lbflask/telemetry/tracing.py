"""Spans of requests and attempts, for an OpenTelemetry collector (the extra `otel`).

A request only gets its ids, and each attempt its `traceparent`. Spans are built from events in the background and sent
in batches. If the collector stalls, spans are dropped; requests are not affected.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import lbflask
from lbflask.core.faults import Fault
from lbflask.core.http.trace_context import Context, Trace, begun
from lbflask.core.http.types import Fields
from lbflask.core.redaction import masked_target
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.events import AttemptEvent, RequestEvent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

_NANOSECONDS = 1_000_000_000
#: Milliseconds to send the remaining spans when the worker stops.
STOP_TIMEOUT_MS = 2_000
#: Seconds to send a batch.
TIMEOUT = 5


class NoOpenTelemetry(Exception):
    """Tracing is configured, but its libraries are not installed or reject a variable of the environment (`OTEL_…`)."""


class TracingSink:
    """Assigns requests to traces; as an event sink, exports their spans to the collector.

    `share` (0 to 1) of the traces that begin here are sampled. Raises NoOpenTelemetry.
    """

    def __init__(self, endpoint: str, service: str, share: float, exporter: SpanExporter | None = None) -> None:
        self._bound = int(share * (1 << 64))
        self._endpoint = endpoint
        self._exporter = exporter
        self._processor: Any = None
        try:
            from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        except ImportError as error:
            raise NoOpenTelemetry(f"needs the extra otel: pip install 'lbflask[otel]' ({error})") from None
        self._new_exporter = trace_exporter.OTLPSpanExporter
        self._resource = Resource.create({"service.name": service, "service.version": lbflask.__version__})

    def __repr__(self) -> str:
        return f"<TracingSink {'started' if self._processor is not None else 'stopped'}>"

    def begin(self, fields: Fields) -> Trace | None:
        """The trace of a request with these fields; None if it is not traced."""
        return begun(fields, partial(_new_id, 128), partial(_new_id, 64), self._sampled)

    def start(self) -> None:
        """Start the exporter. Raises NoOpenTelemetry."""
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        try:
            exporter = self._exporter or self._new_exporter(self._endpoint, timeout=TIMEOUT)
            self._processor = BatchSpanProcessor(exporter)
        except ValueError as error:
            raise NoOpenTelemetry(f"OpenTelemetry refuses a value of its OTEL_… variables: {error}") from None

    def stop(self) -> None:
        """Send the remaining spans, for two seconds at most, and stop the exporter."""
        if self._processor is not None:
            self._processor.force_flush(STOP_TIMEOUT_MS)
            self._processor.shutdown()
            self._processor = None

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink."""
        if self._processor is None:
            return
        for event, at in batch:
            if isinstance(event.trace, Trace) and event.trace.context.sampled:
                for span in self._spans(event, event.trace, at):
                    self._processor.on_end(span)

    def dropped(self, count: int) -> None:
        """See EventSink."""

    def _sampled(self, trace: int) -> bool:
        return trace & ((1 << 64) - 1) < self._bound

    def _spans(self, event: RequestEvent, trace: Trace, at: float) -> Iterator[ReadableSpan]:
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        scope = InstrumentationScope("lbflask", lbflask.__version__)

        def span(
            kind: SpanKind,
            context: Context,
            parent: Context | None,
            attributes: Mapping[str, Any],
            start: float,
            end: float,
        ) -> ReadableSpan:
            return ReadableSpan(
                event.method,
                _context(context, remote=False),
                _context(parent, remote=True) if parent is not None else None,
                self._resource,
                attributes,
                kind=kind,
                instrumentation_scope=scope,
                status=Status(StatusCode.ERROR if "error.type" in attributes else StatusCode.UNSET),
                start_time=int(start * _NANOSECONDS),
                end_time=int(end * _NANOSECONDS),
            )

        began = at - event.seconds
        for number, (identity, attempt) in enumerate(zip(trace.attempts, event.attempts, strict=False)):
            start = began + attempt.at
            end = start + attempt.seconds if attempt.fault is not None else at
            context = trace.context._replace(span=identity)
            yield span(SpanKind.CLIENT, context, trace.context, _attempt_attributes(event, attempt, number), start, end)
        yield span(SpanKind.SERVER, trace.context, trace.parent, _request_attributes(event), began, at)


def _context(context: Context, *, remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

    return SpanContext(context.trace, context.span, remote, TraceFlags(context.sampled))


def _request_attributes(event: RequestEvent) -> dict[str, Any]:
    """The attributes of a server span, by OpenTelemetry's semantic conventions for HTTP."""
    path, _, query = masked_target(event.target).partition("?")
    attributes: dict[str, Any] = {
        "http.request.method": event.method,
        "url.path": path,
        "http.response.status_code": event.status,
        "network.protocol.version": event.protocol.removeprefix("HTTP/"),
        "client.address": event.client,
        "http.response.body.size": event.sent,
        "http.request.body.size": event.received,
        "lbflask.pool": event.pool,
        "lbflask.request_id": event.request_id,
    }
    if query:
        attributes["url.query"] = query
    if event.route:
        attributes["lbflask.route"] = event.route
    if event.cut:
        attributes["lbflask.cut"] = event.cut
    if event.status >= 500:
        attributes["error.type"] = str(event.status)
    return attributes


def _attempt_attributes(event: RequestEvent, attempt: AttemptEvent, number: int) -> dict[str, Any]:
    """The attributes of a client span, by the same conventions."""
    attributes: dict[str, Any] = {
        "http.request.method": event.method,
        "lbflask.pool": event.pool,
        "lbflask.backend": attempt.backend,
        "lbflask.why": "retry" if number else event.why,
    }
    if number:
        attributes["http.request.resend_count"] = number
    fault = attempt.fault
    if fault is None:
        attributes["http.response.status_code"] = event.status
    elif isinstance(fault, Fault):
        attributes["error.type"] = f"{fault.blame}/{fault.stage}"
        attributes["lbflask.reason"] = fault.reason
    else:
        attributes["error.type"] = type(fault).__name__
    return attributes


def _new_id(bits: int) -> int:
    return random.getrandbits(bits) or 1
