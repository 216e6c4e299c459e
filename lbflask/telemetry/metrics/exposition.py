"""Merges the metrics of all workers of an instance and writes them in the Prometheus text format.

The counters of ended workers are folded into one file, so that totals never decrease and files do not accumulate;
their gauges are discarded. During an upgrade workers of two versions share the files: one that has metrics of a later
version is folded by a worker of that version.
"""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from operator import add
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from lbflask.telemetry.metrics import definitions, mmap_values
from lbflask.telemetry.metrics.definitions import BY_NAME, Metric
from lbflask.telemetry.metrics.recorder import Sample

__all__ = ["CONTENT_TYPE", "Busy", "collect", "render"]

#: Seconds to wait for another worker that holds the lock of the directory.
LOCK_TIMEOUT = 1.0
#: Rows read or lines written at once; requests stand still meanwhile, for some milliseconds.
BATCH = 300

_FOLDED = "folded"
_PAST = "past"

Numbers = dict[tuple[str, ...], list[float]]


class Busy(Exception):
    """Another worker holds the lock for too long."""


def collect(directory: Path) -> Numbers:
    """Counters of all workers, ended ones included, and gauges of running workers. Raises Busy, OSError."""
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        with mmap_values.locked(directory / "lock") as acquired:
            if acquired:
                return _collect(directory)
        if time.monotonic() >= until:
            raise Busy("another worker has been reading the metrics for a second")
        time.sleep(0.005)


def render(numbers: Numbers, samples: Iterable[Sample]) -> bytes:
    """The text of a scrape: the collected numbers and the current `samples` of this worker."""
    series: defaultdict[str, list[tuple[tuple[str, ...], list[float]]]] = defaultdict(list)
    for name, values in numbers.items():
        metric = BY_NAME.get(name[0])
        if metric is not None and len(name) == 1 + len(metric.labels) and len(values) == metric.size:
            series[metric.name].append((name[1:], values))
    for metric, labels, value in samples:
        series[metric.name].append((labels, [value]))
    return b"".join(_text(metric, series[metric.name]) for metric in definitions.ALL if metric.name in series)


def _collect(directory: Path) -> Numbers:
    past: Numbers = {}
    _add(past, directory / _PAST, counters_only=False)
    folded = {name[1] for name in past if name[0] == _FOLDED}
    living: list[Path] = []
    dead: list[Path] = []
    later: list[Path] = []
    for path in sorted(directory.glob("*.cells")):
        if path.name in folded:  # the worker that folded it ended before removing it
            path.unlink()
        elif not mmap_values.is_dead(path):
            living.append(path)
        else:
            (later if _is_of_later_version(path) else dead).append(path)
    if dead:
        past = {name: values for name, values in past.items() if name[0] != _FOLDED}
        for path in dead:
            _add(past, path, counters_only=True)
        _replace(directory, past, dead)
    for path in later:
        _add(past, path, counters_only=True)
    for path in living:
        _add(past, path, counters_only=False)
    past[(definitions.WORKERS.name,)] = [float(len(living))]
    return past


def _is_of_later_version(path: Path) -> bool:
    """Whether the file has metrics that this version does not have, and whose kind is therefore unknown."""
    with suppress(FileNotFoundError):
        return any(name[0] not in BY_NAME for name, _ in mmap_values.read(path))
    return False


def _add(total: Numbers, path: Path, *, counters_only: bool) -> None:
    with suppress(FileNotFoundError):
        for number, (name, values) in enumerate(mmap_values.read(path)):
            metric = BY_NAME.get(name[0])
            if counters_only and (metric is None or metric.kind == "gauge"):
                continue
            sums = total.get(name)
            merged = max if metric is not None and metric.largest else add
            total[name] = list(values) if sums is None else list(map(merged, sums, values))
            if number % BATCH == BATCH - 1:
                time.sleep(0)


def _replace(directory: Path, past: Numbers, dead: list[Path]) -> None:
    """Replace the file of the past atomically, then remove the files folded into it. It lists their names, so that
    they are not counted twice if this process ends in between.
    """
    unpublished = directory / f"{_PAST}.next"
    for leftover in (unpublished, unpublished.with_suffix(".new")):
        leftover.unlink(missing_ok=True)
    written = mmap_values.MmapValues(unpublished)
    for name, values in [*past.items(), *(((_FOLDED, path.name), [1.0]) for path in dead)]:
        begin = written.row(name, len(values))
        written.values[begin : begin + len(values)] = array("d", values)
    written.close()
    unpublished.rename(directory / _PAST)
    for path in dead:
        path.unlink()


class _SingleFamily(list[Family], Collector):
    """Some series of one metric, for prometheus_client."""

    def collect(self) -> list[Family]:
        return self


def _text(metric: Metric, series: list[tuple[tuple[str, ...], list[float]]]) -> bytes:
    pieces = []
    count = max(1, BATCH // (metric.size + 1))
    for begin in range(0, len(series), count):
        text = generate_latest(_SingleFamily([_family(metric, series[begin : begin + count])]))
        if begin:  # HELP and TYPE are already written
            text = text.split(b"\n", 2)[2]
            time.sleep(0)
        pieces.append(text)
    return b"".join(pieces)


def _family(metric: Metric, series: list[tuple[tuple[str, ...], list[float]]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.full_name, metric.help, labels=metric.labels)
        for labels, values in series:
            histogram.add_metric(labels, _cumulative(metric, values), values[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.full_name, metric.help, labels=metric.labels)
    for labels, values in series:
        family.add_metric(labels, values[0])
    return family


def _cumulative(metric: Metric, values: list[float]) -> list[tuple[str, float]]:
    """Cumulative buckets: each includes all lower ones, as the Prometheus format requires."""
    buckets, total = [], 0.0
    for bound, count in zip((*map(str, metric.buckets), "+Inf"), values, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets
