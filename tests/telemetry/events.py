"""Events for tests."""

from __future__ import annotations

from typing import Any

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.telemetry.events import AttemptEvent, RequestEvent

SERVED = AttemptEvent(backend="web-1", seconds=0.0123)
REFUSED = AttemptEvent(backend="web-2", seconds=0.001, fault=Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused"))
NOON = 1_700_000_000.25


def event(**changes: Any) -> RequestEvent:
    """An ordinary one, but for the changes."""
    settings: dict[str, Any] = {
        "client": "203.0.113.9",
        "method": "GET",
        "target": "/a?b",
        "protocol": "HTTP/1.1",
        "pool": "default",
        "status": 200,
        "sent": 1234,
        "seconds": 0.0156,
        "attempts": [SERVED],
        "request_id": "abc-1",
    }
    return RequestEvent(**{**settings, **changes})
