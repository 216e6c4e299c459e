"""The workers and checkers of a pool, from their records. As in `records`, invalid ones count as absent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from lbflask.core.fleet_stats import Roster, Worker
from lbflask.core.printable import printable
from lbflask.store.ports import DEAD_AFTER, FORGOTTEN_AFTER
from lbflask.store.records import MAX_TEXT, parse_loads, parse_report, stamped

#: Seconds of a lease; a longer one was written before the clock was set back.
MAX_LEASE = 86_400.0
#: A counter of attempts.
_COUNTER = re.compile(rb"[0-9]{1,16}")


def parse_checkers(pairs: Iterable[tuple[str, bytes]], now: float) -> tuple[str, ...]:
    """The checkers whose place is not over; without invalid ones, and those from before the clock was set back."""
    times = ((name, int(until) / 1000) for name, until in pairs if _COUNTER.fullmatch(until))
    return tuple(sorted(_name(name) for name, until in times if now < until <= now + MAX_LEASE))


def roster(
    now: float,
    leader: str,
    beats: Iterable[tuple[str, bytes]],
    reports: Mapping[str, bytes],
    attempts: Iterable[tuple[str, bytes]] = (),
) -> Roster:
    """The workers whose latest beat is at most DEAD_AFTER old, each with its report if that is valid; and those whose
    latest beat or report is older, by at most FORGOTTEN_AFTER, with a valid report. Invalid counters are left out.
    """
    workers, beaten = [], dict[str, float]()
    for worker, beat in beats:
        at, loads = stamped(beat, now)
        in_flight = None if at is None else parse_loads(loads)
        if at is None or in_flight is None:
            continue
        beaten[worker] = at
        if now - at > DEAD_AFTER:
            continue
        reported, record = stamped(reports.get(worker, b""), now)
        report = None if reported is None else parse_report(record)
        arrived = (reported or 0.0) if report else 0.0
        workers.append(Worker(_name(worker), at, in_flight, report, arrived))
    silent = _silent(now, beaten, reports)
    counts = {backend: int(count) for backend, count in attempts if _COUNTER.fullmatch(count)}
    return Roster(now, leader, tuple(sorted(workers, key=_by_id)), tuple(sorted(silent, key=_by_id)), counts)


def _silent(now: float, beaten: Mapping[str, float], reports: Mapping[str, bytes]) -> Iterator[Worker]:
    """The workers without a beat for more than DEAD_AFTER. `beaten` has the beats that are there by worker."""
    for id_, record in reports.items():
        reported, text = stamped(record, now)
        at = beaten.get(id_, reported)
        if reported is None or at is None or not DEAD_AFTER < now - at <= FORGOTTEN_AFTER:
            continue
        report = parse_report(text)
        if report is not None:
            yield Worker(_name(id_), at, {}, report, reported)


def _name(text: str) -> str:
    return printable(text[:MAX_TEXT])


def _by_id(worker: Worker) -> str:
    return worker.id
