"""The events. An event is told when its subject has ended, by the one who saw it end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class AttemptEvent(NamedTuple):
    """One try at one backend. `fault` is None for the try whose response was passed on; `seconds` is how long the
    response head took to come, or the fault to be seen.
    """

    backend: str
    seconds: float
    fault: Exception | None = None


class RequestEvent(NamedTuple):
    """One request, from its head to the last byte of its response, told at that moment.

    `status` is what the client was told. `cut` says why the response broke off, empty when it was whole. `route` is the
    name of the route, empty for none.
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


Listener = Callable[[RequestEvent], None]
