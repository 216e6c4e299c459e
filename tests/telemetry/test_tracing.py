"""Spans of requests and attempts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lbflask.core.http.trace_context import parsed
from lbflask.telemetry.tracing import NoOpenTelemetry, TracingSink
from tests.telemetry.events import NOON, REFUSED, SERVED, event

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_of(tracing: TracingSink, exporter: InMemorySpanExporter, **changes: object) -> Sequence[ReadableSpan]:
    """What the collector is told of a request with two attempts."""
    trace = tracing.begin([("traceparent", PARENT)])
    assert trace is not None
    for _ in range(2):
        trace.attempt()
    attempts = [replace(REFUSED, at=0.001), replace(SERVED, at=0.003)]
    tracing.start()
    tracing.consume([(event(**{"trace": trace, "attempts": attempts, "why": "turn", **changes}), NOON)])
    tracing.stop()
    return exporter.get_finished_spans()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> TracingSink:
    return TracingSink("http://127.0.0.1:1/v1/traces", "edge", 1.0, exporter)


def test_a_request_and_each_attempt_are_spans_of_the_callers_trace(
    tracing: TracingSink, exporter: InMemorySpanExporter
) -> None:
    failed, answered, server = spans_of(tracing, exporter)
    caller = parsed(PARENT)
    assert caller
    assert {span.context.trace_id for span in (failed, answered, server)} == {caller.trace}
    assert (server.kind, server.parent.span_id, server.parent.is_remote) == (SpanKind.SERVER, caller.span, True)
    for span in (failed, answered):
        assert (span.kind, span.parent.span_id) == (SpanKind.CLIENT, server.context.span_id)
    assert server.resource.attributes["service.name"] == "edge"
    assert len({span.context.span_id for span in (failed, answered, server)}) == 3


def test_spans_have_what_happened_and_when(tracing: TracingSink, exporter: InMemorySpanExporter) -> None:
    failed, answered, server = spans_of(tracing, exporter, target="/a?token=x", status=502, cut="broke off")
    assert dict(failed.attributes or {}) == {
        "http.request.method": "GET",
        "lbflask.pool": "default",
        "lbflask.backend": "web-2",
        "lbflask.why": "turn",
        "error.type": "backend/connect",
        "lbflask.reason": "refused",
    }
    assert (answered.attributes or {})["http.request.resend_count"] == 1
    assert (answered.attributes or {})["lbflask.why"] == "retry"
    told = dict(server.attributes or {})
    assert (told["url.path"], told["url.query"], told["lbflask.cut"]) == ("/a", "token=***", "broke off")
    codes = [span.status.status_code for span in (failed, answered, server)]
    assert codes == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.ERROR]
    assert server.end_time == answered.end_time == int(NOON * 1e9)
    assert server.end_time - (server.start_time or 0) == pytest.approx(15.6e6, abs=1000)
    assert (failed.start_time or 0) - (server.start_time or 0) == pytest.approx(1e6, abs=1000)
    assert (failed.end_time or 0) - (failed.start_time or 0) == pytest.approx(1e6, abs=1000)


def test_traces_that_begin_here_are_sampled_by_their_share(exporter: InMemorySpanExporter) -> None:
    for share, low, high in ((0.0, 0, 0), (0.5, 300, 700), (1.0, 1000, 1000)):
        tracing = TracingSink("http://127.0.0.1:1", "edge", share, exporter)
        begun = [tracing.begin([]) for _ in range(1000)]
        assert low <= sum(trace.context.sampled for trace in begun if trace) <= high
        assert len({trace.context.trace for trace in begun if trace}) == 1000


def test_what_is_not_sampled_is_not_exported(exporter: InMemorySpanExporter) -> None:
    tracing = TracingSink("http://127.0.0.1:1", "edge", 0.0, exporter)
    tracing.start()
    tracing.consume([(event(trace=tracing.begin([])), NOON), (event(), NOON)])
    tracing.stop()
    assert exporter.get_finished_spans() == ()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(NoOpenTelemetry, match=r"pip install 'lbflask\[otel\]'"):
        TracingSink("http://127.0.0.1:1", "edge", 1.0)
