"""Records of requests and attempts. Each is created when its subject has ended, and does not change afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class AttemptEvent:
    """One attempt at one backend.

    `fault` is None for the attempt whose response was passed on. `seconds` is the time until the response head, or
    until the fault; `at` is the start of the attempt, in seconds after that of the request.
    """

    backend: str
    seconds: float
    fault: Exception | None = None
    at: float = 0.0


@dataclass(slots=True, kw_only=True)
class RequestEvent:
    """One request, from its head to the last byte of its response.

    `status` is the status sent to the client. `cut` is why the response broke off, empty if it was complete.
    `sent` and `received` are bytes of bodies. `why` is the reason for the first choice (core/log_fields.py), `route` is
    the name of the route, and `trace` the value that tracing made when the request began.
    """

    client: str
    method: str
    target: str
    protocol: str
    pool: str
    status: int
    sent: int
    seconds: float
    attempts: Sequence[AttemptEvent]
    request_id: str
    cut: str = ""
    route: str = ""
    received: int = 0
    why: str = ""
    trace: object = None


Listener = Callable[[RequestEvent], None]
