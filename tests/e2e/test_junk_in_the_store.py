"""Somebody else writes into the store: nothing of it is believed, no request fails, and what belongs there heals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from devtools.cluster import Cluster
from devtools.servers import free_port, get
from devtools.wait import eventually
from lbflask.store import records
from lbflask.store.keys import FleetKeys, PoolKeys

pytestmark = pytest.mark.e2e

POOL = "default"
KEYS = PoolKeys("junk", POOL)
FLEET = FleetKeys("junk")
HASHES = {
    name: getattr(KEYS, name)
    for name in ("active", "ejected", "failures", "attempts", "workers", "reports", "slots", "overrides", "checkers")
}
STRINGS = {
    name: getattr(KEYS, name)
    for name in ("ticket", "probe", "discovered", "secret", "version", "heartbeat", "leader", "epoch")
}
JUNK: dict[str, str | bytes] = {
    "a word": "junk",
    "no UTF-8": b"\xff\xfe",
    "huge": "9" * 400,
    "ahead": "9999999999999:1000",
    "deep": "[" * 50_000,
    "heavy": json.dumps({"mode": "serving", "weight": 10**9}),
    "many": json.dumps([{"id": "x", "scheme": "http", "host": "x", "port": 1, "url": "http://x:1", "weight": 10**9}]),
}
#: Who is to write it anew by himself, and what it looks like then.
HEALED = {
    "version": rb"\d{16}",
    "heartbeat": rb"\d{13}:\d{1,6}",
    "leader": rb"[^ ]+:\d+:[0-9a-f]{8}",
    "epoch": rb"\d{16}",
    "ticket": rb"\d{1,9}",
    "secret": rb"[!-~]{16,256}",
}


class JunkCluster(Cluster):
    """An instance, a checker, and the demo backends with one that is `dead`."""

    def __init__(self, demos: list[int], dead: int, **settings: object) -> None:
        super().__init__(backends=demos, checkers=1, **settings)
        self.dead = f"127.0.0.1:{dead}"

    def serves(self) -> None:
        for _ in range(6):
            answer = get(self.balancer.port)
            assert answer.status == 200, answer.body
            assert f"127.0.0.1:{answer.body.split()[-1].decode()}" in self.ids

    def is_known(self) -> bool:
        """Whether both workers know how all backends are: which one answers is chance."""
        expected = {**dict.fromkeys(self.ids, "up"), self.dead: "down"}
        return all(self.balancer.healths() == expected for _ in range(8))

    def reported_keys(self) -> list[str]:
        """The keys of invalid values that the balancer and the checker have logged."""
        output = self.balancer.output + self.checker.output
        return re.findall(r"the store holds an invalid value at '([^']*)'", output)


@pytest.fixture(scope="module")
def cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JunkCluster]:
    *demos, dead = ports = [free_port() for _ in range(4)]
    path = tmp_path_factory.mktemp("junk") / "lbflask.toml"
    listed = ", ".join(f'{{ url = "http://127.0.0.1:{port}", max_connections = 100 }}' for port in ports)
    path.write_text(
        f'namespace = "junk"\nbackends = [{listed}]\nstrategy = "least_connections"\n'
        '[health]\ninterval = 0.3\n[sticky]\ncookie = "LB"\n'
        '[rate_limits.all]\nrate = "1000/s"\neverywhere = true\n'
    )
    with JunkCluster(demos, dead, redis_url=store, config=path) as cluster:
        eventually(cluster.is_known, "all is known")
        yield cluster
        assert all(process.running for process in cluster.processes)


def corrupt(client: redis.Redis, name: str, value: str | bytes, fields: list[Any]) -> None:
    if name in HASHES:
        client.hset(HASHES[name], mapping=dict.fromkeys([*fields, b"\xff\xfe"], value))
    else:
        client.set(STRINGS[name], value)
    client.set(KEYS.version, value) if name == "version" else client.incrby(KEYS.version, 1)
    client.publish(KEYS.changes, value)


def replace_by_list(client: redis.Redis, key: str) -> None:
    with client.pipeline() as transaction:  # else the checker may write the key in between
        transaction.delete(key).rpush(key, "junk")
        transaction.execute()
    client.publish(KEYS.changes, "junk")


@pytest.mark.parametrize("value", JUNK)
@pytest.mark.parametrize("name", [*HASHES, *STRINGS])
@pytest.mark.sampled(9)
def test_a_value_that_does_not_belong_there(cluster: JunkCluster, name: str, value: str) -> None:
    fields: list[Any] = [*cluster.ids, cluster.dead]
    if name in ("workers", "reports", "slots"):
        fields = cluster.client.hkeys(HASHES[name])
    corrupt(cluster.client, name, JUNK[value], fields)
    check(cluster, name)


@pytest.mark.parametrize("name", [*HASHES, *STRINGS])
@pytest.mark.sampled(5)
def test_a_key_of_another_type(cluster: JunkCluster, name: str) -> None:
    replace_by_list(cluster.client, {**HASHES, **STRINGS}[name])
    check(cluster, name)


def check(cluster: JunkCluster, name: str) -> None:
    cluster.serves()
    one = cluster.ids[0]
    cluster.act(one, "drain")
    eventually(lambda: cluster.all_agree(lambda states: states[one]["mode"] == "draining", 8), "it drains")
    cluster.act(one, "enable")
    eventually(cluster.is_known, f"all is known again: {cluster.balancer.healths()}")
    if name in HEALED:
        eventually(lambda: healed(cluster, name), f"{name} is healed: {cluster.client.type(STRINGS[name])}")
    elif name == "active":
        eventually(lambda: is_sound(cluster), "the health of all is written anew")
    elif name == "overrides":
        assert records.parse_override(cluster.client.hget(KEYS.overrides, one) or b"", one) is not None
    cluster.serves()


def healed(cluster: JunkCluster, name: str) -> bool:
    cluster.serves()
    key = STRINGS[name]
    return (
        cluster.client.type(key) == b"string" and re.fullmatch(HEALED[name], cluster.client.get(key) or b"") is not None
    )


def is_sound(cluster: JunkCluster) -> bool:
    if cluster.client.type(KEYS.active) != b"hash":
        return False
    held = cluster.client.hgetall(KEYS.active)
    return len(held) == 4 and all(records.parse_active(record) is not None for record in held.values())


def test_messages_that_do_not_belong_there(cluster: JunkCluster) -> None:
    for channel in (KEYS.changes, KEYS.suspects, KEYS.free_slots, FLEET.reloads):
        for message in (b"\xff\xfe", b"", b"x" * 100_000):
            cluster.client.publish(channel, message)
    cluster.serves()
    eventually(cluster.is_known, "all is known")


def test_events_that_do_not_belong_there(cluster: JunkCluster) -> None:
    for kind in ("stream at its end", "list"):
        cluster.client.delete(FLEET.events)
        if kind == "list":
            cluster.client.rpush(FLEET.events, "junk")
        else:
            cluster.client.xadd(FLEET.events, {b"\xff": b"\xff"}, id=f"{2**64 - 1}-{2**64 - 1}")
        assert get(cluster.balancer.admin_port, "/api/v1/events").status == 200
        cluster.act(cluster.ids[0], "drain")
        cluster.act(cluster.ids[0], "enable")
        events = json.loads(get(cluster.balancer.admin_port, "/api/v1/events").body)["events"]
        assert [event["what"] for event in events][:2] == ["enable", "drain"]


def test_each_place_is_logged_once_by_each_process(cluster: JunkCluster) -> None:
    said = cluster.reported_keys()
    assert said
    assert all(said.count(place) <= 3 for place in said), said


def test_no_task_has_failed(cluster: JunkCluster) -> None:
    tasks = cluster.balancer.health()[1]["worker"]["tasks"]
    assert {"fleet-follower", "fleet-reporter"} <= {task["name"] for task in tasks}
    assert all(task["running"] and not task["restarts"] for task in tasks), tasks
