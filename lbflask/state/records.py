"""How statuses are written down: JSON that a person can read with redis-cli, forgiving towards other versions of us."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend, Ejection, Health, Mode, Override


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


def dump_override(override: Override) -> str:
    """The record of what operators set for a backend: the same text for the same override."""
    values: dict[str, Any] = {"mode": override.mode.value}
    if override.weight is not None:
        values["weight"] = override.weight
    if override.added is not None:
        values["added"] = _backend_values(override.added)
    if override.removed:
        values["removed"] = True
    if override.since:
        values["since"] = override.since
    return json.dumps(values, separators=(",", ":"))


def parse_override(record: str | bytes) -> Override | None:
    """The override in a record; None when it can't be read, which leaves the backend as it is configured."""
    try:
        values = json.loads(record)
        weight, added = values.get("weight"), values.get("added")
        return Override(
            Mode(values["mode"]),
            None if weight is None else int(weight),
            None if added is None else _backend(added),
            values.get("removed") is True,
            float(values.get("since", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def dump_backends(backends: Iterable[Backend]) -> str:
    """The record of backends that are not configured."""
    return json.dumps([_backend_values(backend) for backend in backends], separators=(",", ":"))


def parse_backends(record: str | bytes) -> tuple[Backend, ...]:
    """The backends in a record, without those that can't be read."""
    try:
        listed = list(json.loads(record))
    except (ValueError, TypeError, RecursionError):
        return ()
    found = []
    for values in listed:
        try:
            found.append(_backend(values))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
    return tuple(found)


def _backend_values(backend: Backend) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": backend.id,
        "scheme": backend.scheme,
        "host": backend.host,
        "port": backend.port,
        "url": backend.url,
        "weight": backend.weight,
    }
    if backend.path:
        values["path"] = backend.path
    if backend.backup:
        values["backup"] = True
    if backend.slow_start is not None:
        values["slow_start"] = backend.slow_start
    if backend.max_connections:
        values["max_connections"] = backend.max_connections
    return values


def _backend(values: Any) -> Backend:
    text = {key: str(values[key]) for key in ("id", "host", "url", "scheme")}
    port, weight = int(values["port"]), int(values["weight"])
    path, backup = str(values.get("path", "")), values.get("backup") is True
    slow_start = None if values.get("slow_start") is None else float(values["slow_start"])
    most = int(values.get("max_connections", 0))
    return Backend(text["id"], text["host"], port, text["url"], weight, text["scheme"], path, backup, slow_start, most)


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


def event_fields(event: FleetEvent) -> dict[Any, Any]:
    """The fields of an event, those that say something."""
    values = {
        "kind": event.kind.value,
        "what": event.what,
        "pool": event.pool,
        "backend": event.backend,
        "reason": event.reason,
        "who": event.who,
    }
    return {name: value for name, value in values.items() if value}


def event_id(text: str) -> str:
    """The id as the store takes it. Raises ValueError for anything else."""
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is not the id of an event")
    return text


def parse_events(found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[FleetEvent]:
    """The events among entries of the stream, without those of kinds that are not known here."""
    events = []
    for id_, fields in found:
        told = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
        try:
            kind = Kind(told.get("kind", ""))
        except ValueError:
            continue
        words = {name: told.get(name, "") for name in ("what", "pool", "backend", "reason", "who")}
        events.append(FleetEvent(kind, **words, id=id_.decode()))
    return events
