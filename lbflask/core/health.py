"""The rise/fall state machine of active health: one observation in, the new state out.

A backend changes state only after `fall` failures or `rise` successes in a row, so that one lost packet does not move
traffic. The first observation of a new backend decides at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import ActiveHealth, Health


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one probe, with a reason that an operator can act on, and its cause after a failure.

    `expires` is when the certificate expires that the backend presented, in seconds since the epoch; 0 if it presented
    none, or if that is unknown.
    """

    ok: bool
    reason: str
    cause: FailureCause = FailureCause.UNKNOWN
    expires: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Successes in a row that bring a backend up, failures in a row that take it down; both at least 1."""

    rise: int = 2
    fall: int = 3


def observe(state: ActiveHealth, seen: Observation, thresholds: Thresholds, now: float) -> ActiveHealth:
    """The state after the observation. `since` moves to `now` (seconds of the store's clock) when health changes. The
    expiry of a certificate stays until the backend presents another one.
    """
    settled, expires = Health.UP if seen.ok else Health.DOWN, seen.expires or state.certificate_expires
    if state.health is settled:
        return replace(state, streak=0, reason=seen.reason, cause=seen.cause, certificate_expires=expires)
    needed = {Health.UP: thresholds.fall, Health.DOWN: thresholds.rise}.get(state.health, 1)
    streak = state.streak + 1
    if streak < needed:
        return replace(state, streak=streak, reason=seen.reason, cause=seen.cause, certificate_expires=expires)
    return ActiveHealth(settled, 0, seen.reason, now, seen.cause, expires)


def in_transition(state: ActiveHealth) -> bool:
    """Whether the latest observations contradict the state, so that the next check follows sooner."""
    return state.streak > 0
