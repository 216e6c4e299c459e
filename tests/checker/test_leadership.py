"""Who leads a pool, and how a successor goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from devtools.wait import PATIENCE
from lbflask.core.model import ActiveHealth, Backend, Health, Pool
from lbflask.store.ports import HealthWrite
from lbflask.store.redis import RedisStore, connect
from tests.checker.doubles import (
    NEVER,
    ONE,
    POOL,
    A,
    B,
    Checkers,
    ControlledProbe,
    ManualClock,
    Probe,
    RecordingStore,
    Running,
    StubProbe,
    answer,
    eventually,
    health_of_a,
    kill,
    leave_health,
    report_suspect,
    run,
    stop,
)


class TestLead:
    def test_one_of_two_looks(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            leading, waiting = StubProbe(), StubProbe()
            async with Checkers() as checkers:
                checkers.start(store, leading)
                await eventually(lambda: store.writes, "one leads")
                checkers.start(RecordingStore(store.backing), waiting, holder="second")
                await eventually(lambda: leading.probes["a"] > 20, "it probes again and again")
                assert not waiting.probes

        run(scenario)

    def test_the_other_takes_over_when_it_stops(self, store: RecordingStore, short_lease: None) -> None:
        async def scenario() -> None:
            following = StubProbe()
            second = RecordingStore(store.backing)
            async with Checkers() as checkers:
                running = checkers.start(store, StubProbe())
                await eventually(lambda: store.writes, "one leads")
                checkers.start(second, following, holder="second")
                await stop(running)
                # On this clock no lease runs out by itself: it was given up.
                await eventually(lambda: second.writes, "the other leads")
                assert second.writes[0].epoch > store.writes[-1].epoch
                assert not any(write.announce for write in second.writes)

        run(scenario)

    def test_the_other_takes_over_when_its_lease_runs_out(
        self, store: RecordingStore, clock: ManualClock, short_lease: None
    ) -> None:
        async def scenario() -> None:
            second = RecordingStore(store.backing)
            async with Checkers() as checkers:
                _, task = checkers.start(store, StubProbe())
                await eventually(lambda: store.writes, "one leads")
                following = StubProbe()
                checkers.start(second, following, holder="second")
                await kill(task)
                assert not following.probes

                def time_passes() -> bool:
                    clock.now += 1
                    return bool(second.writes)

                await eventually(time_passes, "the other leads")
                assert not any(write.announce for write in second.writes)

        run(scenario)

    def test_one_that_has_lost_the_lead_writes_nothing_more_and_stands_by(
        self, store: RecordingStore, clock: ManualClock, short_lease: None, standing_by: Callable[[], bool]
    ) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                probe = StubProbe()
                checkers.start(store, probe)
                await eventually(lambda: store.writes, "one leads")
                usurper = None
                while usurper is None:  # the first may renew its lease in between
                    clock.now += 1  # as if the first were frozen for so long
                    usurper = store.backing.hold_lease("web", "second", Checkers.lease)
                assert store.backing.write_active(
                    "web", HealthWrite(usurper.epoch, {}, interval=1, replace=True, announce=True)
                )
                version = store.snapshot().version
                await eventually(standing_by, "it stands by")
                assert store.snapshot().version == version
                assert store.health() == {}
                probes = probe.probes["a"]
                store.backing.drop_lease("web", "second")
                await eventually(lambda: probe.probes["a"] > probes, "it leads again")

        run(scenario)

    def test_it_gives_up_the_lease_when_it_stops(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                running = checkers.start(store, StubProbe())
                await eventually(lambda: store.writes, "it leads")
                assert store.backing.hold_lease("web", "second", Checkers.lease) is None
                await stop(running)
                assert store.backing.hold_lease("web", "second", Checkers.lease) is not None

        run(scenario)

    def test_it_stops_while_it_stands_by(self, store: RecordingStore) -> None:
        store.backing.hold_lease("web", "other", Checkers.lease)

        async def scenario() -> None:
            probe = StubProbe()
            async with Checkers() as checkers:
                await stop(checkers.start(store, probe))
                assert not probe.probes
                assert (
                    store.backing.hold_lease("web", "third", Checkers.lease) is None
                )  # the other's is not its to drop

        run(scenario)

    def test_a_probe_under_way_when_it_stops_is_finished_and_published(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                running = checkers.start(store, probe, fall=1)
                probe.answer(True)
                await eventually(lambda: probe.started["a"] == 2, "the second probe is under way")
                running[0].stop()
                ended, _ = await asyncio.wait([running[1]], timeout=0.05)
                assert not ended
                reason = probe.answer(False)
                await stop(running)
                assert (health_of_a(store).health, health_of_a(store).reason) == (Health.DOWN, reason)
                assert store.writes[-1].announce
                assert probe.started["a"] == 2

        run(scenario)


class TestRestart:
    def test_a_new_checker_goes_on_where_the_old_one_was(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                _, task = checkers.start(store, probe, fall=3)
                await answer(store, probe, True, False)
                await kill(task)
                before = store.snapshot()
                # Of the same name, so that it need not wait for the lease.
                again = ControlledProbe()
                checkers.start(store, again, fall=3)
                again.given = probe.given
                await answer(store, again, False)
                assert health_of_a(store) == ActiveHealth(Health.UP, 2, "3", before.active[A.id].since)
                assert store.snapshot().version == before.version
                await answer(store, again, False)
                assert health_of_a(store).health is Health.DOWN

        run(scenario)

    @pytest.mark.parametrize("ok", [True, False])
    def test_one_that_finds_what_is_known_announces_nothing(self, store: RecordingStore, ok: bool) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                first = checkers.start(store, StubProbe(a=ok), pool=POOL)
                await eventually(lambda: len(store.writes) > 2, "rounds are published")
                await stop(first)
                before = store.snapshot()
                store.writes.clear()
                checkers.start(store, StubProbe(a=ok), pool=POOL, holder="second")
                await eventually(lambda: len(store.writes) > 5, "rounds are published")
                assert store.snapshot().version == before.version
                assert not any(write.announce for write in store.writes)

        run(scenario)

    def test_one_failure_of_the_first_round_does_not_take_down_what_was_up(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                first = checkers.start(store, StubProbe())
                await eventually(lambda: store.writes, "the round is published")
                await stop(first)
                probe = ControlledProbe()
                checkers.start(store, probe, holder="second", fall=2)
                reason = probe.answer(False)
                await eventually(lambda: health_of_a(store).reason == reason, "the answer is published")
                assert health_of_a(store).health is Health.UP

        run(scenario)


class TestTakeOver:
    def test_a_successor_speaks_before_its_first_probe_has_ended(self, store: RecordingStore) -> None:
        left = {A.id: ActiveHealth(Health.UP, 1, "refused", 5.0), B.id: ActiveHealth(Health.DOWN, 0, "refused", 7.0)}
        leave_health(store, left)
        version = store.snapshot().version

        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, ControlledProbe(), pool=POOL)
                await eventually(lambda: store.writes, "it speaks")
                assert store.writes[0].states == left
                assert store.state() == left
                assert store.snapshot().version == version

        run(scenario)

    def test_its_first_word_forgets_what_is_no_longer_configured_and_says_nothing_of_what_is_new(
        self, store: RecordingStore
    ) -> None:
        leave_health(store, {A.id: ActiveHealth(Health.UP), "old:80": ActiveHealth(Health.UP)})

        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=POOL)
                await eventually(lambda: store.writes, "it speaks")
                assert store.health() == {A.id: Health.UP}
                assert store.writes[0].announce
                probe.answer(True, "b")
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "the new one is known")

        run(scenario)

    @pytest.mark.parametrize(("silent", "health"), [(5.0, Health.UP), (7.0, Health.DOWN)])
    def test_what_nobody_has_spoken_of_for_long_is_decided_anew(
        self, store: RecordingStore, clock: ManualClock, silent: float, health: Health
    ) -> None:
        """The lease is three seconds here, so a successor comes before six are over."""
        leave_health(store, {A.id: ActiveHealth(Health.UP)})
        clock.now += silent

        async def scenario() -> None:
            async with Checkers() as checkers:
                probe = ControlledProbe()
                checkers.start(store, probe, fall=2)
                await answer(store, probe, False)
                assert health_of_a(store).health is health

        run(scenario)


class TestSuccession:
    """A pool that is configured anew gets another checker in the same process."""

    @staticmethod
    async def succeeded(checkers: Checkers, store: RecordingStore, probe: Probe, pool: Pool, before: Running) -> None:
        """Until the successor has spoken."""
        before[0].stop(keep_lead=True)
        await asyncio.wait_for(before[1], PATIENCE)
        writes = len(store.writes)
        checkers.start(store, probe, pool=pool, predecessor=before[0].state)
        await eventually(lambda: len(store.writes) > writes, "the successor has spoken")

    def test_it_goes_on_in_the_same_lead_with_what_is_known(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                before = checkers.start(store, StubProbe(), pool=POOL)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                since, prompted = store.state()[A.id].since, ControlledProbe()
                await self.succeeded(checkers, store, prompted, ONE, before)
                assert store.health() == {A.id: Health.UP}, "without looking anew, and without who is gone"
                assert store.state()[A.id].since == since
                assert len({write.epoch for write in store.writes}) == 1
                assert prompted.started[A.host] == 1

        run(scenario)

    def test_a_backend_that_is_new_is_admitted_when_it_was_checked(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                before = checkers.start(store, StubProbe(), pool=ONE)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "a is up")
                prompted = ControlledProbe()
                await self.succeeded(checkers, store, prompted, POOL, before)
                assert store.health() == {A.id: Health.UP}
                prompted.answer(True, B.host)
                await eventually(lambda: store.health().get(B.id) is Health.UP, "b is up")

        run(scenario)

    def test_another_server_by_the_same_name_is_checked_before_it_is_believed(self, store: RecordingStore) -> None:
        first, second = (Pool("web", (A, Backend("x", host, 80, f"http://{host}:80"))) for host in ("one", "two"))

        async def scenario() -> None:
            async with Checkers() as checkers:
                before = checkers.start(store, StubProbe(), pool=first)
                await eventually(lambda: store.health().get("x") is Health.UP, "the first is up")
                await self.succeeded(checkers, store, ControlledProbe(), second, before)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "nothing is said of the second")
                assert store.writes[-1].announce

        run(scenario)


def test_the_loss_of_the_store_is_a_warning_and_its_return_is_not(
    store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Checkers() as checkers:
            store.cut = True
            checkers.start(store, StubProbe())
            await eventually(lambda: store.refused, "the store is out of reach")
            await eventually(lambda: "waiting for the store: cut" in caplog.text, "it is logged")
            store.cut = False
            await eventually(lambda: store.writes, "it leads")

    with caplog.at_level(logging.INFO, "lbflask.checker"):
        run(scenario)
    levels = {record.levelno for record in caplog.records if "waiting for the store" in record.getMessage()}
    assert levels == {logging.WARNING}
    assert {record.levelno for record in caplog.records if "leading, epoch" in record.getMessage()} == {logging.INFO}


class TestOverValkey:
    def test_two_checkers_over_a_real_store(self, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Checkers, "lease", 0.3)
        with connect(redis_url, PATIENCE) as one, connect(redis_url, PATIENCE) as two:
            first, second = RecordingStore(RedisStore(one, "test")), RecordingStore(RedisStore(two, "test"))

            async def scenario() -> None:
                probe = StubProbe()
                async with Checkers() as checkers:
                    _, task = checkers.start(first, probe, pool=POOL, interval=NEVER, fall=1)
                    await eventually(lambda: first.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                    probe.answers["b"] = False
                    await eventually(
                        lambda: report_suspect(second, B) and first.health()[B.id] is Health.DOWN, "B is down"
                    )
                    before = second.snapshot()
                    following = checkers.start(second, probe, pool=POOL, interval=NEVER, holder="second", fall=1)
                    await kill(task)
                    await eventually(lambda: second.writes, "the other leads when the lease has run out")
                    assert second.writes[0].epoch > first.writes[-1].epoch
                    assert second.snapshot().version == before.version
                    await stop(following)
                    assert first.backing.hold_lease("web", "third", 1) is not None

            run(scenario)
