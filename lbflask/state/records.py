"""How statuses are written down: JSON that a person can read with redis-cli, forgiving towards other versions of us."""

from __future__ import annotations

import json

from lbflask.core.model import ActiveHealth, Health


def dump(state: ActiveHealth) -> str:
    """The record of an active health."""
    return json.dumps(
        {
            "health": state.health.value,
            "streak": state.streak,
            "reason": state.reason,
            "since": round(state.since, 3),
        },
        separators=(",", ":"),
    )


def parse(record: str | bytes) -> ActiveHealth:
    """The active health in a record; UNKNOWN when it can't be read, which keeps the backend in service."""
    try:
        values = json.loads(record)
        return ActiveHealth(
            Health(values["health"]), int(values["streak"]), str(values["reason"]), float(values["since"])
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ActiveHealth(Health.UNKNOWN, reason="its record in the store can't be read")
