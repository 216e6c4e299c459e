"""The events. An event is told when its subject has ended, by the one who saw it end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class AttemptEvent(NamedTuple):
    """One try at one backend. `fault` is None for the try whose response was passed on; `seconds` is how long the
    response head took to come, or the fault to be seen, and `at` how long after the request it began.
    """

    backend: str
    seconds: float
    fault: Exception | None = None
    at: float = 0.0


class RequestEvent(NamedTuple):
    """One request, from its head to the last byte of its response, told at that moment.

    `status` is what the client was told. `cut` says why the response broke off, empty when it was whole. `sent` and
    `received` are bytes of bodies. `why` is the reason for the first choice in one word (core/log_fields.py), `route`
    the name of the route, and `trace` what tracing wanted to know when the request began.
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
