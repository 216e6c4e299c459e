"""Records of the store, and the file of a worker's metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fuzz.properties.files import written
from lbflask.core.bans import MAX_DURATION as MAX_BAN
from lbflask.core.instance_drain import MAX_DURATION
from lbflask.core.model import NOTHING_KNOWN, Ejection
from lbflask.store import fleet_records, records, roster_records
from lbflask.store.keys import PoolKeys
from lbflask.store.snapshots import SnapshotReader
from lbflask.telemetry.metrics import mmap_values

NOW = 1_700_000_000.0
_KEYS = PoolKeys("fuzz", "default")


def record(data: bytes) -> None:
    """A record is invalid, or a value whose record is read as the same value."""
    _same_again(data, records.parse_active, records.dump_active)
    _same_again(data, lambda one: records.parse_override(one, "web-1"), records.dump_override)
    _same_again(data, records.parse_loads, records.dump_counts)
    _same_again(data, lambda one: records.parse_source(one, NOW), records.dump_source)
    found = records.parse_backends(data)
    if found is not None:
        assert records.parse_backends(records.dump_backends(found[0])) == (found[0], 0)
    report = records.parse_report(data)
    if report is not None:
        again = records.parse_report(records.dump_report(report))
        assert again is not None
        assert again.served == report.served
    ejection = records.parse_ejection(data)
    assert ejection is None or Ejection(*_values(ejection)) == ejection
    records.sum_loads([data, data])


def _values(ejection: Ejection) -> tuple[bool, int, float, float]:
    assert 0 <= ejection.times < 1_000_000
    return ejection.out, ejection.times, ejection.since, ejection.until


def _same_again(data: bytes, parse: Callable[[str | bytes], Any], dump: Callable[[Any], str]) -> None:
    found = parse(data)
    if found is not None:
        first = parse(dump(found))  # which may round
        assert first is not None
        assert parse(dump(first)) == first


def beats(data: bytes) -> None:
    """Beats, reports, drains and events: those that are invalid are left out, and times are within bounds."""
    lines = data.split(b"\n")
    pairs = [(f"worker-{number}", line) for number, line in enumerate(lines)]
    roster = roster_records.roster(NOW, "leader", pairs, dict(pairs), pairs)
    assert {worker.id for worker in roster.workers} <= {name for name, _ in pairs}
    assert all(worker.at <= NOW + records.DEAD_AFTER for worker in roster.workers)
    assert all(count >= 0 for count in roster.attempts.values())
    for drain in fleet_records.parse_drains(NOW, pairs).values():
        assert NOW < drain.until <= NOW + MAX_DURATION
    for ban in fleet_records.parse_bans(NOW, [("192.0.2.1", line) for line in lines]):
        assert ban.until <= NOW + MAX_BAN
        assert max(map(len, (ban.actor, ban.reason, ban.rule))) <= records.MAX_TEXT
    entry = dict(line.partition(b"=")[::2] for line in lines)
    settings = fleet_records.parse_configuration(data)
    assert settings is None or fleet_records.parse_configuration(json.dumps(settings).encode()) is not None
    for event in fleet_records.parse_events([(lines[0], entry), (b"1-1", entry)]):
        assert event.id == fleet_records.event_id(event.id)
        assert len(event.reason) <= records.MAX_TEXT


def snapshot(data: bytes) -> None:
    """A reply of the store, whose lines are ids and records in turn: a snapshot of what is valid in it."""
    flat = data.split(b"\n")
    flat = flat[: len(flat) // 2 * 2]
    for discovered in (b"", *flat[-1:]):
        reply = [b"7", 1000, 2000, int(NOW), 5, flat, flat, flat, discovered, b""]
        reader = SnapshotReader(reply, NOTHING_KNOWN, _KEYS)
        found = reader.snapshot()
        assert found.version == 7
        assert set(found.ejected) | set(found.overrides) <= set(found.active)


def metrics_file(data: bytes) -> None:
    """A file of metrics: its rows, or OSError."""
    try:
        rows = list(mmap_values.read(written(data, "fuzz.cells")))
    except OSError:
        return
    assert sum(8 * len(values) for _, values in rows) <= len(data)
