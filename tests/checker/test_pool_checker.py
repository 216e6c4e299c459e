"""The checks of a pool: members, first round, rise and fall, suspects, log."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import defaultdict

import pytest

from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import CheckedPool, PoolChecker
from lbflask.core.checks import HealthCheck
from lbflask.core.fleet_events import Kind
from lbflask.core.health import Observation, Thresholds
from lbflask.core.model import ActiveHealth, Backend, Health, Override, Pool
from tests.checker.doubles import (
    NEVER,
    ONE,
    POOL,
    A,
    B,
    Checkers,
    ControlledProbe,
    ManualClock,
    RecordingStore,
    StubProbe,
    answer,
    eventually,
    health_of_a,
    leave_health,
    report_suspect,
    run,
    stop,
)


class TestMembers:
    """Who is in the pool may change while it is checked."""

    def test_a_backend_that_is_added_is_checked_and_one_that_is_removed_is_forgotten(
        self, store: RecordingStore
    ) -> None:
        late = Backend("late", "late", 80, "http://late:80")

        async def scenario() -> None:
            async with Checkers() as checkers:
                probe = StubProbe()
                checkers.start(store, probe, pool=POOL)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                assert store.backing.write_override("web", late.id, None, Override(added=late))
                await eventually(lambda: store.health().get(late.id) is Health.UP, "the new one is up")
                assert store.backing.write_override("web", A.id, None, Override(removed=True))
                await eventually(lambda: A.id not in store.health(), "the removed one is forgotten")
                seen = probe.probes[A.host]
                await eventually(lambda: probe.probes[late.host] > 5, "the others are still checked")
                assert probe.probes[A.host] <= seen + 1
                assert store.health() == {B.id: Health.UP, late.id: Health.UP}

        run(scenario)

    def test_another_server_by_the_same_name_is_not_believed_to_be_up_until_it_was_checked(
        self, store: RecordingStore
    ) -> None:
        first, second = (Backend("x", host, 80, f"http://{host}:80") for host in ("one", "two"))

        async def scenario() -> None:
            async with Checkers() as checkers:
                probe = StubProbe(two=False)
                store.backing.write_override("web", "x", None, Override(added=first))
                checkers.start(store, probe, pool=ONE, interval=NEVER, soon=NEVER)
                await eventually(lambda: store.health().get("x") is Health.UP, "the first is up")
                store.backing.write_override("web", "x", Override(added=first), Override(added=second))
                await eventually(lambda: store.health().get("x") is Health.DOWN, "the second is down")

        run(scenario)


class TestFirstRound:
    def test_it_is_made_at_once_and_one_success_admits(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(), pool=POOL, interval=NEVER, soon=NEVER, rise=5)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")

        run(scenario)

    def test_a_failing_first_check_is_down_at_once(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(a=False), pool=POOL, interval=NEVER, soon=NEVER, fall=5)
                await eventually(lambda: store.health() == {A.id: Health.DOWN, B.id: Health.UP}, "it is lines")
                assert store.state()[A.id].reason == "refused"
                assert [write.announce for write in store.writes] == [True]

        run(scenario)

    def test_it_is_published_whole_and_forgets_backends_that_are_no_longer_configured(
        self, store: RecordingStore
    ) -> None:
        leave_health(store, {"old:80": ActiveHealth(Health.UP)})

        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(), pool=POOL, interval=NEVER)
                await eventually(lambda: store.writes, "the round is published")
                assert store.health() == {A.id: Health.UP, B.id: Health.UP}
                assert store.writes[0].replace

        run(scenario)

    def test_the_lease_is_kept_while_its_probes_take_long(self, store: RecordingStore, short_lease: None) -> None:
        async def scenario() -> None:
            probe, other = ControlledProbe(), StubProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe)
                await eventually(lambda: probe.started["a"], "the probe has started")
                taken = store.leases
                checkers.start(RecordingStore(store.backing), other, holder="second")
                await eventually(lambda: store.leases > taken + 3, "the lease is renewed")
                probe.answer(True)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "the round is published")
                assert not other.probes

        run(scenario)

    def test_a_stop_during_it_lets_it_finish_and_publishes_it(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                running = checkers.start(store, probe)
                await eventually(lambda: probe.started["a"], "the probe has started")
                running[0].stop()
                probe.answer(True)
                await stop(running)
                assert store.health() == {A.id: Health.UP}

        run(scenario)


class TestRiseAndFall:
    def test_it_takes_as_many_failures_in_a_row_to_fall_and_successes_to_rise(self, store: RecordingStore) -> None:
        #       answers                  health after each
        answers = [
            (True, Health.UP, 0),
            (False, Health.UP, 1),
            (False, Health.UP, 2),
            (True, Health.UP, 0),
            (False, Health.UP, 1),
            (False, Health.UP, 2),
            (False, Health.DOWN, 0),
            (True, Health.DOWN, 1),
            (False, Health.DOWN, 0),
            (True, Health.DOWN, 1),
            (True, Health.UP, 0),
        ]

        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, rise=2, fall=3)
                for ok, health, streak in answers:
                    await answer(store, probe, ok)
                    assert (health_of_a(store).health, health_of_a(store).streak) == (health, streak)

        run(scenario)

    def test_flips_are_announced_and_nothing_else_is(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, rise=1, fall=2)
                await answer(store, probe, True, True, False, True, False, False, False, True)

        run(scenario)
        announced = [write.states[A.id].reason for write in store.writes if write.announce]
        assert announced == ["1", "6", "8"]
        assert len(store.writes) >= 8

    def test_a_renewed_certificate_is_announced_so_that_operators_see_it(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe()
            probe.expires = 5.0
            async with Checkers() as checkers:
                checkers.start(store, probe)
                await eventually(lambda: health_of_a(store).certificate_expires == 5.0, "it is published")
                version, probe.expires = store.snapshot().version, 7.0
                await eventually(lambda: health_of_a(store).certificate_expires == 7.0, "it is published again")
                assert store.snapshot().version > version

        run(scenario)

    def test_the_time_of_a_flip_is_of_the_stores_clock(self, store: RecordingStore, clock: ManualClock) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(), interval=NEVER)
                await eventually(lambda: store.writes, "the round is published")

        began = time.monotonic()
        run(scenario)
        assert clock.now <= health_of_a(store).since <= clock.now + time.monotonic() - began

    def test_a_backend_in_transition_is_looked_at_soon(self, store: RecordingStore) -> None:
        leave_health(store, {A.id: ActiveHealth(Health.UP)})

        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                # Were the next look due at the interval, it would not come in this test.
                checkers.start(store, probe, interval=NEVER, soon=0.01, fall=3)
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: health_of_a(store).health is Health.DOWN, "it has fallen")

        run(scenario)

    def test_the_heart_beats_while_probes_take_long(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, interval=0.02)
                probe.answer(True)
                await eventually(lambda: probe.started["a"] == 2, "the second probe hangs")
                writes = len(store.writes)
                await eventually(lambda: len(store.writes) >= writes + 4, "words come")
                assert health_of_a(store).reason == "1"
                assert not any(write.announce for write in store.writes[1:])

        run(scenario)

    def test_a_slow_backend_does_not_hold_up_the_others(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=POOL, fall=1)
                probe.answer(True, "a")
                probe.answer(True, "b")
                await eventually(lambda: probe.started["a"] == 2, "the probe of a hangs")
                probe.answer(False, "b")
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.DOWN}, "b is lines of")

        run(scenario)


class TestManyBackends:
    def test_each_has_a_check_of_its_own(self, store: RecordingStore) -> None:
        asked: dict[str, HealthCheck] = {}
        checks = {
            A.id: HealthCheck("http", NEVER, path="/a"),
            B.id: HealthCheck(interval=0.01, thresholds=Thresholds(1, 1)),
        }
        probes: defaultdict[str, int] = defaultdict(int)

        async def probe(backend: Backend, check: HealthCheck) -> Observation:
            asked[backend.id] = check
            probes[backend.id] += 1
            return Observation(probes[backend.id] < 4, "seen")

        async def scenario() -> None:
            checked = CheckedPool(POOL, lambda backend: checks[backend.id], probe)
            checker = PoolChecker(checked, store, LeaderSettings("first", NEVER, 3, 100))
            task = asyncio.create_task(checker.run())
            await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.DOWN}, "B has fallen")
            assert asked == checks
            assert probes[A.id] == 1
            await stop((checker, task))

        run(scenario)

    def test_what_is_seen_together_is_written_together_and_what_is_unchanged_not_at_all(
        self, store: RecordingStore
    ) -> None:
        many = Pool("web", tuple(Backend(f"b{n}", f"h{n}", 80, f"http://h{n}:80") for n in range(500)))

        async def scenario() -> None:
            answered, probes = asyncio.Event(), 0

            async def probe(backend: Backend, check: HealthCheck) -> Observation:
                nonlocal probes
                probes += 1
                if probes > 1000:
                    await answered.wait()
                return Observation(probes <= 1000 or backend.host == "h0", "seen")

            async with Checkers() as checkers:
                checkers.start(store, probe, pool=many, fall=1, limit=1000)
                await eventually(lambda: probes == 1500, "all are looked at for the third time")
                before = len(store.writes)
                answered.set()
                await eventually(lambda: list(store.health().values()).count(Health.DOWN) == 499, "all but one fell")
                assert [len(write.states) for write in store.writes[:before] if write.states] == [500]
                assert [len(write.states) for write in store.writes[before:] if write.states] == [499]

        run(scenario)

    def test_the_first_word_about_ten_thousand_is_one_write(self, store: RecordingStore) -> None:
        many = Pool("web", tuple(Backend(f"b{n}", f"h{n}", 80, f"http://h{n}:80") for n in range(10_000)))

        async def scenario() -> None:
            probe = StubProbe(h7=False)
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=many, interval=100 * NEVER, soon=100 * NEVER)
                await eventually(lambda: store.writes, "the round is published")
                assert set(probe.probes.values()) == {1}
                assert [len(write.states) for write in store.writes] == [10_000]
                assert [key for key, health in store.health().items() if health is Health.DOWN] == ["b7"]

        run(scenario)

    def test_checks_that_fall_behind_are_told_of_once(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=POOL, limit=1)
                began = time.monotonic()
                await eventually(lambda: time.monotonic() > began + 0.05, "B waits for longer than an interval")
                for _ in range(4):
                    probe.answer(True, "a")
                    probe.answer(True, "b")
                await eventually(lambda: probe.started["a"] > 2, "both are looked at")

        run(scenario)
        lines = re.findall("late, so failures|on time again", caplog.text)
        assert lines[0] == "late, so failures"
        assert all(one != other for one, other in itertools.pairwise(lines))


class TestSuspects:
    def test_a_suspect_is_looked_at_at_once(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=POOL, interval=NEVER, fall=1)
                await eventually(lambda: store.writes, "the round is published")
                probe.answers["a"] = False
                await eventually(
                    lambda: report_suspect(store, A) and store.health()[A.id] is Health.DOWN, "it is looked at"
                )
                assert probe.probes["b"] == 1

        run(scenario)

    def test_one_that_is_down_already_is_not(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe(a=False)
            async with Checkers() as checkers:
                checkers.start(store, probe, pool=POOL, interval=NEVER)
                await eventually(lambda: store.writes, "the round is published")
                # Reports of B come behind those of A: when B is looked at for them, those of A have been heard.
                await eventually(
                    lambda: report_suspect(store, A) and report_suspect(store, B) and probe.probes["b"] > 3,
                    "B is looked at",
                )
                assert probe.probes["a"] == 1

        run(scenario)

    def test_a_suspect_nobody_knows_is_passed_over(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, interval=NEVER)
                await eventually(lambda: store.writes, "the round is published")
                await eventually(
                    lambda: report_suspect(store, B) and report_suspect(store, A) and probe.probes["a"] > 1,
                    "it listens",
                )
                assert not probe.probes["b"]

        run(scenario)

    def test_it_listens_again_after_the_store_was_out_of_reach(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            probe = StubProbe()
            store.suspects_cut = True
            async with Checkers() as checkers:
                checkers.start(store, probe, interval=NEVER)
                await eventually(lambda: len(store.refused) > 2, "it tries to listen")
                store.suspects_cut = False
                await eventually(lambda: report_suspect(store, A) and probe.probes["a"] > 1, "it is looked at")

        run(scenario)


class TestLog:
    def test_changes_of_health_are_told_once_with_their_reason(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scenario() -> None:
            probe = ControlledProbe()
            async with Checkers() as checkers:
                checkers.start(store, probe, rise=1, fall=2)
                await answer(store, probe, True, True, False, False, False, True)
                await eventually(lambda: len(store.backing.read_events(10)) == 4, "the events are written")

        run(scenario)
        lines = [record.getMessage() for record in caplog.records if "backend" in record.getMessage()]
        assert lines == [
            f"pool web: backend {A.id} is up, was checking: 1",
            f"pool web: backend {A.id} is down, was up: 4",
            f"pool web: backend {A.id} is up, was down: 6",
        ]
        events = store.backing.read_events(10)[::-1]
        assert [(event.kind, event.what, event.backend) for event in events] == [
            (Kind.LEADER, "leads", ""),
            (Kind.HEALTH, "up", A.id),
            (Kind.HEALTH, "down", A.id),
            (Kind.HEALTH, "up", A.id),
        ]
        assert events[2].reason == "4 (was up)"

    def test_changes_of_the_lead_are_told_once(
        self, store: RecordingStore, clock: ManualClock, short_lease: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scenario() -> None:
            async with Checkers() as checkers:
                checkers.start(store, StubProbe())
                await eventually(lambda: len(store.writes) > 3, "it leads")
                usurper = None
                while usurper is None:
                    clock.now += 1
                    usurper = store.backing.hold_lease("web", "second", Checkers.lease)
                await eventually(lambda: "standing by" in caplog.text, "it stands by")
                store.backing.drop_lease("web", "second")
                await eventually(lambda: caplog.text.count("leading, epoch") == 2, "it leads again")

        run(scenario)
        lines = [record.getMessage() for record in caplog.records]
        lines = [line for line in lines if ": backend " not in line and ": checks are " not in line]
        assert [line.partition(": ")[2].partition(",")[0].partition(":")[0] for line in lines] == [
            "leading",
            "no longer leading",
            "standing by",
            "leading",
        ]
