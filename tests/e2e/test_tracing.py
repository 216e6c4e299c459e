"""Trace context on the wire, and spans at a collector."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devtools.servers import Gunicorn, get
from devtools.wait import eventually

pytestmark = pytest.mark.e2e

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE, rojo=00f067aa0ba902b7"


class Server(ThreadingHTTPServer):
    """Backend and collector in one: answers with the fields it got, and keeps the spans."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.spans: list[Any] = []


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for of_scope in of_resource.scope_spans:
                self.server.spans += of_scope.spans
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join(5)


def got(balancer: Gunicorn, **fields: str) -> dict[str, str]:
    answer: dict[str, str] = json.loads(get(balancer.port, "/x", headers=fields).body)
    return answer


@pytest.mark.long
def test_trace_context_passes_unchanged_without_tracing(redis_url: str) -> None:
    with (
        server() as backend,
        Gunicorn(workers=1, backends=f"http://127.0.0.1:{backend.server_port}", redis_url=redis_url) as balancer,
    ):
        told = got(balancer, traceparent=PARENT, tracestate=STATE)
        assert (told["traceparent"], told["tracestate"]) == (PARENT, STATE)
        assert "traceparent" not in got(balancer)


def test_spans_reach_the_collector_and_the_backend_hears_of_its_parent(redis_url: str) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    with server() as backend:
        url = f"http://127.0.0.1:{backend.server_port}"
        with Gunicorn(
            workers=1,
            backends=url,
            redis_url=redis_url,
            tracing__endpoint=f"{url}/v1/traces",
            environ={"OTEL_BSP_SCHEDULE_DELAY": "100"},
        ) as balancer:
            told = got(balancer, traceparent=PARENT, tracestate=STATE)
            mine = [span for span in eventually(lambda: backend.spans, "spans") if span.trace_id.hex() == PARENT[3:35]]
            assert balancer.stop() == 0
            balancer.assert_no_traceback()
    attempt, request = mine
    assert request.parent_span_id.hex() == PARENT[36:52]
    assert attempt.parent_span_id == request.span_id
    assert told["traceparent"] == f"00-{PARENT[3:35]}-{attempt.span_id.hex()}-01"
    assert told["tracestate"] == STATE
