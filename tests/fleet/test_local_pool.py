"""The secret of a pool, which the fleet agrees on."""

from __future__ import annotations

from collections.abc import Callable

from devtools.wait import eventually
from lbflask.core.model import ActiveHealth, Health, Mode, Override
from lbflask.fleet.fleet import Fleet
from lbflask.store.ports import WorkerStore
from tests.fleet.stores import POOL, FlakyStore, write

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


class TestSecret:
    def agreeing(self, store: WorkerStore) -> Fleet:
        fleet = Fleet(store, [POOL])
        fleet.agree_on_secret(POOL)
        return fleet

    def test_all_workers_come_to_the_same_one_and_ask_once(self, store: FlakyStore) -> None:
        fleets = [self.agreeing(store) for _ in range(3)]
        for fleet in fleets * 2:
            fleet.refresh()
        assert len({fleet.snapshot(POOL).secret for fleet in fleets}) == 1
        assert len(fleets[0].snapshot(POOL).secret) > 32
        assert len(store.asked("agree_on_secret")) == 3

    def test_a_fleet_that_needs_none_asks_for_none(self, store: FlakyStore) -> None:
        Fleet(store, [POOL]).refresh()
        assert store.asked("agree_on_secret") == []

    def test_a_store_that_was_emptied_gets_it_back_and_keeps_what_else_was_known(self, store: FlakyStore) -> None:
        facts = store.facts
        assert facts.write_override(POOL, "a", None, Override(weight=5))
        fleet = self.agreeing(store)
        fleet.refresh()
        before = fleet.snapshot(POOL)
        facts.empty()
        fleet.refresh()
        assert fleet.snapshot(POOL).secret == before.secret
        assert fleet.snapshot(POOL).overrides == before.overrides
        assert facts.agree_on_secret(POOL, "another") == before.secret

    def test_it_is_kept_while_the_store_is_away(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = self.agreeing(store)
        fleet.start()
        try:
            secret = fleet.snapshot(POOL).secret
            store.lose()
            eventually(lambda: fleet.degraded, "the loss is noticed")
            assert fleet.snapshot(POOL).secret == secret
        finally:
            fleet.stop()


class TestEmptiedStore:
    def test_what_operators_had_set_is_known_also_if_another_process_has_written_first(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        facts, lines = store.facts, list[str]()
        assert facts.write_override(POOL, "a", None, Override(Mode.DRAINING))
        fleet = started(store, report=lines.append)
        fleet.refresh()
        eventually(lambda: facts.read_roster(POOL).workers, "the worker has reported")
        assert fleet.forgotten(POOL) is None
        facts.empty()
        write(facts, {"a": UP})
        fleet.refresh()
        eventually(lambda: fleet.forgotten(POOL), "the loss is noticed")
        lost = fleet.forgotten(POOL)
        assert lost is not None
        assert lost.overrides == {"a": Override(Mode.DRAINING)}
        assert any("the store was emptied" in line for line in lines)

    def test_a_store_that_was_away_and_has_its_data_was_not_emptied(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        eventually(lambda: store.facts.read_roster(POOL).workers, "the worker has reported")
        store.lose()
        eventually(lambda: fleet.degraded, "the loss is noticed")
        store.find()
        eventually(lambda: not fleet.degraded, "the store is back")
        beats = len(store.asked("beat"))
        eventually(lambda: len(store.asked("beat")) > beats + 2, "some beats")
        assert fleet.forgotten(POOL) is None
