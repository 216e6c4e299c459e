"""The loop of the checker: when it looks, what it makes of it, what it publishes, and who leads."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest

from lbflask.checker import discovery_task as finding_module
from lbflask.checker import pool_checker as loop_module
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import PoolChecker, Probe
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import DiscoveredBackend
from lbflask.core.eligibility import candidates
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.health import Observation, Thresholds
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Override, Pool, Snapshot
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import CheckerStore, Lease, StoreUnavailable, StoreWatch
from lbflask.store.redis import RedisStore, connect
from tests.support.wait import PATIENCE

A, B = (Backend(f"{name}:80", name, 80, f"http://{name}:80") for name in "ab")
POOL = Pool("web", (A, B))
ONE = Pool("web", (A,))
#: Seconds that no test lasts: what happens meanwhile did not wait for it.
NEVER = 3600.0


async def eventually(look: Callable[[], object], what: str) -> None:
    """Wait until the condition holds; fails after the deadline."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.005)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run the scene; an error that no task of it would tell of fails it too."""
    broken: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        await scene()

    asyncio.run(watched())
    assert not broken


class Steady:
    """A probe that answers at once what is set, and counts."""

    def __init__(self, ok: bool = True, **answers: bool) -> None:
        self.ok = ok
        self.answers = answers  # by host
        self.looks: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        self.looks[backend.host] += 1
        ok = self.answers.get(backend.host, self.ok)
        return Observation(ok, "fine" if ok else "refused")


class Prompted:
    """A probe each of whose answers the test gives, with a number as the reason."""

    def __init__(self) -> None:
        self.begun: defaultdict[str, int] = defaultdict(int)
        self.given = 0
        self._answers: defaultdict[str, asyncio.Queue[Observation]] = defaultdict(asyncio.Queue)

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        self.begun[backend.host] += 1
        return await self._answers[backend.host].get()

    def answer(self, ok: bool, host: str = "a") -> str:
        self.given += 1
        self._answers[host].put_nowait(Observation(ok, str(self.given)))
        return str(self.given)


@dataclass
class Written:
    """One write that a store was asked for."""

    epoch: int
    states: dict[str, ActiveHealth]
    replace: bool
    announce: bool


class Desk:
    """A checker's way to the facts, which can be cut, and where its writes are noted."""

    def __init__(self, facts: MemoryStore | RedisStore) -> None:
        self.facts = facts
        self.cut = False
        self.deaf = False  # only messages are cut off
        self.refused: list[str] = []
        self.writes: list[Written] = []  # the successful ones
        self.held = 0

    def _pass(self, method: str) -> None:
        if self.cut or (self.deaf and method == "watch_suspects"):
            self.refused.append(method)
            raise StoreUnavailable("cut")

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        self._pass("hold_lease")
        lease = self.facts.hold_lease(pool, holder, seconds)
        self.held += lease is not None
        return lease

    def drop_lease(self, pool: str, holder: str) -> None:
        self._pass("drop_lease")
        self.facts.drop_lease(pool, holder)

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        self._pass("read_snapshot")
        return self.facts.read_snapshot(pool, known)

    def write_active(
        self,
        pool: str,
        epoch: int,
        states: Mapping[str, ActiveHealth],
        *,
        interval: float,
        replace: bool = False,
        announce: bool = False,
    ) -> bool:
        self._pass("write_active")
        done = self.facts.write_active(pool, epoch, states, interval=interval, replace=replace, announce=announce)
        if done:
            self.writes.append(Written(epoch, dict(states), replace, announce))
        return done

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        self._pass("write_discovered")
        return self.facts.write_discovered(pool, epoch, backends)

    def record(self, events: Sequence[FleetEvent]) -> None:
        self._pass("record")
        self.facts.record(events)

    def watch_changes(self, pools: Collection[str]) -> StoreWatch:
        self._pass("watch_changes")
        return self.facts.watch_changes(pools)

    def watch_suspects(self, pools: Collection[str]) -> StoreWatch:
        self._pass("watch_suspects")
        return self.facts.watch_suspects(pools)

    def close(self) -> None:
        self.facts.close()

    def health(self) -> dict[str, Health]:
        """What the facts say of each backend."""
        return {key: state.health for key, state in self.state().items()}

    def state(self) -> dict[str, ActiveHealth]:
        return dict(self.snapshot().active)

    def snapshot(self) -> Snapshot:
        return self.facts.read_snapshot("web", NOTHING_KNOWN)


class Stage:
    """Checkers that are gone when the scene is over."""

    #: Seconds; with `short_lease` so few that tests can wait for its end.
    lease = 3.0

    def __init__(self) -> None:
        self._running: list[tuple[PoolChecker, asyncio.Task[None]]] = []

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _, task in self._running:
            await abandon(task)

    def enter(
        self,
        store: CheckerStore,
        probe: Probe,
        *,
        pool: Pool = ONE,
        holder: str = "first",
        interval: float = 0.01,
        soon: float = 0.01,
        rise: int = 2,
        fall: int = 3,
        most: int = 100,
        finding: DiscoveryTask | None = None,
    ) -> tuple[PoolChecker, asyncio.Task[None]]:
        check = HealthCheck(interval=interval, soon=min(soon, interval), thresholds=Thresholds(rise, fall))
        checker = PoolChecker(
            pool,
            lambda _: check,
            store,
            probe,
            LeaderSettings(holder, interval, self.lease, most),
            finding,
        )
        running = checker, asyncio.create_task(checker.run())
        self._running.append(running)
        return running


async def abandon(task: asyncio.Task[None]) -> None:
    """As if its process were killed: it gives nothing up."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def end(running: tuple[PoolChecker, asyncio.Task[None]]) -> None:
    checker, task = running
    checker.stop()
    await asyncio.wait_for(task, PATIENCE)


class ManualClock:
    """Seconds since the epoch, moved by hand: on a store with this clock a lease ends when the test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(clock: ManualClock) -> Desk:
    return Desk(MemoryStore(clock))


@pytest.fixture
def standing_by(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    """Whether a checker has said that it stands by."""
    caplog.set_level("INFO", "lbflask.checker")
    return lambda: "standing by" in caplog.text


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "lease", 0.15)


class TestMembers:
    """Who is in the pool may change while it is checked."""

    def test_a_backend_that_is_added_is_checked_and_one_that_is_removed_is_forgotten(self, desk: Desk) -> None:
        late = Backend("late", "late", 80, "http://late:80")

        async def scene() -> None:
            async with Stage() as stage:
                probe = Steady()
                stage.enter(desk, probe, pool=POOL)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                assert desk.facts.write_override("web", late.id, None, Override(added=late))
                await eventually(lambda: desk.health().get(late.id) is Health.UP, "the new one is up")
                assert desk.facts.write_override("web", A.id, None, Override(removed=True))
                await eventually(lambda: A.id not in desk.health(), "the removed one is forgotten")
                seen = probe.looks[A.host]
                await eventually(lambda: probe.looks[late.host] > 5, "the others are still checked")
                assert probe.looks[A.host] <= seen + 1
                assert desk.health() == {B.id: Health.UP, late.id: Health.UP}

        play(scene)

    def test_another_server_by_the_same_name_is_not_believed_to_be_up_until_it_was_checked(self, desk: Desk) -> None:
        first, second = (Backend("x", host, 80, f"http://{host}:80") for host in ("one", "two"))

        async def scene() -> None:
            async with Stage() as stage:
                probe = Steady(two=False)
                desk.facts.write_override("web", "x", None, Override(added=first))
                stage.enter(desk, probe, pool=ONE, interval=NEVER, soon=NEVER)
                await eventually(lambda: desk.health().get("x") is Health.UP, "the first is up")
                desk.facts.write_override("web", "x", Override(added=first), Override(added=second))
                await eventually(lambda: desk.health().get("x") is Health.DOWN, "the second is down")

        play(scene)


class Told:
    """A source that says what the test tells it to."""

    patience = NEVER

    def __init__(self) -> None:
        self._answers: asyncio.Queue[DiscoveryResult | DiscoveryFailure] = asyncio.Queue()

    def __str__(self) -> str:
        return "told:"

    async def ask(self) -> DiscoveryResult:
        answer = await self._answers.get()
        if isinstance(answer, DiscoveryFailure):
            raise answer
        return answer

    def say(self, *backends: Backend, check: HealthCheck | None = None) -> None:
        self._answers.put_nowait(DiscoveryResult(tuple(DiscoveredBackend(backend, check) for backend in backends), 0))

    def fail(self) -> None:
        self._answers.put_nowait(DiscoveryFailure("no"))


class TestFinding:
    """Backends that a source finds while the pool is checked."""

    NOBODY = Pool("web", ())

    def test_those_that_are_found_are_checked_and_those_that_are_gone_are_forgotten(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source, probe = Told(), Steady(b=False)
                stage.enter(desk, probe, pool=self.NOBODY, finding=DiscoveryTask(source, "web"))
                await eventually(
                    lambda: desk.snapshot().heartbeat is not None, "a word is spoken though nobody is there"
                )
                source.say(A, B)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.DOWN}, "both are checked")
                assert desk.snapshot().discovered == (A, B)
                source.say(B)
                await eventually(lambda: desk.health() == {B.id: Health.DOWN}, "one is forgotten")
                assert desk.snapshot().discovered == (B,)
                seen, others = probe.looks[A.host], probe.looks[B.host]
                await eventually(lambda: probe.looks[B.host] > others + 5, "the other is still checked")
                assert probe.looks[A.host] <= seen + 1
                source.say()
                await eventually(lambda: desk.health() == {}, "nobody is left")

        play(scene)

    def test_one_that_was_not_checked_yet_takes_no_request(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source, probe = Told(), Prompted()
                stage.enter(desk, probe, pool=self.NOBODY, finding=DiscoveryTask(source, "web"))
                await eventually(lambda: desk.snapshot().heartbeat is not None, "a word is spoken")
                source.say(A)
                await eventually(lambda: probe.begun[A.host], "it is being checked")
                assert desk.snapshot().discovered == (A,)
                assert candidates(self.NOBODY, desk.snapshot()) == ()
                probe.answer(ok=True)
                await eventually(lambda: candidates(self.NOBODY, desk.snapshot()), "it serves")

        play(scene)

    def test_a_successor_goes_on_with_what_was_found(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                first = stage.enter(desk, Steady(), pool=ONE, finding=DiscoveryTask(source, "web"))
                source.say(B)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                await end(first)
                silent, probe = Told(), Steady(ok=False)
                silent.fail()
                stage.enter(desk, probe, pool=ONE, holder="second", finding=DiscoveryTask(silent, "web"))
                await eventually(lambda: desk.health() == {A.id: Health.DOWN, B.id: Health.DOWN}, "both are checked")
                assert desk.snapshot().discovered == (B,)

        play(scene)

    def test_what_is_found_while_the_store_is_gone_is_told_when_it_is_back(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(finding_module, "RETRY_EVERY", 0.01)

        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                stage.enter(desk, Steady(), pool=ONE, finding=DiscoveryTask(source, "web"))
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "one is up")
                desk.cut = True
                source.say(B)
                await eventually(lambda: desk.refused.count("write_discovered") > 2, "it is tried")
                desk.cut = False
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")

        play(scene)

    def test_a_store_that_has_forgotten_is_told_though_the_source_says_nothing_more(
        self, desk: Desk, clock: ManualClock
    ) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                running = stage.enter(desk, Steady(), pool=self.NOBODY, finding=DiscoveryTask(source, "web"))
                source.say(A)
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "it is up")
                desk.facts = MemoryStore(clock)
                # Workers go on with what they know until the store has a version: then it has to have this too.
                await eventually(lambda: desk.snapshot().version, "something is known again")
                assert desk.snapshot().discovered == (A,)
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "it is up again")
                await end(running)

        play(scene)

    def test_what_a_leader_of_an_earlier_epoch_finds_is_not_taken(
        self, desk: Desk, standing_by: Callable[[], bool]
    ) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                stage.enter(desk, Steady(), pool=ONE, interval=NEVER, finding=DiscoveryTask(source, "web"))
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "it leads")
                desk.facts.drop_lease("web", "first")
                assert desk.facts.hold_lease("web", "second", Stage.lease)
                source.say(B)
                await eventually(standing_by, "it is refused")
                assert desk.snapshot().discovered == ()

        play(scene)

    def test_what_a_source_found_that_is_configured_no_more_is_gone(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                first = stage.enter(desk, Steady(), pool=ONE, finding=DiscoveryTask(source, "web"))
                source.say(B)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                await end(first)
                stage.enter(desk, Steady(), pool=ONE, holder="second")
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "only the configured one is left")
                assert desk.snapshot().discovered == ()

        play(scene)

    def test_a_backend_is_checked_as_its_source_says(self, desk: Desk) -> None:
        asked: dict[str, HealthCheck] = {}
        own = HealthCheck("http", 0.01, path="/own")

        async def probe(backend: Backend, check: HealthCheck) -> Observation:
            asked[backend.id] = check
            return Observation(True, "fine")

        async def scene() -> None:
            async with Stage() as stage:
                source = Told()
                stage.enter(desk, probe, pool=ONE, finding=DiscoveryTask(source, "web"))
                source.say(B, check=own)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                assert (asked[A.id].path, asked[B.id]) == ("/", own)
                source.say(B)
                await eventually(lambda: asked[B.id].path == "/", "it is checked like the others")

        play(scene)


class TestFirstRound:
    def test_it_is_made_at_once_and_one_success_admits(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Steady(), pool=POOL, interval=NEVER, soon=NEVER, rise=5)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")

        play(scene)

    def test_a_failing_first_check_is_down_at_once(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Steady(a=False), pool=POOL, interval=NEVER, soon=NEVER, fall=5)
                await eventually(lambda: desk.health() == {A.id: Health.DOWN, B.id: Health.UP}, "it is told")
                assert desk.state()[A.id].reason == "refused"
                assert [write.announce for write in desk.writes] == [True]

        play(scene)

    def test_it_is_published_whole_and_forgets_backends_that_are_no_longer_configured(self, desk: Desk) -> None:
        leave(desk, {"old:80": ActiveHealth(Health.UP)})

        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Steady(), pool=POOL, interval=NEVER)
                await eventually(lambda: desk.writes, "the round is published")
                assert desk.health() == {A.id: Health.UP, B.id: Health.UP}
                assert desk.writes[0].replace

        play(scene)

    def test_the_lease_is_kept_while_its_probes_take_long(self, desk: Desk, short_lease: None) -> None:
        async def scene() -> None:
            probe, other = Prompted(), Steady()
            async with Stage() as stage:
                stage.enter(desk, probe)
                await eventually(lambda: probe.begun["a"], "the probe has begun")
                taken = desk.held
                stage.enter(Desk(desk.facts), other, holder="second")
                await eventually(lambda: desk.held > taken + 3, "the lease is renewed")
                probe.answer(True)
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "the round is published")
                assert not other.looks

        play(scene)

    def test_a_stop_during_it_lets_it_finish_and_publishes_it(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                running = stage.enter(desk, probe)
                await eventually(lambda: probe.begun["a"], "the probe has begun")
                running[0].stop()
                probe.answer(True)
                await end(running)
                assert desk.health() == {A.id: Health.UP}

        play(scene)


class TestRiseAndFall:
    def test_it_takes_as_many_failures_in_a_row_to_fall_and_successes_to_rise(self, desk: Desk) -> None:
        #       answers                  health after each
        story = [
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

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, rise=2, fall=3)
                for ok, health, streak in story:
                    await tell(desk, probe, ok)
                    assert (seen(desk).health, seen(desk).streak) == (health, streak)

        play(scene)

    def test_flips_are_announced_and_nothing_else_is(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, rise=1, fall=2)
                await tell(desk, probe, True, True, False, True, False, False, False, True)

        play(scene)
        announced = [write.states[A.id].reason for write in desk.writes if write.announce]
        assert announced == ["1", "6", "8"]
        assert len(desk.writes) >= 8

    def test_the_time_of_a_flip_is_of_the_stores_clock(self, desk: Desk, clock: ManualClock) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Steady(), interval=NEVER)
                await eventually(lambda: desk.writes, "the round is published")

        began = time.monotonic()
        play(scene)
        assert clock.now <= seen(desk).since <= clock.now + time.monotonic() - began

    def test_a_backend_in_transition_is_looked_at_soon(self, desk: Desk) -> None:
        leave(desk, {A.id: ActiveHealth(Health.UP)})

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                # Were the next look due at the interval, it would not come in this test.
                stage.enter(desk, probe, interval=NEVER, soon=0.01, fall=3)
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: seen(desk).health is Health.DOWN, "it has fallen")

        play(scene)

    def test_the_heart_beats_while_probes_take_long(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, interval=0.02)
                probe.answer(True)
                await eventually(lambda: probe.begun["a"] == 2, "the second probe hangs")
                words = len(desk.writes)
                await eventually(lambda: len(desk.writes) >= words + 4, "words come")
                assert seen(desk).reason == "1"
                assert not any(write.announce for write in desk.writes[1:])

        play(scene)

    def test_a_slow_backend_does_not_hold_up_the_others(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, pool=POOL, fall=1)
                probe.answer(True, "a")
                probe.answer(True, "b")
                await eventually(lambda: probe.begun["a"] == 2, "the probe of a hangs")
                probe.answer(False, "b")
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.DOWN}, "b is told of")

        play(scene)


def seen(desk: Desk) -> ActiveHealth:
    """What the facts say of A."""
    return desk.state().get(A.id, ActiveHealth())


def leave(desk: Desk, states: dict[str, ActiveHealth]) -> None:
    """What a checker has left behind that is gone."""
    lease = desk.facts.hold_lease("web", "before", Stage.lease)
    assert lease is not None
    assert desk.facts.write_active("web", lease.epoch, states, interval=1, announce=True)
    desk.facts.drop_lease("web", "before")


async def tell(desk: Desk, probe: Prompted, *answers: bool) -> None:
    """Answer the probes of A, and see each answer published."""
    for ok in answers:
        reason = probe.answer(ok)
        await eventually(lambda reason=reason: seen(desk).reason == reason, "the answer is published")  # type: ignore[misc]


class TestRestart:
    def test_a_new_checker_goes_on_where_the_old_one_was(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                _, task = stage.enter(desk, probe, fall=3)
                await tell(desk, probe, True, False)
                await abandon(task)
                before = desk.snapshot()
                # Of the same name, so that it need not wait for the lease.
                again = Prompted()
                stage.enter(desk, again, fall=3)
                again.given = probe.given
                await tell(desk, again, False)
                assert seen(desk) == ActiveHealth(Health.UP, 2, "3", before.active[A.id].since)
                assert desk.snapshot().version == before.version
                await tell(desk, again, False)
                assert seen(desk).health is Health.DOWN

        play(scene)

    @pytest.mark.parametrize("ok", [True, False])
    def test_one_that_finds_what_is_known_announces_nothing(self, desk: Desk, ok: bool) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                first = stage.enter(desk, Steady(a=ok), pool=POOL)
                await eventually(lambda: len(desk.writes) > 2, "rounds are published")
                await end(first)
                before = desk.snapshot()
                desk.writes.clear()
                stage.enter(desk, Steady(a=ok), pool=POOL, holder="second")
                await eventually(lambda: len(desk.writes) > 5, "rounds are published")
                assert desk.snapshot().version == before.version
                assert not any(write.announce for write in desk.writes)

        play(scene)

    def test_one_failure_of_the_first_round_does_not_take_down_what_was_up(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                first = stage.enter(desk, Steady())
                await eventually(lambda: desk.writes, "the round is published")
                await end(first)
                probe = Prompted()
                stage.enter(desk, probe, holder="second", fall=2)
                reason = probe.answer(False)
                await eventually(lambda: seen(desk).reason == reason, "the answer is published")
                assert seen(desk).health is Health.UP

        play(scene)


class TestTakeOver:
    def test_a_successor_speaks_before_its_first_probe_has_ended(self, desk: Desk) -> None:
        left = {A.id: ActiveHealth(Health.UP, 1, "refused", 5.0), B.id: ActiveHealth(Health.DOWN, 0, "refused", 7.0)}
        leave(desk, left)
        version = desk.snapshot().version

        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Prompted(), pool=POOL)
                await eventually(lambda: desk.writes, "it speaks")
                assert desk.writes[0].states == left
                assert desk.state() == left
                assert desk.snapshot().version == version

        play(scene)

    def test_its_first_word_forgets_what_is_no_longer_configured_and_says_nothing_of_what_is_new(
        self, desk: Desk
    ) -> None:
        leave(desk, {A.id: ActiveHealth(Health.UP), "old:80": ActiveHealth(Health.UP)})

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, pool=POOL)
                await eventually(lambda: desk.writes, "it speaks")
                assert desk.health() == {A.id: Health.UP}
                assert desk.writes[0].announce
                probe.answer(True, "b")
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "the new one is known")

        play(scene)

    @pytest.mark.parametrize(("silent", "health"), [(5.0, Health.UP), (7.0, Health.DOWN)])
    def test_what_nobody_has_spoken_of_for_long_is_decided_anew(
        self, desk: Desk, clock: ManualClock, silent: float, health: Health
    ) -> None:
        """The lease is three seconds here, so a successor comes before six are over."""
        leave(desk, {A.id: ActiveHealth(Health.UP)})
        clock.now += silent

        async def scene() -> None:
            async with Stage() as stage:
                probe = Prompted()
                stage.enter(desk, probe, fall=2)
                await tell(desk, probe, False)
                assert seen(desk).health is health

        play(scene)


class TestManyBackends:
    def test_each_has_a_check_of_its_own(self, desk: Desk) -> None:
        asked: dict[str, HealthCheck] = {}
        checks = {
            A.id: HealthCheck("http", NEVER, path="/a"),
            B.id: HealthCheck(interval=0.01, thresholds=Thresholds(1, 1)),
        }
        looks: defaultdict[str, int] = defaultdict(int)

        async def probe(backend: Backend, check: HealthCheck) -> Observation:
            asked[backend.id] = check
            looks[backend.id] += 1
            return Observation(looks[backend.id] < 4, "seen")

        async def scene() -> None:
            checker = PoolChecker(
                POOL, lambda backend: checks[backend.id], desk, probe, LeaderSettings("first", NEVER, 3, 100)
            )
            task = asyncio.create_task(checker.run())
            await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.DOWN}, "B has fallen")
            assert asked == checks
            assert looks[A.id] == 1
            await end((checker, task))

        play(scene)

    def test_what_is_seen_together_is_written_together_and_what_is_unchanged_not_at_all(self, desk: Desk) -> None:
        many = Pool("web", tuple(Backend(f"b{n}", f"h{n}", 80, f"http://h{n}:80") for n in range(500)))

        async def scene() -> None:
            answered, looks = asyncio.Event(), 0

            async def probe(backend: Backend, check: HealthCheck) -> Observation:
                nonlocal looks
                looks += 1
                if looks > 1000:
                    await answered.wait()
                return Observation(looks <= 1000 or backend.host == "h0", "seen")

            async with Stage() as stage:
                stage.enter(desk, probe, pool=many, fall=1, most=1000)
                await eventually(lambda: looks == 1500, "all are looked at for the third time")
                before = len(desk.writes)
                answered.set()
                await eventually(lambda: list(desk.health().values()).count(Health.DOWN) == 499, "all but one fell")
                assert [len(write.states) for write in desk.writes[:before] if write.states] == [500]
                assert [len(write.states) for write in desk.writes[before:] if write.states] == [499]

        play(scene)

    def test_the_first_word_about_ten_thousand_is_one_write(self, desk: Desk) -> None:
        many = Pool("web", tuple(Backend(f"b{n}", f"h{n}", 80, f"http://h{n}:80") for n in range(10_000)))

        async def scene() -> None:
            probe = Steady(h7=False)
            async with Stage() as stage:
                stage.enter(desk, probe, pool=many, interval=100 * NEVER, soon=100 * NEVER)
                await eventually(lambda: desk.writes, "the round is published")
                assert set(probe.looks.values()) == {1}
                assert [len(write.states) for write in desk.writes] == [10_000]
                assert [key for key, health in desk.health().items() if health is Health.DOWN] == ["b7"]

        play(scene)

    def test_checks_that_fall_behind_are_told_of_once(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, pool=POOL, most=1)
                began = time.monotonic()
                await eventually(lambda: time.monotonic() > began + 0.05, "B waits for longer than an interval")
                for _ in range(4):
                    probe.answer(True, "a")
                    probe.answer(True, "b")
                await eventually(lambda: probe.begun["a"] > 2, "both are looked at")

        play(scene)
        told = re.findall("late, so failures|on time again", caplog.text)
        assert told[0] == "late, so failures"
        assert all(one != other for one, other in itertools.pairwise(told))


class TestLog:
    def test_changes_of_health_are_told_once_with_their_reason(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, rise=1, fall=2)
                await tell(desk, probe, True, True, False, False, False, True)
                await eventually(lambda: len(desk.facts.read_events(10)) == 4, "the events are written")

        play(scene)
        told = [record.getMessage() for record in caplog.records if "backend" in record.getMessage()]
        assert told == [
            f"pool web: backend {A.id} is up, was checking: 1",
            f"pool web: backend {A.id} is down, was up: 4",
            f"pool web: backend {A.id} is up, was down: 6",
        ]
        events = desk.facts.read_events(10)[::-1]
        assert [(event.kind, event.what, event.backend) for event in events] == [
            (Kind.LEADER, "leads", ""),
            (Kind.HEALTH, "up", A.id),
            (Kind.HEALTH, "down", A.id),
            (Kind.HEALTH, "up", A.id),
        ]
        assert events[2].reason == "4 (was up)"

    def test_changes_of_the_lead_are_told_once(
        self, desk: Desk, clock: ManualClock, short_lease: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "lbflask.checker")

        async def scene() -> None:
            async with Stage() as stage:
                stage.enter(desk, Steady())
                await eventually(lambda: len(desk.writes) > 3, "it leads")
                usurper = None
                while usurper is None:
                    clock.now += 1
                    usurper = desk.facts.hold_lease("web", "second", Stage.lease)
                await eventually(lambda: "standing by" in caplog.text, "it stands by")
                desk.facts.drop_lease("web", "second")
                await eventually(lambda: caplog.text.count("leading, epoch") == 2, "it leads again")

        play(scene)
        told = [record.getMessage() for record in caplog.records]
        told = [line for line in told if ": backend " not in line and ": checks are " not in line]
        assert [line.partition(": ")[2].partition(",")[0].partition(":")[0] for line in told] == [
            "leading",
            "no longer leading",
            "standing by",
            "leading",
        ]


class TestLead:
    def test_one_of_two_looks(self, desk: Desk) -> None:
        async def scene() -> None:
            leading, waiting = Steady(), Steady()
            async with Stage() as stage:
                stage.enter(desk, leading)
                await eventually(lambda: desk.writes, "one leads")
                stage.enter(Desk(desk.facts), waiting, holder="second")
                await eventually(lambda: leading.looks["a"] > 20, "it looks again and again")
                assert not waiting.looks

        play(scene)

    def test_the_other_takes_over_when_it_stops(self, desk: Desk, short_lease: None) -> None:
        async def scene() -> None:
            following = Steady()
            second = Desk(desk.facts)
            async with Stage() as stage:
                running = stage.enter(desk, Steady())
                await eventually(lambda: desk.writes, "one leads")
                stage.enter(second, following, holder="second")
                await end(running)
                # On this clock no lease runs out by itself: it was given up.
                await eventually(lambda: second.writes, "the other leads")
                assert second.writes[0].epoch > desk.writes[-1].epoch
                assert not any(write.announce for write in second.writes)

        play(scene)

    def test_the_other_takes_over_when_its_lease_runs_out(
        self, desk: Desk, clock: ManualClock, short_lease: None
    ) -> None:
        async def scene() -> None:
            second = Desk(desk.facts)
            async with Stage() as stage:
                _, task = stage.enter(desk, Steady())
                await eventually(lambda: desk.writes, "one leads")
                following = Steady()
                stage.enter(second, following, holder="second")
                await abandon(task)
                assert not following.looks

                def time_passes() -> bool:
                    clock.now += 1
                    return bool(second.writes)

                await eventually(time_passes, "the other leads")
                assert not any(write.announce for write in second.writes)

        play(scene)

    def test_one_that_has_lost_the_lead_writes_nothing_more_and_stands_by(
        self, desk: Desk, clock: ManualClock, short_lease: None, standing_by: Callable[[], bool]
    ) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                probe = Steady()
                stage.enter(desk, probe)
                await eventually(lambda: desk.writes, "one leads")
                usurper = None
                while usurper is None:  # the first may renew its lease in between
                    clock.now += 1  # as if the first were frozen for so long
                    usurper = desk.facts.hold_lease("web", "second", Stage.lease)
                assert desk.facts.write_active("web", usurper.epoch, {}, interval=1, replace=True, announce=True)
                version = desk.snapshot().version
                await eventually(standing_by, "it stands by")
                assert desk.snapshot().version == version
                assert desk.health() == {}
                looks = probe.looks["a"]
                desk.facts.drop_lease("web", "second")
                await eventually(lambda: probe.looks["a"] > looks, "it leads again")

        play(scene)

    def test_it_gives_up_the_lease_when_it_stops(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                running = stage.enter(desk, Steady())
                await eventually(lambda: desk.writes, "it leads")
                assert desk.facts.hold_lease("web", "second", Stage.lease) is None
                await end(running)
                assert desk.facts.hold_lease("web", "second", Stage.lease) is not None

        play(scene)

    def test_it_stops_while_it_stands_by(self, desk: Desk) -> None:
        desk.facts.hold_lease("web", "other", Stage.lease)

        async def scene() -> None:
            probe = Steady()
            async with Stage() as stage:
                await end(stage.enter(desk, probe))
                assert not probe.looks
                assert desk.facts.hold_lease("web", "third", Stage.lease) is None  # the other's is not its to drop

        play(scene)

    def test_a_probe_under_way_when_it_stops_is_finished_and_published(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                running = stage.enter(desk, probe, fall=1)
                probe.answer(True)
                await eventually(lambda: probe.begun["a"] == 2, "the second probe is under way")
                running[0].stop()
                ended, _ = await asyncio.wait([running[1]], timeout=0.05)
                assert not ended
                reason = probe.answer(False)
                await end(running)
                assert (seen(desk).health, seen(desk).reason) == (Health.DOWN, reason)
                assert desk.writes[-1].announce
                assert probe.begun["a"] == 2

        play(scene)


class TestStore:
    @pytest.mark.parametrize("interval", [0.01, NEVER])
    @pytest.mark.parametrize("kind", ["memory", "fakeredis"])
    def test_an_emptied_store_is_filled_again(self, kind: str, interval: float, short_lease: None) -> None:
        server = fakeredis.FakeServer()
        with fakeredis.FakeRedis(server=server) as client, fakeredis.FakeRedis(server=server) as other:
            memory = MemoryStore(time.time)
            desk = Desk(memory if kind == "memory" else RedisStore(client, "test"))
            empty = memory.empty if kind == "memory" else other.flushall

            async def scene() -> None:
                async with Stage() as stage:
                    stage.enter(desk, Steady(b=False), pool=POOL, interval=interval, soon=interval)
                    await eventually(lambda: desk.writes, "the round is published")
                    before = desk.snapshot()
                    empty()
                    await eventually(desk.health, "it is published again")
                    after = desk.facts.read_snapshot("web", before)
                    assert after.version not in (before.version, NOTHING_KNOWN.version)
                    assert {key: (state.health, state.since) for key, state in after.active.items()} == {
                        key: (state.health, state.since) for key, state in before.active.items()
                    }

            play(scene)

    def test_what_is_seen_while_it_is_out_of_reach_is_published_afterwards(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop_module, "RETRY_EVERY", 0.01)

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, fall=3)
                await tell(desk, probe, True)
                desk.cut = True
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: probe.begun["a"] == 5, "it has been looked at meanwhile")
                desk.refused.clear()
                await eventually(lambda: desk.refused.count("write_active") > 2, "it tries to tell the last of it")
                assert seen(desk).health is Health.UP
                desk.cut = False
                await eventually(lambda: seen(desk).health is Health.DOWN, "it is published")
                assert seen(desk).reason == "4"
                assert [write.announce for write in desk.writes if A.id in write.states] == [True, True]

        play(scene)

    def test_nor_is_it_lost_when_the_lease_runs_out_meanwhile(
        self, desk: Desk, clock: ManualClock, short_lease: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop_module, "RETRY_EVERY", NEVER)  # the lease is asked for before the write is

        async def scene() -> None:
            probe = Prompted()
            async with Stage() as stage:
                stage.enter(desk, probe, fall=3)
                await tell(desk, probe, True)
                desk.cut = True
                for _ in range(3):
                    probe.answer(False)
                await eventually(lambda: probe.begun["a"] == 5, "it has been looked at meanwhile")
                clock.now += 1
                desk.cut = False
                await eventually(lambda: probe.begun["a"] == 6, "it leads anew")
                await tell(desk, probe, False)
                assert seen(desk).health is Health.DOWN
                assert next(write for write in desk.writes if write.states[A.id].health is Health.DOWN).announce

        play(scene)

    def test_but_the_word_of_another_who_led_meanwhile_holds(
        self, desk: Desk, clock: ManualClock, short_lease: None, standing_by: Callable[[], bool]
    ) -> None:
        async def scene() -> None:
            probe = Prompted()
            second = Desk(desk.facts)
            async with Stage() as stage:
                stage.enter(desk, probe, fall=1)
                await tell(desk, probe, True)
                desk.cut = True
                probe.answer(False)  # it was the network of the first that failed
                await eventually(lambda: probe.begun["a"] == 3, "it has been looked at meanwhile")
                clock.now += 1
                running = stage.enter(second, Steady(), holder="second")
                await eventually(lambda: len(second.writes) > 2, "the other leads")
                desk.cut = False
                await eventually(standing_by, "the first stands by")
                version = desk.snapshot().version
                await end(running)
                await eventually(lambda: probe.begun["a"] == 4, "the first leads again")
                await tell(desk, probe, True)
                assert seen(desk).health is Health.UP
                assert desk.snapshot().version == version

        play(scene)

    def test_a_checker_waits_for_a_store_that_is_not_there_yet(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop_module, "RETRY_EVERY", 0.01)
        desk.cut = True

        async def scene() -> None:
            probe = Steady()
            async with Stage() as stage:
                running = stage.enter(desk, probe)
                await eventually(lambda: running[0]._told.startswith("waiting"), "it waits")
                assert not probe.looks  # nobody leads
                desk.cut = False
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "it leads")

        play(scene)

    def test_it_stops_while_the_store_is_out_of_reach(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Steady()
            async with Stage() as stage:
                running = stage.enter(desk, probe)
                await eventually(lambda: desk.writes, "it leads")
                desk.cut = True
                looks = probe.looks["a"]
                await eventually(lambda: probe.looks["a"] > looks + 1, "there is something to publish")
                await end(running)

        play(scene)


class TestSuspects:
    def test_a_suspect_is_looked_at_at_once(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Steady()
            async with Stage() as stage:
                stage.enter(desk, probe, pool=POOL, interval=NEVER, fall=1)
                await eventually(lambda: desk.writes, "the round is published")
                probe.answers["a"] = False
                await eventually(lambda: report(desk, A) and desk.health()[A.id] is Health.DOWN, "it is looked at")
                assert probe.looks["b"] == 1

        play(scene)

    def test_one_that_is_down_already_is_not(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Steady(a=False)
            async with Stage() as stage:
                stage.enter(desk, probe, pool=POOL, interval=NEVER)
                await eventually(lambda: desk.writes, "the round is published")
                # Reports of B come behind those of A: when B is looked at for them, those of A have been heard.
                await eventually(lambda: report(desk, A) and report(desk, B) and probe.looks["b"] > 3, "B is looked at")
                assert probe.looks["a"] == 1

        play(scene)

    def test_a_suspect_nobody_knows_is_passed_over(self, desk: Desk) -> None:
        async def scene() -> None:
            probe = Steady()
            async with Stage() as stage:
                stage.enter(desk, probe, interval=NEVER)
                await eventually(lambda: desk.writes, "the round is published")
                await eventually(lambda: report(desk, B) and report(desk, A) and probe.looks["a"] > 1, "it listens")
                assert not probe.looks["b"]

        play(scene)

    def test_it_listens_again_after_the_store_was_out_of_reach(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop_module, "RETRY_EVERY", 0.01)

        async def scene() -> None:
            probe = Steady()
            desk.deaf = True
            async with Stage() as stage:
                stage.enter(desk, probe, interval=NEVER)
                await eventually(lambda: len(desk.refused) > 2, "it tries to listen")
                desk.deaf = False
                await eventually(lambda: report(desk, A) and probe.looks["a"] > 1, "it is looked at")

        play(scene)


def report(desk: Desk, backend: Backend) -> bool:
    """As a worker does that could not reach the backend."""
    desk.facts.report_suspect("web", backend.id)
    return True


class TestOverValkey:
    def test_two_checkers_over_a_real_store(self, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Stage, "lease", 0.3)
        with connect(redis_url, PATIENCE) as one, connect(redis_url, PATIENCE) as two:
            first, second = Desk(RedisStore(one, "test")), Desk(RedisStore(two, "test"))

            async def scene() -> None:
                probe = Steady()
                async with Stage() as stage:
                    _, task = stage.enter(first, probe, pool=POOL, interval=NEVER, fall=1)
                    await eventually(lambda: first.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                    probe.answers["b"] = False
                    await eventually(lambda: report(second, B) and first.health()[B.id] is Health.DOWN, "B is down")
                    before = second.snapshot()
                    following = stage.enter(second, probe, pool=POOL, interval=NEVER, holder="second", fall=1)
                    await abandon(task)
                    await eventually(lambda: second.writes, "the other leads when the lease has run out")
                    assert second.writes[0].epoch > first.writes[-1].epoch
                    assert second.snapshot().version == before.version
                    await end(following)
                    assert first.facts.hold_lease("web", "third", 1) is not None

            play(scene)


class TestSuccession:
    """A pool that is configured anew gets another checker in the same process."""

    @staticmethod
    async def succeeded(
        stage: Stage, desk: Desk, probe: Probe, pool: Pool, before: tuple[PoolChecker, asyncio.Task[None]]
    ) -> None:
        """Until the successor has spoken."""
        before[0].stop(keep_lead=True)
        await asyncio.wait_for(before[1], PATIENCE)
        words = len(desk.writes)
        after, _ = stage.enter(desk, probe, pool=pool)
        after.succeed(before[0])
        await eventually(lambda: len(desk.writes) > words, "the successor has spoken")

    def test_it_goes_on_in_the_same_lead_with_what_is_known(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                before = stage.enter(desk, Steady(), pool=POOL)
                await eventually(lambda: desk.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                since, prompted = desk.state()[A.id].since, Prompted()
                await self.succeeded(stage, desk, prompted, ONE, before)
                assert desk.health() == {A.id: Health.UP}, "without looking anew, and without who is gone"
                assert desk.state()[A.id].since == since
                assert len({write.epoch for write in desk.writes}) == 1
                assert prompted.begun[A.host] == 1

        play(scene)

    def test_a_backend_that_is_new_is_admitted_when_it_was_checked(self, desk: Desk) -> None:
        async def scene() -> None:
            async with Stage() as stage:
                before = stage.enter(desk, Steady(), pool=ONE)
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "a is up")
                prompted = Prompted()
                await self.succeeded(stage, desk, prompted, POOL, before)
                assert desk.health() == {A.id: Health.UP}
                prompted.answer(True, B.host)
                await eventually(lambda: desk.health().get(B.id) is Health.UP, "b is up")

        play(scene)

    def test_another_server_by_the_same_name_is_checked_before_it_is_believed(self, desk: Desk) -> None:
        first, second = (Pool("web", (A, Backend("x", host, 80, f"http://{host}:80"))) for host in ("one", "two"))

        async def scene() -> None:
            async with Stage() as stage:
                before = stage.enter(desk, Steady(), pool=first)
                await eventually(lambda: desk.health().get("x") is Health.UP, "the first is up")
                await self.succeeded(stage, desk, Prompted(), second, before)
                await eventually(lambda: desk.health() == {A.id: Health.UP}, "nothing is said of the second")
                assert desk.writes[-1].announce

        play(scene)
