"""An operator's drain of an instance: its `GET /health` responds 503, while it serves."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds after which a drain ends by itself: unless given, and at most. So none is left for a host that never returns.
DEFAULT_DURATION, MAX_DURATION = 7 * 86_400, 30 * 86_400


@dataclass(frozen=True, slots=True)
class InstanceDrain:
    """`until` and `since` are in seconds of the store's clock, `actor` is the operator, `reason` may be empty.

    `since` is 0 if the record is of a version that does not write it.
    """

    until: float
    actor: str
    since: float = 0.0
    reason: str = ""
