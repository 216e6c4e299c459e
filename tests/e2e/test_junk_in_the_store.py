"""Somebody else writes into the store: nothing of it is believed, no request fails, and what belongs there heals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from devtools.servers import Gunicorn, Process, free_port, get, start_checker
from devtools.wait import eventually
from lbflask.store import records
from lbflask.store.keys import FleetKeys, PoolKeys

pytestmark = pytest.mark.e2e

POOL = "default"
KEYS = PoolKeys("junk", POOL)
FLEET = FleetKeys("junk")
HASHES = {
    name: getattr(KEYS, name)
    for name in ("active", "ejected", "failures", "attempts", "workers", "reports", "slots", "overrides")
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


@dataclass
class Town:
    balancer: Gunicorn
    checker: Process
    client: redis.Redis
    ids: list[str]
    dead: str
    cookie: str = ""

    def serves(self) -> None:
        for _ in range(6):
            answer = get(self.balancer.port, headers={"Cookie": self.cookie})
            assert answer.status == 200, answer.body
            assert f"127.0.0.1:{answer.body.split()[-1].decode()}" in self.ids

    def is_known(self) -> bool:
        """Whether both workers know how all backends are: which one answers is chance."""
        expected = {**dict.fromkeys(self.ids, "up"), self.dead: "down"}
        return all(self.balancer.healths() == expected for _ in range(8))

    def act(self, backend: str, action: str) -> None:
        path = f"/api/v1/pools/{POOL}/backends/{backend}/{action}"
        answer = get(self.balancer.admin_port, path, "POST")
        assert answer.status == 200, answer.body

    def places(self) -> list[str]:
        """What the balancer and the checker have said of the store."""
        said = re.findall(r"the store holds an invalid value at '([^']*)'", self.output())
        return [str(place) for place in said]

    def output(self) -> str:
        return self.balancer.output + self.checker.output


@pytest.fixture(scope="module")
def town(store: str, demos: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    dead = free_port()
    path = tmp_path_factory.mktemp("junk") / "lbflask.toml"
    listed = ", ".join(f'{{ url = "http://127.0.0.1:{port}", max_connections = 100 }}' for port in (*demos, dead))
    path.write_text(
        f'redis_url = "{store}"\nnamespace = "junk"\nbackends = [{listed}]\nstrategy = "least_connections"\n'
        '[health]\ninterval = 0.3\n[sticky]\ncookie = "LB"\n'
        '[rate_limits.all]\nrate = "1000/s"\neverywhere = true\n'
    )
    with ExitStack() as running:
        checker = running.enter_context(start_checker(config=path))
        balancer = running.enter_context(Gunicorn(workers=2, config=path))
        client = running.enter_context(redis.Redis.from_url(store))
        town = Town(balancer, checker, client, [f"127.0.0.1:{port}" for port in demos], f"127.0.0.1:{dead}")
        eventually(town.is_known, "all is known")
        yield town
        for process in (balancer, checker):
            process.assert_no_traceback()
            assert process.running


def corrupt(client: redis.Redis, name: str, value: str | bytes, fields: list[Any]) -> None:
    if name in HASHES:
        client.hset(HASHES[name], mapping=dict.fromkeys([*fields, b"\xff\xfe"], value))
    else:
        client.set(STRINGS[name], value)
    client.set(KEYS.version, value) if name == "version" else client.incrby(KEYS.version, 1)
    client.publish(KEYS.changes, value)


def replace_by_list(client: redis.Redis, key: str) -> None:
    client.delete(key)
    client.rpush(key, "junk")
    client.publish(KEYS.changes, "junk")


@pytest.mark.parametrize("value", JUNK)
@pytest.mark.parametrize("name", [*HASHES, *STRINGS])
@pytest.mark.sampled(9)
def test_a_value_that_does_not_belong_there(town: Town, name: str, value: str) -> None:
    fields: list[Any] = [*town.ids, town.dead]
    if name in ("workers", "reports", "slots"):
        fields = town.client.hkeys(HASHES[name])
    corrupt(town.client, name, JUNK[value], fields)
    check(town, name)


@pytest.mark.parametrize("name", [*HASHES, *STRINGS])
@pytest.mark.sampled(5)
def test_a_key_of_another_type(town: Town, name: str) -> None:
    replace_by_list(town.client, {**HASHES, **STRINGS}[name])
    check(town, name)


def check(town: Town, name: str) -> None:
    town.serves()
    one = town.ids[0]
    town.act(one, "drain")
    eventually(lambda: all(state(town, one)["mode"] == "draining" for _ in range(8)), "it drains")
    town.act(one, "enable")
    eventually(town.is_known, f"all is known again: {town.balancer.healths()}")
    if name in HEALED:
        eventually(lambda: healed(town, name), f"{name} is healed: {town.client.type(STRINGS[name])}")
    elif name == "active":
        eventually(lambda: is_sound(town), "the health of all is written anew")
    elif name == "overrides":
        assert records.parse_override(town.client.hget(KEYS.overrides, one) or b"", one) is not None
    town.serves()


def healed(town: Town, name: str) -> bool:
    town.serves()
    key = STRINGS[name]
    return town.client.type(key) == b"string" and re.fullmatch(HEALED[name], town.client.get(key) or b"") is not None


def is_sound(town: Town) -> bool:
    if town.client.type(KEYS.active) != b"hash":
        return False
    held = town.client.hgetall(KEYS.active)
    return len(held) == 4 and all(records.parse_active(record) is not None for record in held.values())


def state(town: Town, name: str) -> dict[str, object]:
    found: dict[str, object] = town.balancer.health()[1]["pools"][POOL]["states"][name]
    return found


def test_messages_that_do_not_belong_there(town: Town) -> None:
    for channel in (KEYS.changes, KEYS.suspects, KEYS.free_slots, FLEET.reloads):
        for message in (b"\xff\xfe", b"", b"x" * 100_000):
            town.client.publish(channel, message)
    town.serves()
    eventually(town.is_known, "all is known")


def test_events_that_do_not_belong_there(town: Town) -> None:
    for kind in ("stream at its end", "list"):
        town.client.delete(FLEET.events)
        if kind == "list":
            town.client.rpush(FLEET.events, "junk")
        else:
            town.client.xadd(FLEET.events, {b"\xff": b"\xff"}, id=f"{2**64 - 1}-{2**64 - 1}")
        assert get(town.balancer.admin_port, "/api/v1/events").status == 200
        town.act(town.ids[0], "drain")
        town.act(town.ids[0], "enable")
        events = json.loads(get(town.balancer.admin_port, "/api/v1/events").body)["events"]
        assert [event["what"] for event in events][:2] == ["enable", "drain"]


def test_each_place_is_logged_once_by_each_process(town: Town) -> None:
    said = town.places()
    assert said
    assert all(said.count(place) <= 3 for place in said), said


def test_no_task_has_failed(town: Town) -> None:
    tasks = town.balancer.health()[1]["worker"]["tasks"]
    assert {"fleet-follower", "fleet-teller"} <= {task["name"] for task in tasks}
    assert all(task["running"] and not task["restarts"] for task in tasks), tasks
