"""Backends that a source finds while the pool is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import SourceFailure
from lbflask.core.eligibility import Fallback, select
from lbflask.core.health import Observation
from lbflask.core.model import Backend, Health, Pool
from lbflask.discovery import source as source_module
from lbflask.store.memory import MemoryStore
from tests.checker.doubles import (
    NEVER,
    ONE,
    A,
    B,
    Checkers,
    ControlledProbe,
    FakeSource,
    ManualClock,
    RecordingStore,
    StubProbe,
    eventually,
    run,
    stop,
)


class TestDiscovery:
    NOBODY = Pool("web", ())

    def test_those_that_are_found_are_checked_and_those_that_are_gone_are_forgotten(
        self, store: RecordingStore
    ) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source, probe = FakeSource(), StubProbe(b=False)
                checkers.start(store, probe, pool=self.NOBODY, discovery=DiscoveryTask(source, "web"))
                await eventually(
                    lambda: store.snapshot().heartbeat is not None, "a word is spoken though nobody is there"
                )
                source.give(A, B)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.DOWN}, "both are checked")
                assert store.snapshot().discovered == (A, B)
                source.give(B)
                await eventually(lambda: store.health() == {B.id: Health.DOWN}, "one is forgotten")
                assert store.snapshot().discovered == (B,)
                seen, others = probe.probes[A.host], probe.probes[B.host]
                await eventually(lambda: probe.probes[B.host] > others + 5, "the other is still checked")
                assert probe.probes[A.host] <= seen + 1
                source.give()
                await eventually(lambda: store.health() == {}, "nobody is left")

        run(scenario)

    def test_one_that_was_not_checked_yet_serves_only_as_a_fallback(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source, probe = FakeSource(), ControlledProbe()
                checkers.start(store, probe, pool=self.NOBODY, discovery=DiscoveryTask(source, "web"))
                await eventually(lambda: store.snapshot().heartbeat is not None, "a word is spoken")
                source.give(A)
                await eventually(lambda: probe.started[A.host], "it is being checked")
                assert store.snapshot().discovered == (A,)
                assert select(self.NOBODY, store.snapshot()).resort is Fallback.UNCHECKED
                probe.answer(ok=True)
                await eventually(lambda: select(self.NOBODY, store.snapshot()).resort is Fallback.NONE, "it serves")
                assert [one.backend for one in select(self.NOBODY, store.snapshot()).candidates] == [A]

        run(scenario)

    def test_a_successor_goes_on_with_what_was_found(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                first = checkers.start(store, StubProbe(), pool=ONE, discovery=DiscoveryTask(source, "web"))
                source.give(B)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                await stop(first)
                silent, probe = FakeSource(), StubProbe(ok=False)
                silent.fail()
                checkers.start(store, probe, pool=ONE, holder="second", discovery=DiscoveryTask(silent, "web"))
                await eventually(lambda: store.health() == {A.id: Health.DOWN, B.id: Health.DOWN}, "both are checked")
                assert store.snapshot().discovered == (B,)

        run(scenario)

    def test_a_failure_is_published_with_its_beginning_until_the_source_answers(
        self, store: RecordingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source_module, "RETRY_FIRST", 0.0)

        def failure() -> SourceFailure | None:
            return store.backing.read_roster("web").source_failure

        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                checkers.start(
                    store, StubProbe(), pool=self.NOBODY, discovery=DiscoveryTask(source, "web", retry_interval=0.01)
                )
                source.give(A)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up")
                assert failure() is None
                source.fail()
                await eventually(failure, "it is published")
                first = failure()
                assert first is not None
                assert (first.source, first.reason) == ("fake:", "no")
                store.cut = True
                source.fail()
                await eventually(lambda: "write_source" in store.refused, "it is reported again")
                store.cut = False
                source.fail()
                assert failure() == first, "it began once"
                source.give(A)
                await eventually(lambda: failure() is None, "it is over")

        run(scenario)

    def test_a_leader_without_a_source_withdraws_the_failure_of_an_earlier_one(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            lease = store.backing.hold_lease("web", "earlier", 600)
            assert lease is not None
            assert store.backing.write_source("web", lease.epoch, SourceFailure("dns://a:80", "no", 1.0))
            store.backing.drop_lease("web", "earlier")
            async with Checkers() as checkers:
                checkers.start(store, StubProbe(), pool=ONE)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it leads")
                assert store.backing.read_roster("web").source_failure is None

        run(scenario)

    def test_what_is_found_while_the_store_is_gone_is_told_when_it_is_back(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                checkers.start(
                    store, StubProbe(), pool=ONE, discovery=DiscoveryTask(source, "web", retry_interval=0.01)
                )
                await eventually(lambda: store.health() == {A.id: Health.UP}, "one is up")
                store.cut = True
                source.give(B)
                await eventually(lambda: store.refused.count("write_discovered") > 2, "it is tried")
                store.cut = False
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")

        run(scenario)

    def test_a_store_that_has_forgotten_is_told_though_the_source_says_nothing_more(
        self, store: RecordingStore, clock: ManualClock
    ) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                running = checkers.start(store, StubProbe(), pool=self.NOBODY, discovery=DiscoveryTask(source, "web"))
                source.give(A)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up")
                store.backing = MemoryStore(clock)
                # Workers go on with what they know until the store has a version: then it has to have this too.
                await eventually(lambda: store.snapshot().version, "something is known again")
                assert store.snapshot().discovered == (A,)
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it is up again")
                await stop(running)

        run(scenario)

    def test_what_a_leader_of_an_earlier_epoch_finds_is_not_taken(
        self, store: RecordingStore, standing_by: Callable[[], bool]
    ) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                checkers.start(store, StubProbe(), pool=ONE, interval=NEVER, discovery=DiscoveryTask(source, "web"))
                await eventually(lambda: store.health() == {A.id: Health.UP}, "it leads")
                store.backing.drop_lease("web", "first")
                assert store.backing.hold_lease("web", "second", Checkers.lease)
                source.give(B)
                await eventually(standing_by, "it is refused")
                assert store.snapshot().discovered == ()

        run(scenario)

    def test_what_a_source_found_that_is_configured_no_more_is_gone(self, store: RecordingStore) -> None:
        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                first = checkers.start(store, StubProbe(), pool=ONE, discovery=DiscoveryTask(source, "web"))
                source.give(B)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                await stop(first)
                checkers.start(store, StubProbe(), pool=ONE, holder="second")
                await eventually(lambda: store.health() == {A.id: Health.UP}, "only the configured one is left")
                assert store.snapshot().discovered == ()

        run(scenario)

    def test_a_backend_is_checked_as_its_source_says(self, store: RecordingStore) -> None:
        asked: dict[str, HealthCheck] = {}
        own = HealthCheck("http", 0.01, path="/own")

        async def probe(backend: Backend, check: HealthCheck) -> Observation:
            asked[backend.id] = check
            return Observation(True, "fine")

        async def scenario() -> None:
            async with Checkers() as checkers:
                source = FakeSource()
                checkers.start(store, probe, pool=ONE, discovery=DiscoveryTask(source, "web"))
                source.give(B, check=own)
                await eventually(lambda: store.health() == {A.id: Health.UP, B.id: Health.UP}, "both are up")
                assert (asked[A.id].path, asked[B.id]) == ("/", own)
                source.give(B)
                await eventually(lambda: asked[B.id].path == "/", "it is checked like the others")

        run(scenario)
