"""The differences between two configurations, and which of them need new workers.

Nearly all settings are replaced in place. The exceptions below are applied by gunicorn when a worker starts, or define
the state that a worker shares with the fleet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from lbflask.config.schema import Config

#: Settings, and tables of settings, that only new workers apply.
BY_NEW_WORKERS = frozenset(
    {
        "admin_bind",
        "bind",
        "instance",
        "listeners",
        "limits.field_size",
        "limits.fields",
        "limits.line",
        "namespace",
        "redis_url",
    }
    | {"timeouts.graceful", "tls.acme", "tls.minimum", "error_log_format", "metrics"}
)


class Difference(NamedTuple):
    """Keys whose values differ, such as `timeouts.connect`, `backends` or `pools.api.strategy`."""

    in_place: tuple[str, ...] = ()
    by_new_workers: tuple[str, ...] = ()


def difference(before: Config, after: Config) -> Difference:
    """The keys that differ. For a pool that was added or removed it is `pools.NAME` only."""
    keys = sorted(_keys("", before, after))
    waiting = BY_NEW_WORKERS
    if [one.tls for one in before.every_listener()] != [one.tls for one in after.every_listener()]:
        waiting |= {"tls"}  # the first certificate of `bind`, or no more
    late = tuple(key for key in keys if any(f"{key}.".startswith(f"{one}.") for one in waiting))
    return Difference(tuple(key for key in keys if key not in late), late)


def _keys(where: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    inner = [
        key
        for name, (old, new) in _within(before, after).items()
        for key in _keys(f"{where}.{name}" if where else name, old, new)
    ]
    yield from inner or [where]  # equal keys: the content of a file of secrets differs


def _within(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The values within two tables, by name; none where not both are tables."""
    if isinstance(before, BaseModel) and isinstance(after, BaseModel):
        fields = type(after).model_fields.items()
        return {field.alias or name: (getattr(before, name), getattr(after, name)) for name, field in fields}
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
    return {}
