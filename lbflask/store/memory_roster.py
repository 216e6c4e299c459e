"""The workers of a pool in a MemoryStore, as its roster has them."""

from __future__ import annotations

from collections.abc import Mapping

from lbflask.core.fleet_stats import Worker, WorkerReport
from lbflask.store import ports


def reporting(
    beats: Mapping[str, tuple[float, dict[str, int]]], reports: Mapping[str, tuple[float, WorkerReport]], now: float
) -> tuple[tuple[Worker, ...], tuple[Worker, ...]]:
    """The workers that beat, and those that are silent and not forgotten yet."""
    workers, silent = [], []
    for worker, (at, loads) in sorted(beats.items()):
        if now - at <= ports.DEAD_AFTER:
            reported, report = reports.get(worker, (0.0, None))
            workers.append(Worker(worker, corrected(at, now), dict(loads), report, corrected(reported, now)))
    for worker, (reported, latest) in sorted(reports.items()):
        at = beats[worker][0] if worker in beats else reported
        if ports.DEAD_AFTER < now - at <= ports.FORGOTTEN_AFTER:
            silent.append(Worker(worker, at, {}, latest, reported))
    return tuple(workers), tuple(silent)


def corrected(moment: float, now: float, period: float = ports.DEAD_AFTER) -> float:
    """The moment; `now` for one that is ahead by more than its period, which the clock was set back from."""
    return now if moment - now > period else moment
