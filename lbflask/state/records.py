"""How statuses are written down: JSON that a person can read with redis-cli, forgiving towards other versions of us."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from lbflask.core.model import ActiveHealth, Ejection, Health


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


def parse_ejection(record: str | bytes) -> Ejection | None:
    """The ejection in a record; None when it can't be read, which keeps the backend in service."""
    try:
        values = json.loads(record)
        return Ejection(values["out"] is True, int(values["times"]), float(values["since"]), float(values["until"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def dump_loads(loads: Mapping[str, int]) -> str:
    """The record of what a worker has in flight."""
    return json.dumps(loads, separators=(",", ":"))


def sum_loads(written: Iterable[str | bytes]) -> dict[str, int]:
    """What several workers have in flight together; a record that can't be read counts as nothing."""
    total: dict[str, int] = {}
    for record in written:
        try:
            loads = {str(backend): int(load) for backend, load in json.loads(record).items()}
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        for backend, load in loads.items():
            total[backend] = total.get(backend, 0) + load
    return total
