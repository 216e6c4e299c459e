"""Writes of health while the store is away, emptied, or led by another checker."""

from __future__ import annotations

import time
from collections.abc import Callable

import fakeredis
import pytest

from lbflask.checker import pool_checker
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import HealthWrite
from lbflask.store.redis import RedisStore
from tests.checker.doubles import (
    NEVER,
    POOL,
    A,
    Checkers,
    ControlledProbe,
    ManualClock,
    RecordingStore,
    StubProbe,
    answer,
    eventually,
    health_of_a,
    run,
    stop,
)


class TestStore:
    @pytest.mark.parametrize("interval", [0.01, NEVER])
    @pytest.mark.parametrize("kind", ["memory", "fakeredis"])
    def test_an_emptied_store_is_filled_again(self, kind: str, interval: float, short_lease: None) -> None:
        server = fakeredis.FakeServer()
        with fakeredis.FakeRedis(server=server) as client, fakeredis.FakeRedis(server=server) as other:
            memory = MemoryStore(time.time)
            store = RecordingStore(memory if kind == "memory" else RedisStore(client, "test"))
            empty = memory.empty if kind == "memory" else other.flushall

            async def scenario() -> None:
                async with Checkers() as checkers:
                    checkers.start(store, StubProbe(b=False), pool=POOL, interval=interval, soon=interval)
                    await eventually(lambda: store.writes, "the round is published")
                    before = store.snapshot()
                    empty()
                    await eventually(store.health, "it is published again")
                    after = store.backing.read_snapshot("web", before)
                    assert after.version not in (before.version, NOTHING_KNOWN.version)
                    assert {key: (state.health, state.since) for key, state in after.active.items()} == {
                        key: (state.health, state.since) for key, state in before.active.items()
                    }

            run(scenario)

    def test_what_is_seen_while_it_is_out_of_reach_is_published_afterwards(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, fall=3, retry_interval=0.01)
                await answer(store, probe, True)
                store.cut = True
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: probe.started["a"] == 5, "it has been looked at meanwhile")
                store.refused.clear()
                await eventually(lambda: store.refused.count("write_active") > 2, "it tries to tell the last of it")
                assert health_of_a(store).health is Health.UP
                store.cut = False
                await eventually(lambda: health_of_a(store).health is Health.DOWN, "it is published")
                assert health_of_a(store).reason == "4"
                assert [write.announce for write in store.writes if A.id in write.states] == [True, True]

        run(scenario)

    def test_nor_is_it_lost_when_the_lease_runs_out_meanwhile(
        self, store: RecordingStore, clock: ManualClock, short_lease: None
    ) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, fall=3, retry_interval=NEVER)  # the lease is asked for before the write is
                await answer(store, probe, True)
                store.cut = True
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: probe.started["a"] == 5, "it has been looked at meanwhile")
                clock.now += 1
                store.cut = False
                await eventually(lambda: probe.started["a"] == 6, "it leads anew")
                await answer(store, probe, False)
                assert health_of_a(store).health is Health.DOWN
                assert next(write for write in store.writes if write.states[A.id].health is Health.DOWN).announce

        run(scenario)

    def test_but_the_word_of_another_who_led_meanwhile_holds(
        self, store: RecordingStore, clock: ManualClock, short_lease: None, standing_by: Callable[[], bool]
    ) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            second = RecordingStore(store.backing)
            async with Checkers() as checkers:
                checkers.start(store, probe, fall=1)
                await answer(store, probe, True)
                store.cut = True
                probe.answer(False)  # it was the network of the first that failed
                await eventually(lambda: probe.started["a"] == 3, "it has been looked at meanwhile")
                clock.now += 1
                running = checkers.start(second, StubProbe(), holder="second")
                await eventually(lambda: len(second.writes) > 2, "the other leads")
                store.cut = False
                await eventually(standing_by, "the first stands by")
                version = store.snapshot().version
                await stop(running)
                await eventually(lambda: probe.started["a"] == 4, "the first leads again")
                await answer(store, probe, True)
                assert health_of_a(store).health is Health.UP
                assert store.snapshot().version == version

        run(scenario)

    def test_a_checker_waits_for_a_store_that_is_not_there_yet(self, store: RecordingStore) -> None:
        store.cut = True

        async def scenario() -> None:
            probe = StubProbe()
            async with Checkers() as checkers:
                running = checkers.start(store, probe, retry_interval=0.01)
                await eventually(lambda: running[0].role.startswith("waiting"), "it waits")
                assert not probe.probes  # nobody leads
                store.cut = False
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it leads")

        run(scenario)

    def test_it_stops_while_the_store_is_out_of_reach(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe()
            async with Checkers() as checkers:
                running = checkers.start(store, probe)
                await eventually(lambda: store.writes, "it leads")
                store.cut = True
                probes = probe.probes["a"]
                await eventually(lambda: probe.probes["a"] > probes + 1, "there is something to publish")
                await stop(running)

        run(scenario)


class TestVerification:
    def test_health_that_others_have_overwritten_is_written_again(
        self, store: RecordingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool_checker, "VERIFY_INTERVAL", 0.0)

        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(), interval=NEVER)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up")
                epoch, foreign = store.writes[-1].epoch, {A.id: ActiveHealth(Health.DOWN), "x": ActiveHealth(Health.UP)}
                assert store.backing.write_active("web", HealthWrite(epoch, foreign, interval=1, announce=True))
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up again, alone")
                assert store.writes[-1].announce

        run(scenario)


def test_a_debugger_shows_role_epoch_and_counts(store: RecordingStore) -> None:
    async def scenario() -> None:
        async with Checkers() as checkers:
            checker, _ = checkers.start(store, StubProbe(), interval=NEVER)
            assert repr(checker) == "<PoolChecker web: new, 0 backends>"
            await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up")
            epoch = store.writes[-1].epoch
            assert repr(checker) == f"<PoolChecker web: leading, epoch {epoch}, 1 backends>"
            assert repr(checker._leadership) == f"<Leadership web of first: leading, epoch {epoch}>"
            assert repr(checker._publisher) == f"<HealthPublisher web: epoch {epoch}, 1 backends, 0 pending>"

    run(scenario)
