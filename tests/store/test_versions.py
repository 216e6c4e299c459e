"""Workers of two versions share one store: fields that this version does not know, and fields that are missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbflask.core.client_shares import ClientCounts
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import BackendCounts, Waits, WorkerIdentity, WorkerReport
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Ejection, Health, Mode, Override, Snapshot
from lbflask.core.slow_uploads import Uploads
from lbflask.store import records
from lbflask.store.keys import PoolKeys
from lbflask.store.ports import HealthWrite
from tests.store.stores import real_redis

POOL = "web"
UP = ActiveHealth(Health.UP, 1, "connected", 1_700_000_000.125, FailureCause.CLOSED)
ADDED = Backend("added", "10.0.0.9", 80, "http://10.0.0.9:80", 2)
OVERRIDE = Override(Mode.DRAINING, 3, ADDED, since=1_700_000_001.5)
WHO = WorkerIdentity("host/0.0.0.0:80", "host", 7, "0.9", "abc", 1_700_000_000.125)
REPORT = WorkerReport(
    WHO,
    1_700_000_001.5,
    9.5,
    {"a": BackendCounts(10, 2, {3: 4})},
    waits={"a": Waits(3, 31.5)},
    clients=ClientCounts(10.25, 12, {"10.1.2.3": 9}),
    refused_clients=ClientCounts(5.0, 3, {"10.1.2.3": 3}),
    uploads={"a": Uploads(5, 3, 12.5, {"10.1.2.3": 2})},
)

#: Each kind of record in JSON: its text, and its reader.
RECORDS = {
    "active": (records.dump_active(UP), records.parse_active),
    "override": (records.dump_override(OVERRIDE), lambda record: records.parse_override(record, "added")),
    "discovered": (records.dump_backends([ADDED]), records.parse_backends),
    "report": (records.dump_report(REPORT), records.parse_report),
}


def extended(value: Any) -> Any:
    """The value with one more field in each of its objects that have fixed fields."""
    if isinstance(value, list):
        return [extended(one) for one in value]
    if isinstance(value, dict):
        return {
            key: inner if key in ("served", "waits", "uploads") else extended(inner) for key, inner in value.items()
        } | {"weather": [1]}
    return value


def newer(record: str) -> str:
    """The record as a later version with more fields writes it."""
    return json.dumps(extended(json.loads(record)), separators=(",", ":"))


@pytest.mark.parametrize("kind", RECORDS)
def test_fields_of_a_later_version_are_ignored(kind: str) -> None:
    record, parse = RECORDS[kind]
    assert "weather" in newer(record)
    assert parse(newer(record)) == parse(record) is not None


def test_fields_that_an_earlier_version_does_not_write_have_their_defaults() -> None:
    plain = '{"id":"a","scheme":"http","host":"a","port":80,"url":"http://a:80","weight":1}'
    backend = Backend("a", "a", 80, "http://a:80")
    assert records.parse_backends(f"[{plain}]") == ((backend,), 0)
    assert records.parse_override(f'{{"mode":"off","added":{plain}}}', "a") == Override(Mode.OFF, added=backend)
    assert records.parse_override('{"mode":"draining"}', "a") == Override(Mode.DRAINING)


def test_a_choice_of_a_later_version_leaves_the_backend_in_service() -> None:
    """An unknown mode, health or form of an ejection counts as no record, which is the safe side for requests."""
    assert records.parse_override('{"mode":"asleep"}', "a") is None
    assert records.parse_active('{"health":"tired","streak":0,"reason":"","since":1.0}') is None
    ejection = b'{"out":true,"times":1,"since":1700000000.000,"until":1700000030.000}'
    assert records.parse_ejection(ejection) == Ejection(True, 1, 1_700_000_000.0, 1_700_000_030.0)
    assert records.parse_ejection(ejection[:-1] + b',"weather":1}') is None


def snapshot_of(redis_url: str, *, later: bool) -> Snapshot:
    """What a worker reads of a pool that a checker and an operator of this or of a later version have written."""
    keys = PoolKeys("test", POOL)
    with real_redis(redis_url) as rig:
        assert rig.client is not None
        lease = rig.store.hold_lease(POOL, "checker", 600)
        assert lease is not None
        rig.store.write_active(POOL, HealthWrite(lease.epoch, {"a": UP}, interval=60, announce=True))
        rig.store.write_discovered(POOL, lease.epoch, [ADDED])
        rig.store.write_override(POOL, "added", None, OVERRIDE)
        if later:
            for key, field in ((keys.active, "a"), (keys.overrides, "added")):
                rig.client.hset(key, field, newer(rig.client.hget(key, field).decode()))
            rig.client.set(keys.discovered, newer(rig.client.get(keys.discovered).decode()))
            rig.client.hset(f"{{test:{POOL}}}:weather", "a", "sunny")
        return rig.other.read_snapshot(POOL, NOTHING_KNOWN)


def test_the_records_of_a_later_version_in_the_store_are_read_like_our_own(redis_url: str) -> None:
    ours = snapshot_of(redis_url, later=False)
    theirs = snapshot_of(redis_url, later=True)
    assert ours.active["a"] == theirs.active["a"] == UP
    assert ours.overrides["added"] == theirs.overrides["added"] == OVERRIDE
    assert ours.discovered == theirs.discovered == (ADDED,)


def test_an_operator_of_this_version_changes_a_record_of_a_later_one(redis_url: str) -> None:
    with real_redis(redis_url) as rig:
        assert rig.client is not None
        rig.store.write_override(POOL, "added", None, OVERRIDE)
        rig.client.hset(PoolKeys("test", POOL).overrides, "added", newer(records.dump_override(OVERRIDE)))
        read = rig.store.read_snapshot(POOL, NOTHING_KNOWN).overrides["added"]
        assert rig.store.write_override(POOL, "added", read, Override(Mode.OFF, added=ADDED))
        assert rig.other.read_snapshot(POOL, NOTHING_KNOWN).overrides["added"].mode is Mode.OFF
