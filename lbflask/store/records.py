"""How statuses are written down: JSON that a person can read with redis-cli.

What is read is held to the same bounds as the configuration. Fields that are not known here are passed over, as of a
later version of us; a record with anything else that does not belong there is no record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from lbflask.config.backends import BackendConfig as ConfiguredBackend
from lbflask.config.redaction import ServiceURL
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import MOST_WEIGHT, ActiveHealth, Backend, Ejection, Health, Mode, Override

#: The latest moment there is, in seconds since the epoch: the end of the year 9999.
LATEST = 253_402_300_799.0
#: The largest number that is exact in Lua and JSON alike.
MOST = 1 << 53
#: Characters of a text that are kept.
MOST_TEXT = 1000
#: Requests that one worker may have in flight at one backend.
MOST_IN_FLIGHT = 1_000_000

#: What the scripts write, which read it by the same pattern.
_EJECTION = re.compile(
    rb'\{"out":(true|false),"times":(\d{1,6}),"since":(\d{1,12}\.\d{3}),"until":(\d{1,12}\.\d{3})\}', re.ASCII
)

#: The fields of an event beside its kind, in the order of `FleetEvent`, whose `actor` is `who` in the store.
EVENT_TEXTS = ("what", "pool", "backend", "reason", "who")

Value = TypeVar("Value")


def read(record: str | bytes, parse: Callable[[Any], Value]) -> Value | None:
    """What `parse` makes of the JSON in a record; None if there is none, or not what it should be."""
    try:
        return parse(json.loads(record))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def whole(value: object, most: int = MOST, least: int = 0) -> int:
    """A whole number within bounds. Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError("not a whole number within its bounds")
    return value


def moment(value: object) -> float:
    """Seconds since the epoch. Raises ValueError."""
    if type(value) not in (int, float) or not 0 <= value <= LATEST:  # type: ignore[operator]
        raise ValueError("not a moment")
    return float(value)  # type: ignore[arg-type]


def text(value: object) -> str:
    """A text, or the beginning of a long one. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value[:MOST_TEXT]


def counts(value: Mapping[str, object], most: int = MOST_IN_FLIGHT) -> dict[str, int]:
    """Numbers by backend. Raises ValueError and AttributeError."""
    return {text(backend): whole(count, most) for backend, count in value.items()}


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


def parse(record: str | bytes) -> ActiveHealth | None:
    """The active health in a record; None when it can't be read."""
    return read(
        record,
        lambda values: ActiveHealth(
            Health(values["health"]), whole(values["streak"]), text(values["reason"]), moment(values["since"])
        ),
    )


def parse_ejection(record: str | bytes) -> Ejection | None:
    """The ejection in a record; None when it can't be read, which keeps the backend in service."""
    found = _EJECTION.fullmatch(record.encode("utf-8", "replace") if isinstance(record, str) else record)
    if found is None:
        return None
    return Ejection(found[1] == b"true", int(found[2]), float(found[3]), float(found[4]))


def dump_override(override: Override) -> str:
    """The record of what operators set for a backend."""
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


def parse_override(record: str | bytes, backend: str) -> Override | None:
    """The override of the backend with this id in a record; None when it can't be read."""

    def override(values: Mapping[str, Any]) -> Override:
        weight, added = values.get("weight"), values.get("added")
        if added is not None and added["id"] != backend:
            raise ValueError("of another backend")
        return Override(
            Mode(values["mode"]),
            None if weight is None else whole(weight, MOST_WEIGHT),
            None if added is None else _backend(added),
            _flag(values.get("removed", False)),
            moment(values.get("since", 0.0)),
        )

    return read(record, override)


def dump_backends(backends: Iterable[Backend]) -> str:
    """The record of backends that are not configured."""
    return json.dumps([_backend_values(backend) for backend in backends], separators=(",", ":"))


def parse_backends(record: str | bytes) -> tuple[tuple[Backend, ...], int] | None:
    """The backends in a record, without those that can't be read, and how many these are; None if it is no list.

    Of two with one name, or at one place, the first is read.
    """
    listed = read(record, lambda values: list(values) if isinstance(values, list) else None)
    if listed is None:
        return None
    found: dict[str, Backend] = {}
    places: set[str] = set()
    for values in listed:
        try:
            backend = _backend(values)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            continue
        if backend.id not in found and backend.url not in places:
            found[backend.id] = backend
            places.add(backend.url)
    return tuple(found.values()), len(listed) - len(found)


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


def _backend(values: Mapping[str, Any]) -> Backend:
    """The backend that the configuration makes of these values, where they all agree with it. Raises ValueError."""
    made = _configured(
        text(values["url"]),
        text(values["id"]),
        whole(values["weight"], MOST_WEIGHT),
        _flag(values.get("backup", False)),
        None if values.get("slow_start") is None else moment(values["slow_start"]),
        whole(values.get("max_connections", 0)),
    )
    if any(values[key] != value for key, value in _backend_values(made).items()):
        raise ValueError("its parts do not fit together")
    return made


@lru_cache(maxsize=1 << 14)
def _configured(
    url: str, name: str, weight: int, backup: bool, slow_start: float | None, most: int
) -> Backend:  # as many as a pool may well have: they are read again whenever one of them changes
    return ConfiguredBackend(
        url=ServiceURL(url), name=name, weight=weight, backup=backup, slow_start=slow_start, max_connections=most
    ).to_model()


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def dump_loads(loads: Mapping[str, int]) -> str:
    """The record of what a worker has in flight."""
    return json.dumps(loads, separators=(",", ":"))


def parse_loads(record: str | bytes) -> dict[str, int] | None:
    """What a worker has in flight; None when it can't be read."""
    return read(record, counts)


def sum_loads(written: Iterable[str | bytes]) -> dict[str, int]:
    """What several workers have in flight together; a record that can't be read counts as nothing."""
    total: dict[str, int] = {}
    for record in written:
        for backend, load in (parse_loads(record) or {}).items():
            total[backend] = total.get(backend, 0) + load
    return total


def event_values(event: FleetEvent) -> tuple[str, ...]:
    """The fields of an event, in the order of the script that records them."""
    return event.kind.value, event.what, event.pool, event.backend, event.reason, event.actor


def event_id(text: str) -> str:
    """The id as the store takes it. Raises ValueError for anything else."""
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is not the id of an event")
    return text


def parse_events(found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[FleetEvent]:
    """The events among entries of the stream, without those of kinds and moments that are not known here."""
    events = []
    for id_, fields in found:
        values = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
        try:
            kind = Kind(values.get("kind", ""))
            texts = [values.get(name, "")[:MOST_TEXT] for name in EVENT_TEXTS]
            event = FleetEvent(kind, *texts, event_id(id_.decode()))
            moment(event.at)
        except ValueError:
            continue
        events.append(event)
    return events
