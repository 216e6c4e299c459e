"""What stands in the store and is not ours: every key with values of every kind, under every trip to the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from lbflask.core.discovery import SourceFailure
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import BackendCounts, WorkerIdentity, WorkerReport
from lbflask.core.model import MOST_WEIGHT, NOTHING_KNOWN, ActiveHealth, Backend, Health, Mode, Override
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.store.invalid_data import InvalidDataLog
from lbflask.store.keys import FleetKeys, PoolKeys, bucket
from lbflask.store.ports import Beat, HealthWrite
from lbflask.store.redis import RedisStore
from tests.store.stores import Rig, real_redis
from tests.store.test_redis import LIMIT, POOL, TRIPS

KEYS = PoolKeys("test", POOL)
STRINGS = {
    name: getattr(KEYS, name) for name in ("ticket", "probe", "discovered", "source", "secret", "version", "heartbeat")
}
STRINGS |= {"leader": KEYS.leader, "epoch": KEYS.epoch, "bucket": bucket("test", LIMIT, "a")}
HASHES = {
    name: getattr(KEYS, name)
    for name in ("active", "ejected", "failures", "attempts", "workers", "reports", "slots", "overrides", "checkers")
}
HASHES |= {"drained": FleetKeys("test").drained}
ALL = {**STRINGS, **HASHES, "events": FleetKeys("test").events}
FIELDS = ("a", "worker", b"\xff\xfe")

DEEP = "[" * 100_000
HUGE = "9" * 400
VALUES: dict[str, str | bytes] = {
    "empty": "",
    "a word": "junk",
    "no UTF-8": b"\xff\xfe\x00",
    "a NUL": b"1\x002",
    "zero": "0",
    "negative": "-1",
    "64 bits": str(2**63 - 1),
    "more than 64 bits": str(2**64),
    "huge": HUGE,
    "NaN": "nan",
    "infinite": "inf",
    "a fraction": "1.5",
    "scientific": "1e308",
    "two numbers": f"{HUGE} {HUGE}",
    "four numbers": f"{HUGE} {HUGE} {HUGE} {HUGE}",
    "numbers ahead": "9999999999999 1 1 1",
    "slots ahead": "9999999999999 9999999999 1|9999999999 a",
    "a stamp": f"{HUGE}:{HUGE}",
    "a stamp ahead": "9999999999999:{}",
    "a negative stamp": "-5:-5",
    "a beat of junk": '9999999999999:{"a":1e999}',
    "null": "null",
    "an object": "{}",
    "an array": "[null, 1, {}, []]",
    "deep": DEEP,
    "a number of JSON": "1e999",
    "NaN of JSON": '{"health":"up","streak":NaN,"reason":"","since":NaN}',
    "a weight": '{"mode":"serving","weight":1000000000}',
    "a negative weight": '{"mode":"serving","weight":-1}',
    "a mode": '{"mode":"sideways"}',
    "a truth": '{"mode":"serving","weight":true}',
    "another's": '{"mode":"serving","added":{"id":"z","scheme":"http","host":"h","port":1,"url":"http://h:1","weight":1}}',
    "heavy": '[{"id":"a","scheme":"http","host":"a","port":1,"url":"http://a:1","weight":1000000000}]',
    "no port": '[{"id":"a","scheme":"http","host":"a","port":99999,"url":"http://a:99999","weight":1}]',
    "no host": '[{"id":"a b","scheme":"http","host":"a b","port":1,"url":"http://a b:1","weight":1}]',
    "out, times": '{"out":true,"times":9999999999999999999999,"since":1.000,"until":1.000}',
    "out for ever": '{"out":true,"times":1,"since":1.000,"until":999999999999999999.000}',
    "out, another way": '{"out":true, "times":1,"since":1,"until":1e999}',
}  # fmt: skip


@pytest.fixture
def rig(redis_url: str) -> Iterator[Rig]:
    with real_redis(redis_url) as rig:
        fill(rig.store)  # type: ignore[arg-type]
        yield rig


def fill(store: RedisStore) -> None:
    """All keys in use."""
    lease = store.hold_lease(POOL, "a", 600)
    assert lease is not None
    store.write_active(
        POOL, HealthWrite(lease.epoch, {"a": ActiveHealth(Health.DOWN, since=1.0)}, interval=1, announce=True)
    )
    store.write_discovered(POOL, lease.epoch, [Backend("d", "d", 80, "http://d:80")])
    store.write_source(POOL, lease.epoch, SourceFailure("dns://d:80", "there is no name d", 1.0))
    report = WorkerReport(WorkerIdentity("one", "host", 7), 1.0, 1.0, {"a": BackendCounts(1, 1, {3: 1})})
    store.beat(POOL, "worker", Beat({"a": 1}, {"a": 1}, report=report), read=True)
    store.beat(POOL, "other", Beat({"a": 1}, {"a": 1}), read=True)
    store.hold_slots(POOL, "other", SlotDemand([BackendSlots("a", 1, 2)]))
    store.write_override(POOL, "a", None, Override(Mode.DRAINING))
    store.write_drain("a", "alice", 600)
    store.agree_on_secret(POOL, "secret-of-the-fleet")
    store.take_tickets(POOL, 1)
    store.hold_probe(POOL, "worker", 600)
    store.take_token(LIMIT, "a")
    store.record([FleetEvent(Kind.HEALTH, "up")])
    store.count_failures(POOL, "a", FailureReport(1, 1, 1), EjectionPolicy(("a", "b")))
    store.count_failures(POOL, "b", FailureReport(9, 9, 9), EjectionPolicy(("a", "b")))


def corrupt(client: redis.Redis, name: str, value: str | bytes) -> None:
    """Put the value where what belongs to the key stands: into fields of a hash, or in the place of a string."""
    if name in STRINGS:
        client.set(STRINGS[name], value)
    elif name in HASHES:
        client.hset(HASHES[name], mapping=dict.fromkeys(FIELDS, value))
    else:
        client.xadd(ALL[name], {"kind": value, b"\xff": value})


def all_trips(store: RedisStore) -> None:
    for trip in TRIPS.values():
        trip(store)
    snapshot = store.read_snapshot(POOL, NOTHING_KNOWN)
    assert 0 <= snapshot.interval <= 86_400
    assert snapshot.heartbeat is None or snapshot.heartbeat >= 0
    for override in snapshot.overrides.values():
        assert override.weight is None or 0 <= override.weight <= MOST_WEIGHT
    for backend in snapshot.discovered:
        assert 0 <= backend.weight <= MOST_WEIGHT
    others = store.beat(POOL, "worker", Beat(), read=True)
    assert all(0 <= load <= 2_000_000 for load in others.loads.values())


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.sampled(9, 3)
def test_whatever_a_key_holds_every_trip_has_its_answer(rig: Rig, name: str, value: str) -> None:
    assert rig.client is not None
    assert isinstance(rig.store, RedisStore)
    corrupt(rig.client, name, VALUES[value])
    for _ in range(2):
        all_trips(rig.store)


@pytest.mark.parametrize("kind", ["string", "list", "set", "hash", "zset", "stream"])
@pytest.mark.parametrize("name", ALL)
def test_a_key_of_another_type_is_replaced_by_whoever_writes_it(rig: Rig, name: str, kind: str) -> None:
    assert rig.client is not None
    assert isinstance(rig.store, RedisStore)
    right = rig.client.type(ALL[name])
    rig.client.delete(ALL[name])
    {
        "string": lambda: rig.client.set(ALL[name], "junk"),
        "list": lambda: rig.client.rpush(ALL[name], "junk"),
        "set": lambda: rig.client.sadd(ALL[name], "junk"),
        "hash": lambda: rig.client.hset(ALL[name], "a", "junk"),
        "zset": lambda: rig.client.zadd(ALL[name], {"junk": 1}),
        "stream": lambda: rig.client.xadd(ALL[name], {"kind": "junk"}),
    }[kind]()
    all_trips(rig.store)
    fill(rig.store)
    lease = rig.store.hold_lease(POOL, "a", 600)
    assert lease is not None
    rig.store.write_active(POOL, HealthWrite(lease.epoch, {"a": ActiveHealth(Health.UP)}, interval=1, replace=True))
    assert rig.client.type(ALL[name]) == right
    all_trips(rig.store)


def test_a_stream_that_takes_no_more_events_begins_anew(rig: Rig) -> None:
    assert rig.client is not None
    rig.client.xadd(ALL["events"], {"kind": "health"}, id=f"{2**64 - 1}-{2**64 - 1}")
    rig.store.record([FleetEvent(Kind.HEALTH, "up", POOL)])
    assert [event.what for event in rig.store.read_events(10)] == ["up"]


@pytest.mark.parametrize("name", [*HASHES, "discovered", "heartbeat"])
def test_what_cannot_be_read_is_as_it_was_known(rig: Rig, name: str) -> None:
    assert rig.client is not None
    known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    corrupt(rig.client, name, "junk")
    rig.client.delete(KEYS.version)
    read = rig.store.read_snapshot(POOL, known)
    assert read.heartbeat is not None
    junk = replace(read, version=known.version, heartbeat=known.heartbeat, active={"a": read.active["a"]})
    assert junk == known
    rig.client.delete(ALL[name])
    rig.client.rpush(ALL[name], "junk")
    read = rig.store.read_snapshot(POOL, known)
    assert replace(read, version=known.version, heartbeat=known.heartbeat) == known


def test_who_knows_nothing_yet_keeps_backends_in_service_whose_health_cannot_be_read(rig: Rig) -> None:
    assert rig.client is not None
    corrupt(rig.client, "active", "junk")
    assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).active["a"].health is Health.UNKNOWN
    rig.client.delete(KEYS.active)
    rig.client.rpush(KEYS.active, "junk")
    assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).heartbeat is None


@pytest.mark.parametrize("value", VALUES)
def test_what_operators_set_replaces_what_cannot_be_read(rig: Rig, value: str) -> None:
    assert rig.client is not None
    known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    corrupt(rig.client, "overrides", VALUES[value])
    before = rig.store.read_snapshot(POOL, replace(known, version=-1)).overrides.get("a")
    assert rig.store.write_override(POOL, "a", before, Override(Mode.OFF))
    assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).overrides == {"a": Override(Mode.OFF)}


def test_each_place_is_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    assert rig.client is not None
    corrupt(rig.client, "heartbeat", "junk")
    corrupt(rig.client, "overrides", "junk")
    store = RedisStore(rig.client, "test", InvalidDataLog())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            store.read_snapshot(POOL, NOTHING_KNOWN)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert KEYS.heartbeat in told[0]
    assert KEYS.overrides in told[1]
