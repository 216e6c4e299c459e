"""The format of records in the store: JSON that a person can read with redis-cli.

Values are read within the bounds of the configuration. Unknown fields, as of a later version, are ignored; a record
with any other invalid content counts as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from lbflask.config.backends import BackendConfig
from lbflask.config.redaction import ServiceURL
from lbflask.core import failure_causes
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.client_shares import ClientCounts
from lbflask.core.discovery import SourceCause, SourceFailure
from lbflask.core.fleet_stats import BUCKETS, BackendCounts, Waits, WorkerIdentity, WorkerReport
from lbflask.core.model import MOST_WEIGHT, ActiveHealth, Backend, Closing, Ejection, Health, Mode, Override
from lbflask.core.operator_note import MAX_REASON, OperatorNote
from lbflask.core.printable import printable
from lbflask.core.reserves import FileSystem, LossCause, LostLines, Reserves, Use
from lbflask.core.slow_uploads import Uploads
from lbflask.store.ports import DEAD_AFTER

#: The latest valid time, in seconds since the epoch: the end of the year 9999.
MAX_TIMESTAMP = 253_402_300_799.0
#: The largest integer that is exact in both Lua and JSON.
MAX_INTEGER = 1 << 53
#: Characters that are kept of a text.
MAX_TEXT = 1000
#: Limit of the requests that one worker may have in flight at one backend.
MAX_IN_FLIGHT = 1_000_000

#: Limit of the workers of one instance.
MAX_WORKERS = 100_000

#: Limit of the keys of answers that are read of one worker; a worker writes far fewer.
MOST_ANSWER_KEYS = 500
#: A status of answers, or a class of them: a backend may send any of three digits from 100 on.
_STATUS = re.compile(r"[1-9](xx|[0-9]{2})", re.ASCII)
#: Limit of the clients that are read of one worker; a worker writes at most CAPACITY (core/heavy_hitters.py).
MOST_CLIENTS = 100
#: Results of handshakes, and file systems, that are kept of a report.
MAX_RESULTS = 32

#: The scripts write ejections, and read them with the same pattern.
_EJECTION = re.compile(
    rb'\{"out":(true|false),"times":(\d{1,6}),"since":(\d{1,12}\.\d{3}),"until":(\d{1,12}\.\d{3})\}', re.ASCII
)
#: A beat, a report or a drain: milliseconds of the server's clock, a colon, the content.
STAMPED = re.compile(rb"(\d{1,15}):(.*)", re.ASCII | re.DOTALL)

#: The buckets of latencies by their names in a report.
_BUCKETS = {str(bucket): bucket for bucket in range(BUCKETS)}

#: The notes of an override, in the order of `Override`.
NOTES = ("mode_note", "weight_note", "member_note")

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
    """A text that can be printed, cut at MAX_TEXT characters. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return printable(value[:MAX_TEXT])


def text_of(value: bytes, most: int = MAX_TEXT) -> str:
    """The text of a value that is no JSON, as `_text`, cut at `most` characters."""
    return printable(value.decode(errors="replace")[:most])


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _counts(value: Mapping[str, object]) -> dict[str, int]:
    """Counts by backend. Raises ValueError and AttributeError."""
    for count in value.values():
        if type(count) is not int or not 0 <= count <= MAX_IN_FLIGHT:  # inline, as in _backend_counts
            raise ValueError("not a number of requests")
    return {backend[:MAX_TEXT]: count for backend, count in value.items()}  # type: ignore[misc]


def dump_active(state: ActiveHealth) -> str:
    """The record of an active health."""
    values = {"health": state.health, "streak": state.streak, "reason": state.reason, "since": round(state.since, 3)}
    values |= {"cause": state.cause} if state.cause else {}
    values |= {"certificate_expires": state.certificate_expires} if state.certificate_expires else {}
    return _dumped(values)


def parse_active(record: str | bytes) -> ActiveHealth | None:
    """The active health in a record; None if it is invalid."""
    return _parsed(
        record,
        lambda values: ActiveHealth(
            Health(values["health"]),
            _integer(values["streak"]),
            _text(values["reason"]),
            _timestamp(values["since"]),
            failure_causes.recorded(values.get("cause", "")),
            _timestamp(values.get("certificate_expires", 0.0)),
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
    for name in NOTES:
        note = getattr(override, name)
        if note is not None:
            values[name] = [note.actor, round(note.at, 3), note.reason]
    if override.closing is not None:
        values["closing"] = [round(override.closing.since, 3), override.closing.seconds]
    return _dumped(values)


def parse_override(record: str | bytes, backend: str) -> Override | None:
    """The override in a record of the backend with this id; None if it is invalid."""

    def override(values: Mapping[str, Any]) -> Override:
        weight, added = values.get("weight"), values.get("added")
        if backend != _text(backend):
            raise ValueError("of no backend")
        if added is not None and added["id"] != backend:
            raise ValueError("of another backend")
        return Override(
            Mode(values["mode"]),
            None if weight is None else _integer(weight, MOST_WEIGHT),
            None if added is None else _backend(added),
            _flag(values.get("removed", False)),
            _timestamp(values.get("since", 0.0)),
            _note(values.get("mode_note")),
            _note(values.get("weight_note")),
            _note(values.get("member_note")),
            _closing(values.get("closing")),
        )

    return _parsed(record, override)


def _closing(value: Any) -> Closing | None:
    """The end of long connections; None for none. Raises ValueError and TypeError."""
    if value is None:
        return None
    since, seconds, *_ = value
    return Closing(_timestamp(since), _timestamp(seconds))


def _note(value: Any) -> OperatorNote | None:
    """A note; None for none. Raises ValueError and TypeError."""
    if value is None:
        return None
    actor, at, reason, *_ = value
    return OperatorNote(_text(actor), _timestamp(at), _text(reason)[:MAX_REASON])


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


def dump_source(failure: SourceFailure) -> str:
    """The record of the failure of a discovery source."""
    texts = {"source": failure.source[:MAX_TEXT], "reason": failure.reason[:MAX_TEXT], "cause": failure.cause}
    return _dumped(texts | {"since": round(failure.since, 3)})


def parse_source(record: str | bytes, now: float) -> SourceFailure | None:
    """The failure in a record; None if there is none, or it is invalid. One from ahead of `now` began now."""
    return _parsed(
        record,
        lambda values: SourceFailure(
            _text(values["source"]),
            _text(values["reason"]),
            min(now, _timestamp(values["since"])),
            SourceCause(_text(values.get("cause", ""))),
        ),
    )


def _backend_values(backend: Backend) -> dict[str, Any]:
    defaults = {"path": "", "backup": False, "slow_start": None, "max_connections": 0}
    return _values_of(backend, ("id", "scheme", "host", "port", "url", "weight"), defaults)


def _values_of(model: object, required: Iterable[str], defaults: Mapping[str, object]) -> dict[str, Any]:
    """The attributes by name: those that are required, and those that differ from their defaults."""
    values = {name: getattr(model, name) for name in required}
    return values | {name: value for name in defaults if (value := getattr(model, name)) != defaults[name]}


def _backend(values: Mapping[str, Any]) -> Backend:
    """The backend that the configuration makes of these values; each must equal that of the result, else ValueError."""
    url, id_ = _text(values["url"]), _text(values["id"])
    backend, expected = _configured(
        url,
        # A host and its port, which is the id unless there is a name, may have more signs than a name.
        name=None if id_ == url.partition("://")[2] else id_,
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


def dump_counts(counts: Mapping[str, int]) -> str:
    """The record of a worker's requests in flight by backend, or of its attempts, in one value: to send a thousand one
    by one costs ten times as much.
    """
    return _dumped(counts)


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
    values |= {name: value for name in ("expected", "boot", "lineage", "master") if (value := getattr(identity, name))}
    values |= {"stopping": True} if report.stopping else {}
    values |= {} if report.answers is None else {"answers": _answers_value(report.answers)}
    waits = {id_: [one.count, round(one.oldest, 1)] for id_, one in report.waits.items()}
    values |= {"waits": waits} if waits else {}
    values |= {"handshakes": dict(report.handshakes)} if report.handshakes else {}
    values |= _reserves_values(report.reserves)
    for name, clients in (("clients", report.clients), ("refused_clients", report.refused_clients)):
        values |= {} if clients is None else {name: _clients_value(clients)}
    uploads = {
        id_: [one.receiving, one.slow, round(one.oldest, 1), one.by_client] for id_, one in report.uploads.items()
    }
    values |= {"uploads": uploads} if uploads else {}
    return _dumped(values | {"served": served, "attempts": report.attempts})


def parse_report(record: str | bytes) -> WorkerReport | None:
    """The report in a record; None if it is invalid."""

    def report(values: Mapping[str, Any]) -> WorkerReport:
        names = {name: _text(values[name]) for name in ("instance", "host", "version", "config")}
        identity = WorkerIdentity(
            **names,
            pid=_integer(values["pid"]),
            started=_timestamp(values["started"]),
            expected=_integer(values.get("expected", 0), MAX_WORKERS),
            boot=_text(values.get("boot", "")),
            lineage=_text(values.get("lineage", "")),
            master=_integer(values.get("master", 0)),
        )
        served = {backend[:MAX_TEXT]: _backend_counts(counts) for backend, counts in values["served"].items()}
        times = _timestamp(values["clock"]), _timestamp(values["seconds"])
        stopping, attempts = _flag(values.get("stopping", False)), _integer(values.get("attempts", 0))
        answers = None if values.get("answers") is None else _answers(*values["answers"])
        waits = {_text(backend): _waits(*wait) for backend, wait in values.get("waits", {}).items()}
        handshakes = {_text(result): _integer(count) for result, count in values.get("handshakes", {}).items()}
        handshakes = dict(islice(handshakes.items(), MAX_RESULTS))
        reserves = _reserves(values)
        clients, refused = (
            None if values.get(name) is None else _clients(*values[name]) for name in ("clients", "refused_clients")
        )
        uploads = {_text(backend): _uploads(*parts) for backend, parts in values.get("uploads", {}).items()}
        return WorkerReport(
            identity,
            *times,
            served,
            stopping,
            attempts,
            answers,
            waits,
            handshakes,
            reserves,
            clients,
            uploads,
            refused,
        )

    return _parsed(record, report)


def _reserves_values(reserves: Reserves) -> dict[str, Any]:
    values: dict[str, Any] = {"descriptors": reserves.descriptors} if reserves.descriptors else {}
    lost = reserves.lost_lines
    values |= {} if lost is None else {"lost_lines": [lost.count, lost.path, lost.reason, lost.cause]}
    scarce = [[one.use, one.path, one.free, one.size] for one in reserves.nearly_full]
    return values | ({"nearly_full": scarce} if scarce else {})


def _reserves(values: Mapping[str, Any]) -> Reserves:
    """Raises ValueError, LookupError and TypeError."""
    opened, lost = values.get("descriptors"), values.get("lost_lines")
    return Reserves(
        None if opened is None else (_integer(opened[0]), _integer(opened[1])),
        None if lost is None else _lost_lines(*lost),
        tuple(_file_system(*one) for one in values.get("nearly_full", ())[:MAX_RESULTS]),
    )


def _file_system(use: Any, path: Any, free: Any, size: Any, *_: Any) -> FileSystem:
    return FileSystem(Use(_text(use)), _text(path), _integer(free), _integer(size))


def _lost_lines(count: Any, path: Any, reason: Any, cause: Any, *_: Any) -> LostLines:
    return LostLines(_integer(count), _text(path), _text(reason), LossCause(_text(cause)))


def _answers_value(answers: Answers) -> list[Any]:
    return [round(answers.seconds, 3), [[*key, count] for key, count in answers.counts.items()]]


def _answers(seconds: object, counts: Iterable[Sequence[Any]], *_: object) -> Answers:
    by_key = {AnswerKey(*map(_text, parts[:3])): _integer(parts[3]) for parts in islice(counts, MOST_ANSWER_KEYS)}
    if not all(_STATUS.fullmatch(key.status) for key in by_key):
        raise ValueError("not a status")
    return Answers(_timestamp(seconds), by_key)


def _clients_value(clients: ClientCounts) -> list[Any]:
    return [round(clients.seconds, 3), clients.total, [[client, count] for client, count in clients.counts.items()]]


def _clients(seconds: object, total: object, counts: Iterable[Sequence[Any]], *_: object) -> ClientCounts:
    by_client = {_text(parts[0]): _integer(parts[1]) for parts in islice(counts, MOST_CLIENTS)}
    return ClientCounts(_timestamp(seconds), _integer(total), by_client)


def _backend_counts(parts: Sequence[Any]) -> BackendCounts:
    """The counts of one backend. All checks are inline: a view of a large pool reads tens of thousands of them."""
    attempts, failures = parts[0], parts[1]
    if not (type(attempts) is type(failures) is int and 0 <= attempts <= MAX_INTEGER and 0 <= failures <= MAX_INTEGER):
        raise ValueError("not numbers of attempts")
    by_bucket = {_BUCKETS[bucket]: count for bucket, count in parts[2].items()}
    for count in by_bucket.values():
        if type(count) is not int or not 0 <= count <= MAX_IN_FLIGHT:
            raise ValueError("not a number of requests")
    return BackendCounts(attempts, failures, by_bucket)


def _waits(count: object, oldest: object, *_: object) -> Waits:
    return Waits(_integer(count, MAX_IN_FLIGHT), _timestamp(oldest))


def _uploads(receiving: object, slow: object, oldest: object, clients: Mapping[str, object], *_: object) -> Uploads:
    by_client = {_text(client): count for client, count in islice(_counts(clients).items(), MOST_CLIENTS)}
    return Uploads(_integer(receiving, MAX_IN_FLIGHT), _integer(slow, MAX_IN_FLIGHT), _timestamp(oldest), by_client)


def stamped(value: bytes, now: float) -> tuple[float | None, bytes]:
    """The timestamp of a value and the rest of it; None if there is no timestamp.

    One ahead of `now` by more than DEAD_AFTER was written before the clock was set back, and counts as `now`.
    """
    match = STAMPED.fullmatch(value)
    if match is None:
        return None, b""
    at = int(match[1]) / 1000
    return (now if at - now > DEAD_AFTER else at), match[2]
