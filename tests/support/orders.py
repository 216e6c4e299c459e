"""Orders of schedules, as the names of their backends."""

from __future__ import annotations

from lbflask.core.strategies import Schedule


def names(
    schedule: Schedule, ticket: int = 0, key: str | None = "key", loads: dict[str, int] | None = None
) -> list[str]:
    return [one.id for one in schedule.order(ticket, key, {} if loads is None else loads)]
