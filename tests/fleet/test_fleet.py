"""A worker over real stores, and with another configuration."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from devtools.servers import free_port, valkey
from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.fleet import local_pool
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.shared_turns import SharedTurns
from lbflask.fleet.slot_renewer import Slots
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import FLEET, Beat
from lbflask.store.redis import RedisStore, connect
from tests.fleet.stores import POOL, FlakyStore, active, await_no_thread, write
from tests.store.stores import PATIENCE

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


def test_all_parts_show_their_state_and_no_secret(store: FlakyStore) -> None:
    fleet = Fleet(store, [POOL])
    fleet.agree_on_secret(POOL)
    fleet.refresh()
    fleet.traffic(POOL).began("a")
    fleet.degrade("no route")
    slots = Slots(fleet)
    parts = [fleet, fleet._follower, fleet._reporter, fleet.pools[POOL].tickets, fleet.traffic(POOL).heartbeat]
    parts += [slots, slots.of(POOL), Buckets(fleet), store.facts, store.facts.watch_changes([POOL])]
    shown = [repr(part) for part in parts]
    assert all(type(part).__name__ in text for part, text in zip(parts, shown, strict=True))
    assert "degraded: no route" in shown[0]
    assert "'a': 1" in shown[0]
    assert fleet.snapshot(POOL).secret not in "".join(shown)


def test_backends_that_give_checks_no_answer_are_reported_once_and_to_their_pool(
    store: FlakyStore, started: Callable[..., Fleet]
) -> None:
    ended: list[tuple[str, set[str]]] = []
    worker = LocalWorker(end_waits=lambda pool, backends: ended.append((pool, set(backends))))
    fleet = started(store, POOL, worker=worker)
    frozen = ActiveHealth(Health.DOWN, cause=FailureCause.NO_ANSWER)
    write(store.facts, {"a": UP, "b": UP, "c": UP})
    write(store.facts, {"a": frozen, "b": UP, "c": DOWN})
    eventually(lambda: active(fleet).get("a") == frozen, "the change is known")
    fleet.refresh()
    assert ended == [(POOL, {"a"})]


class TestOverRealStores:
    def test_over_a_store_in_memory(self, started: Callable[..., Fleet]) -> None:
        facts = MemoryStore(time.time)
        fleet = started(facts)
        write(facts, {"a": UP})
        eventually(lambda: active(fleet) == {"a": UP}, "the change is known")
        assert fleet.pools[POOL].tickets.next() + 1 == fleet.pools[POOL].tickets.next()

    def test_over_a_valkey_that_dies_and_comes_back_empty(self, started: Callable[..., Fleet]) -> None:
        port = free_port()
        told: list[str] = []
        with valkey(port=port) as url, connect(url, PATIENCE) as client:
            write(RedisStore(client, "test"), {"a": UP})
            fleet = started(RedisStore(connect(url), "test"), report=told.append)
            eventually(lambda: active(fleet) == {"a": UP}, "the snapshot is known")
            eventually(lambda: not fleet.degraded, "the store is in reach")
        fleet.pools[POOL].tickets.next()
        eventually(lambda: fleet.degraded, "the store is marked as gone")
        assert active(fleet) == {"a": UP}
        with valkey(port=port) as url, connect(url, PATIENCE) as client:
            eventually(lambda: not fleet.degraded, "the follower finds it")
            assert active(fleet) == {}
            write(RedisStore(client, "test"), {"a": DOWN})
            eventually(lambda: active(fleet) == {"a": DOWN}, "the change is known")
            assert [message for message in told if "back" in message]

    def test_stopping_while_the_follower_waits_for_messages_is_quiet(
        self, redis_url: str, never_polls: None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(10):
            fleet = Fleet(RedisStore(connect(redis_url, PATIENCE), "test"), [POOL])
            fleet.start()
            with connect(redis_url, PATIENCE) as client:
                eventually(lambda client=client: client.pubsub_numsub("{test:web}:changes")[0][1], "it listens")  # type: ignore[misc]
            fleet.stop()
        assert capfd.readouterr().err == ""
        await_no_thread()


class TestAnotherConfiguration:
    def test_a_new_pool_is_known_at_once_and_followed(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        write(store.facts, {"c": UP}, "api")
        fleet = started(store)
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        fleet.refresh()
        assert active(fleet, "api") == {"c": UP}
        eventually(lambda: store.watched() == {POOL, "api", FLEET}, "it is listened to")
        write(store.facts, {"c": DOWN}, "api")
        store.tell("api")
        eventually(lambda: active(fleet, "api") == {"c": DOWN}, "the change is known")

    def test_a_pool_that_stays_keeps_what_is_known_of_it(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        write(store.facts, {"a": UP})
        fleet = started(store)
        fleet.traffic(POOL).began("a")
        before = fleet.traffic(POOL)
        first = fleet.pools[POOL].tickets.next()
        fleet.set_pools({POOL: EjectionPolicy(("a",)), "api": EjectionPolicy()}, strict=True)
        assert fleet.traffic(POOL) is before
        assert fleet.loads(POOL) == {"a": 1}
        assert active(fleet) == {"a": UP}
        assert fleet.pools[POOL].tickets.next() == first + 1

    def test_a_pool_that_is_gone_serves_who_was_given_to_it_and_then_forgets_its_beat(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store, POOL, "api")
        traffic = fleet.traffic("api")
        traffic.began("c")
        eventually(
            lambda: store.facts.beat("api", "other", Beat(), read=True).loads == {"c": 1}, "the others know of it"
        )
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        assert fleet.pools["api"].tickets.next() >= 0
        assert fleet.snapshot("api") == NOTHING_KNOWN
        assert store.facts.beat("api", "other", Beat(), read=True).loads == {"c": 1}
        traffic.ended("c")
        eventually(lambda: not store.facts.beat("api", "other", Beat(), read=True).loads, "the beat is forgotten")
        traffic.began("c")  # somebody who was late
        traffic.ended("c")
        eventually(lambda: not store.facts.beat("api", "other", Beat(), read=True).loads, "it is forgotten again")

    def test_a_pool_that_comes_back_goes_on(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store, POOL, "api")
        traffic = fleet.traffic("api")
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        assert fleet.traffic("api") is traffic

    def test_a_pool_that_is_gone_for_long_is_forgotten(
        self, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_pool, "KEEP_RETIRED_FOR", 0.0)
        fleet = Fleet(store, [POOL, "api", "busy"])
        fleet.traffic("busy").began("b")
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        assert fleet.pools["busy"].tickets.next() >= 0, "a request is in flight there"
        with pytest.raises(KeyError):
            fleet.pools["api"].tickets.next()

    def test_the_turns_of_a_pool_that_is_gone_for_long_are_those_of_the_next_one_in_all_workers(
        self, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_pool, "KEEP_RETIRED_FOR", 0.0)
        monkeypatch.setattr(local_pool, "SHARE_TURNS_EVERY", 0.0)
        turns = SharedTurns(2)
        fleets = [Fleet(store, [POOL, "old"], worker=LocalWorker(turns=turns)) for _ in range(2)]
        for fleet in fleets:
            fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        for fleet in fleets:  # the first one while the other one still uses the place
            fleet.set_pools({POOL: EjectionPolicy(), "new": EjectionPolicy()}, strict=False)
        assert [fleet.pools["new"].tickets.shares_turns for fleet in fleets] == [False, True]
        fleets[0].flush()
        assert fleets[0].pools["new"].tickets.shares_turns

    def test_failures_count_by_the_rule_of_the_day(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store, policies={POOL: EjectionPolicy(("a", "b"), failures=0)})
        fleet.set_pools({POOL: EjectionPolicy(("a", "b"), failures=1)}, strict=False)
        fleet.traffic(POOL).began("a")
        fleet.traffic(POOL).answered("a", 500)
        eventually(lambda: fleet.snapshot(POOL).ejected, "a is ejected")

    def test_a_new_pool_is_served_while_the_store_is_away(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        store.lose()
        eventually(lambda: fleet.degraded, "the store is missed")
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        fleet.refresh()
        assert fleet.snapshot("api") == NOTHING_KNOWN
        assert fleet.pools["api"].tickets.next() >= 0

    def test_checkers_are_told_once_and_as_soon_as_the_store_is_there(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        watch = store.facts.watch_reloads()
        store.lose()
        eventually(lambda: fleet.degraded, "the store is missed")
        fleet.announce_reload()
        store.find()
        assert eventually(lambda: watch.wait(1.0), "they are told") == {"reload"}
        beats = len(store.asked("beat"))
        eventually(lambda: len(store.asked("beat")) > beats, "it goes on")
        assert not watch.wait(0)
