"""How workers' reports are written down, and read as a roster: what can't be read counts as not said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lbflask.core.fleet_stats import BUCKETS, BackendCounts, Roster, Worker, WorkerIdentity, WorkerReport
from lbflask.store.ports import DEAD_AFTER
from lbflask.store.records import counts, moment, parse_loads, read, text, whole

_STAMPED = re.compile(rb"(\d{1,15}):(.*)", re.ASCII | re.DOTALL)


def dump(report: WorkerReport) -> str:
    """The record of a report."""
    identity = report.identity
    values = {
        "instance": identity.instance,
        "host": identity.host,
        "pid": identity.pid,
        "version": identity.version,
        "config": identity.config,
        "started": round(identity.started, 3),
        "clock": round(report.clock, 3),
        "seconds": round(report.seconds, 3),
        "served": {backend: [one.attempts, one.failures, one.buckets] for backend, one in report.served.items()},
    }
    return json.dumps(values, separators=(",", ":"))


def parse(record: str | bytes) -> WorkerReport | None:
    """The report in a record; None when it can't be read."""
    return read(record, _report)


def roster(
    now: float, leader: str, beats: Iterable[tuple[str, bytes]], records_by_worker: Mapping[str, bytes]
) -> Roster:
    """Who is alive, by the latest beats, with what they told."""
    workers = []
    for worker, beat in beats:
        beaten, loads = _stamped(beat, now)
        in_flight = None if beaten is None else parse_loads(loads)
        if beaten is None or in_flight is None or now - beaten > DEAD_AFTER:
            continue
        reported, record = _stamped(records_by_worker.get(worker, b""), now)
        report = None if reported is None else parse(record)
        workers.append(Worker(worker, beaten, in_flight, report, (reported or 0.0) if report else 0.0))
    return Roster(now, leader, tuple(sorted(workers, key=lambda worker: worker.id)))


def _stamped(value: bytes, now: float) -> tuple[float | None, bytes]:
    """The moment that a value begins with, and the rest of it; None if there is no moment.

    One that is further ahead than a worker is silent while it lives is from before the clock was set back: it is now.
    """
    found = _STAMPED.fullmatch(value)
    if found is None:
        return None, b""
    at = int(found[1]) / 1000
    return (now if at - now > DEAD_AFTER else at), found[2]


def _report(values: Mapping[str, Any]) -> WorkerReport:
    names = {name: text(values[name]) for name in ("instance", "host", "version", "config")}
    identity = WorkerIdentity(**names, pid=whole(values["pid"]), started=moment(values["started"]))
    served = {text(backend): _served(*counted) for backend, counted in values["served"].items()}
    return WorkerReport(identity, moment(values["clock"]), moment(values["seconds"]), served)


def _served(attempts: object, failures: object, buckets: Mapping[str, object], *_: object) -> BackendCounts:
    numbers = {whole(int(bucket), BUCKETS - 1): count for bucket, count in counts(buckets).items()}
    return BackendCounts(whole(attempts), whole(failures), numbers)
