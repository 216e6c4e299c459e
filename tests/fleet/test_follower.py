"""Snapshots follow the store by messages and by polling."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devtools.wait import eventually
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.fleet import follower
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.store.ports import FLEET
from tests.fleet.stores import POOL, FlakyStore, active, await_no_thread, write

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


class TestFollowing:
    def test_the_first_request_is_served_by_what_is_known(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        write(store.facts, {"a": UP})
        fleet = started(store)
        assert active(fleet) == {"a": UP}
        assert not fleet.degraded
        assert fleet.why == ""

    @pytest.mark.usefixtures("never_polls")
    def test_an_announced_change_is_known_without_a_poll(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store, POOL, "api")
        eventually(lambda: store.watches, "the fleet listens")
        write(store.facts, {"a": DOWN}, "api")
        store.tell("api")
        eventually(lambda: active(fleet, "api") == {"a": DOWN}, "the change is known")
        assert fleet.snapshot(POOL) == NOTHING_KNOWN

    def test_a_lost_message_costs_no_more_than_a_poll(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follower, "POLL_EVERY", 0.02)
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        write(store.facts, {"a": DOWN})
        eventually(lambda: active(fleet) == {"a": DOWN}, "the change is known")

    def test_requests_read_nothing(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store)
        before = store.calls_of_this_thread()
        for _ in range(100):
            fleet.snapshot(POOL)
        assert store.calls_of_this_thread() == before

    def test_a_message_about_a_pool_of_others_is_passed_over(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        store.tell("of others")
        write(store.facts, {"a": UP})
        store.tell(POOL)
        eventually(lambda: active(fleet) == {"a": UP}, "the fleet still listens")
        assert "of others" not in {pool for pool, _ in store.asked("read_snapshot")}

    @pytest.mark.usefixtures("never_polls")
    def test_a_stopped_fleet_lets_go_of_everything(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        fleet.start()
        eventually(lambda: store.watches, "the fleet listens")
        fleet.stop()
        assert store.closed
        assert [watch.closed for watch in store.watches] == [True]
        await_no_thread()


class TestDrains:
    @pytest.mark.usefixtures("never_polls")
    def test_the_drain_of_its_instance_is_known_at_the_start_and_after_a_message(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        store.facts.write_drain("one", "alice", 600)
        fleet = started(store, worker=LocalWorker(WorkerIdentity("one", "host")))
        assert fleet.drain is not None
        assert fleet.drain.actor == "alice"
        eventually(lambda: store.watched() == {POOL, FLEET}, "the fleet listens")
        store.facts.write_drain("one", "alice", 0)
        store.facts.write_drain("two", "alice", 600)
        store.tell(FLEET)
        eventually(lambda: list(fleet.drains) == ["two"], "the change is known")
        assert fleet.drain is None

    def test_it_ends_by_itself_without_the_store_too(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        store.facts.write_drain("one", "alice", 1)
        fleet = started(store, worker=LocalWorker(WorkerIdentity("one", "host")))
        store.lose()
        eventually(lambda: fleet.degraded, "the store is lost")
        eventually(lambda: fleet.drain is None, "the drain is over")
        assert list(fleet.drains) == ["one"]

    def test_drains_that_cannot_be_read_do_not_stop_the_balancing(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        store.refuse = "read_drains"
        write(store.facts, {"a": UP})
        fleet = started(store)
        assert active(fleet) == {"a": UP}
        assert not fleet.degraded
