"""The format of records in the store: JSON that a person can read with redis-cli.

Values are read within the bounds of the configuration. Unknown fields, as of a later version, are ignored; a record
with any other invalid content counts as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from lbflask.config.backends import BackendConfig
from lbflask.config.redaction import ServiceURL
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import BUCKETS, BackendCounts, Roster, Worker, WorkerIdentity, WorkerReport
from lbflask.core.instance_drain import MAX_DURATION, InstanceDrain
from lbflask.core.model import MOST_WEIGHT, ActiveHealth, Backend, Ejection, Health, Mode, Override
from lbflask.store.ports import DEAD_AFTER

#: The latest valid time, in seconds since the epoch: the end of the year 9999.
MAX_TIMESTAMP = 253_402_300_799.0
#: The largest integer that is exact in both Lua and JSON.
MAX_INTEGER = 1 << 53
#: Characters that are kept of a text.
MAX_TEXT = 1000
#: Limit of the requests that one worker may have in flight at one backend.
MAX_IN_FLIGHT = 1_000_000

#: The scripts write ejections, and read them with the same pattern.
_EJECTION = re.compile(
    rb'\{"out":(true|false),"times":(\d{1,6}),"since":(\d{1,12}\.\d{3}),"until":(\d{1,12}\.\d{3})\}', re.ASCII
)
#: A beat, a report or a drain: milliseconds of the server's clock, a colon, the content.
_STAMPED = re.compile(rb"(\d{1,15}):(.*)", re.ASCII | re.DOTALL)

#: The fields of an event after its kind, in the order of `FleetEvent`, whose `actor` is stored as `who`.
EVENT_FIELDS = ("what", "pool", "backend", "reason", "who")

Value = TypeVar("Value")


def _parsed(record: str | bytes, parse: Callable[[Any], Value]) -> Value | None:
    """The result of `parse` for the JSON in a record; None if either is invalid."""
    try:
        return parse(json.loads(record))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _dumped(values: object) -> str:
    return json.dumps(values, separators=(",", ":"))


def _integer(value: object, limit: int = MAX_INTEGER) -> int:
    """An integer from 0 to the limit. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError("not an integer within its bounds")
    return value


def _timestamp(value: object) -> float:
    """Seconds since the epoch. Raises ValueError."""
    if type(value) not in (int, float) or not 0 <= value <= MAX_TIMESTAMP:  # type: ignore[operator]
        raise ValueError("not a timestamp")
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    """A text, cut at MAX_TEXT characters. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value[:MAX_TEXT]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _counts(value: Mapping[str, object]) -> dict[str, int]:
    """Counts by backend. Raises ValueError and AttributeError."""
    return {_text(backend): _integer(count, MAX_IN_FLIGHT) for backend, count in value.items()}


def dump_active(state: ActiveHealth) -> str:
    """The record of an active health."""
    since = round(state.since, 3)
    return _dumped({"health": state.health, "streak": state.streak, "reason": state.reason, "since": since})


def parse_active(record: str | bytes) -> ActiveHealth | None:
    """The active health in a record; None if it is invalid."""
    return _parsed(
        record,
        lambda values: ActiveHealth(
            Health(values["health"]), _integer(values["streak"]), _text(values["reason"]), _timestamp(values["since"])
        ),
    )


def parse_ejection(record: str | bytes) -> Ejection | None:
    """The ejection in a record; None if it is invalid, which keeps the backend in service."""
    match = _EJECTION.fullmatch(record.encode("utf-8", "replace") if isinstance(record, str) else record)
    if match is None:
        return None
    return Ejection(match[1] == b"true", int(match[2]), float(match[3]), float(match[4]))


def dump_override(override: Override) -> str:
    """The record of an operator's settings for a backend."""
    values = _values_of(override, ("mode",), {"weight": None, "added": None, "removed": False, "since": 0.0})
    if override.added is not None:
        values["added"] = _backend_values(override.added)
    return _dumped(values)


def parse_override(record: str | bytes, backend: str) -> Override | None:
    """The override in a record of the backend with this id; None if it is invalid."""

    def override(values: Mapping[str, Any]) -> Override:
        weight, added = values.get("weight"), values.get("added")
        if added is not None and added["id"] != backend:
            raise ValueError("of another backend")
        return Override(
            Mode(values["mode"]),
            None if weight is None else _integer(weight, MOST_WEIGHT),
            None if added is None else _backend(added),
            _flag(values.get("removed", False)),
            _timestamp(values.get("since", 0.0)),
        )

    return _parsed(record, override)


def dump_backends(backends: Iterable[Backend]) -> str:
    """The record of discovered backends."""
    return _dumped([_backend_values(backend) for backend in backends])


def parse_backends(record: str | bytes) -> tuple[tuple[Backend, ...], int] | None:
    """The valid backends in a record, and the number of invalid ones; None if the record is no list.

    Of two backends with the same id or URL, the second counts as invalid.
    """
    listed = _parsed(record, lambda values: list(values) if isinstance(values, list) else None)
    if listed is None:
        return None
    backends: dict[str, Backend] = {}
    urls: set[str] = set()
    for values in listed:
        try:
            backend = _backend(values)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            continue
        if backend.id not in backends and backend.url not in urls:
            backends[backend.id] = backend
            urls.add(backend.url)
    return tuple(backends.values()), len(listed) - len(backends)


def _backend_values(backend: Backend) -> dict[str, Any]:
    defaults = {"path": "", "backup": False, "slow_start": None, "max_connections": 0}
    return _values_of(backend, ("id", "scheme", "host", "port", "url", "weight"), defaults)


def _values_of(model: object, required: Iterable[str], defaults: Mapping[str, object]) -> dict[str, Any]:
    """The attributes by name: those that are required, and those that differ from their defaults."""
    values = {name: getattr(model, name) for name in required}
    return values | {name: value for name in defaults if (value := getattr(model, name)) != defaults[name]}


def _backend(values: Mapping[str, Any]) -> Backend:
    """The backend that the configuration makes of these values; each must equal that of the result, else ValueError."""
    backend, expected = _configured(
        _text(values["url"]),
        name=_text(values["id"]),
        weight=_integer(values["weight"], MOST_WEIGHT),
        backup=_flag(values.get("backup", False)),
        slow_start=None if values.get("slow_start") is None else _timestamp(values["slow_start"]),
        max_connections=_integer(values.get("max_connections", 0)),
    )
    if any(values[key] != value for key, value in expected.items()):
        raise ValueError("its parts contradict each other")
    return backend


@lru_cache(maxsize=1 << 14)  # above the size of a large pool, all of whose backends are parsed when one changes
def _configured(url: str, **settings: Any) -> tuple[Backend, dict[str, Any]]:
    """The backend that the configuration makes of these settings, and the values of its record."""
    backend = BackendConfig(url=ServiceURL(url), **settings).to_model()
    return backend, _backend_values(backend)


def dump_loads(loads: Mapping[str, int]) -> str:
    """The record of a worker's requests in flight by backend."""
    return _dumped(loads)


def parse_loads(record: str | bytes) -> dict[str, int] | None:
    """A worker's requests in flight by backend; None if the record is invalid."""
    return _parsed(record, _counts)


def sum_loads(records: Iterable[str | bytes]) -> dict[str, int]:
    """The requests in flight of several workers together; an invalid record counts as empty."""
    total: dict[str, int] = {}
    for record in records:
        for backend, load in (parse_loads(record) or {}).items():
            total[backend] = total.get(backend, 0) + load
    return total


def dump_report(report: WorkerReport) -> str:
    """The record of a worker's report."""
    identity = report.identity
    values = {name: getattr(identity, name) for name in ("instance", "host", "pid", "version", "config")}
    times = {"started": identity.started, "clock": report.clock, "seconds": report.seconds}
    values |= {name: round(seconds, 3) for name, seconds in times.items()}
    served = {id_: [one.attempts, one.failures, one.buckets] for id_, one in report.served.items()}
    return _dumped(values | {"served": served})


def parse_report(record: str | bytes) -> WorkerReport | None:
    """The report in a record; None if it is invalid."""

    def report(values: Mapping[str, Any]) -> WorkerReport:
        names = {name: _text(values[name]) for name in ("instance", "host", "version", "config")}
        identity = WorkerIdentity(**names, pid=_integer(values["pid"]), started=_timestamp(values["started"]))
        served = {_text(backend): _backend_counts(*counts) for backend, counts in values["served"].items()}
        return WorkerReport(identity, _timestamp(values["clock"]), _timestamp(values["seconds"]), served)

    return _parsed(record, report)


def _backend_counts(attempts: object, failures: object, buckets: Mapping[str, object], *_: object) -> BackendCounts:
    by_bucket = {_integer(int(bucket), BUCKETS - 1): count for bucket, count in _counts(buckets).items()}
    return BackendCounts(_integer(attempts), _integer(failures), by_bucket)


def roster(now: float, leader: str, beats: Iterable[tuple[str, bytes]], reports: Mapping[str, bytes]) -> Roster:
    """The workers whose latest beat is at most DEAD_AFTER old, each with its report if that is valid."""
    workers = []
    for worker, beat in beats:
        at, loads = _stamped(beat, now)
        in_flight = None if at is None else parse_loads(loads)
        if at is None or in_flight is None or now - at > DEAD_AFTER:
            continue
        reported, record = _stamped(reports.get(worker, b""), now)
        report = None if reported is None else parse_report(record)
        workers.append(Worker(worker, at, in_flight, report, (reported or 0.0) if report else 0.0))
    return Roster(now, leader, tuple(sorted(workers, key=lambda worker: worker.id)))


def _stamped(value: bytes, now: float) -> tuple[float | None, bytes]:
    """The timestamp of a value and the rest of it; None if there is no timestamp.

    One ahead of `now` by more than DEAD_AFTER was written before the clock was set back, and counts as `now`.
    """
    match = _STAMPED.fullmatch(value)
    if match is None:
        return None, b""
    at = int(match[1]) / 1000
    return (now if at - now > DEAD_AFTER else at), match[2]


def parse_drains(now: float, entries: Iterable[tuple[str, bytes]]) -> dict[str, InstanceDrain]:
    """The drains by instance that are not over. One that lasts longer than possible was written before the clock was
    set back, and lasts as long as possible.
    """
    drains = {}
    for instance, entry in entries:
        match = _STAMPED.fullmatch(entry)
        if match is not None and int(match[1]) / 1000 > now:
            until = min(int(match[1]) / 1000, now + MAX_DURATION)
            drains[instance] = InstanceDrain(until, match[2].decode(errors="replace")[:MAX_TEXT])
    return drains


def event_values(event: FleetEvent) -> tuple[str, ...]:
    """The kind and the EVENT_FIELDS of an event."""
    return event.kind.value, event.what, event.pool, event.backend, event.reason, event.actor


def event_id(text: str) -> str:
    """The id of an event as the store accepts it. Raises ValueError for anything else."""
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is not the id of an event")
    return text


def parse_events(entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[FleetEvent]:
    """The events in entries of the stream, without those of unknown kinds and with invalid ids."""
    events = []
    for id_, entry in entries:
        texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in entry.items()}
        what, pool, backend, reason, actor = (texts.get(name, "")[:MAX_TEXT] for name in EVENT_FIELDS)
        try:
            event = FleetEvent(Kind(texts.get("kind", "")), what, pool, backend, reason, actor, event_id(id_.decode()))
            _timestamp(event.at)
        except ValueError:
            continue
        events.append(event)
    return events
