"""The checker dies and comes back: what it knew is still there, and nothing flaps."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import redis

from devtools.servers import free_port, start_checker, urls
from devtools.wait import eventually
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e


@pytest.mark.long
def test_a_killed_checker_continues_where_it_was(store: str, demos: list[int]) -> None:
    settings = {"redis_url": store, "backends": urls([*demos, free_port()]), "health__interval": 2}
    keys = PoolKeys("lbflask", "default")
    with ExitStack() as running:
        client = running.enter_context(redis.Redis.from_url(store, decode_responses=True))
        first = running.enter_context(start_checker(**settings))
        eventually(lambda: client.hlen(keys.active) == 4, "all four were checked")
        known = client.hgetall(keys.active)
        assert sorted("up" in record for record in known.values()) == [False, True, True, True]
        version, epoch, beat = client.get(keys.version), int(client.get(keys.epoch)), client.get(keys.heartbeat)
        changes = running.enter_context(client.pubsub(ignore_subscribe_messages=True))
        changes.subscribe(keys.changes)

        first.kill()
        assert client.hgetall(keys.active) == known
        second = running.enter_context(start_checker(**settings))
        # The dead one's lease has to run out first.
        eventually(lambda: int(client.get(keys.epoch)) > epoch, "the second leads")
        eventually(lambda: client.get(keys.heartbeat) != beat, "the second has checked")
        beat = client.get(keys.heartbeat)
        eventually(lambda: client.get(keys.heartbeat) != beat, "and goes on checking")

        assert client.hgetall(keys.active) == known
        assert client.get(keys.version) == version
        # Two answers may be waiting: that of the subscription, and a change if there was one.
        assert [changes.get_message(timeout=0.1) for _ in range(2)] == [None, None]
        assert second.stop() == 0
        assert client.hgetall(keys.active) == known
