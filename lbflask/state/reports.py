"""How workers' reports are written down, and read as a roster: forgiving towards other versions of us."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lbflask.core.workers import Identity, Roster, Served, Worker, WorkerReport
from lbflask.state.ports import DEAD_AFTER


def dump(report: WorkerReport) -> str:
    """The record of a report."""
    who = report.who
    values = {
        "instance": who.instance,
        "host": who.host,
        "pid": who.pid,
        "version": who.version,
        "config": who.config,
        "started": round(who.started, 3),
        "clock": round(report.clock, 3),
        "seconds": round(report.seconds, 3),
        "served": {backend: [one.attempts, one.failures, one.buckets] for backend, one in report.served.items()},
    }
    return json.dumps(values, separators=(",", ":"))


def parse(record: str | bytes) -> WorkerReport | None:
    """The report in a record; None when it can't be read."""
    try:
        values = json.loads(record)
        text = {name: str(values[name]) for name in ("instance", "host", "version", "config")}
        who = Identity(**text, pid=int(values["pid"]), started=float(values["started"]))
        served = {str(backend): _served(*told) for backend, told in values["served"].items()}
        return WorkerReport(who, float(values["clock"]), float(values["seconds"]), served)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def roster(now: float, leader: str, beats: Iterable[tuple[str, bytes]], told: Mapping[str, bytes]) -> Roster:
    """Who is alive, by the latest beats, with what they told."""
    workers = []
    for worker, beat in beats:
        at, _, loads = beat.partition(b":")
        try:
            beaten = int(at) / 1000
            in_flight = {str(backend): int(load) for backend, load in json.loads(loads).items()}
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        if now - beaten <= DEAD_AFTER:
            reported, _, record = told.get(worker, b"").partition(b":")
            report = parse(record) if reported.isdigit() else None
            workers.append(Worker(worker, beaten, in_flight, report, int(reported) / 1000 if report else 0.0))
    return Roster(now, leader, tuple(sorted(workers, key=lambda worker: worker.id)))


def _served(attempts: Any, failures: Any, buckets: Any, *_: Any) -> Served:
    return Served(int(attempts), int(failures), {int(bucket): int(count) for bucket, count in buckets.items()})
