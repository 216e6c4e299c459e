"""A store that is lost, and found again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import eventually
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.fleet import store_link
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore
from tests.fleet.stores import NEVER, POOL, FlakyStore, active, grown_busy, write
from tests.store.stores import PATIENCE

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


class TestDegraded:
    @pytest.mark.parametrize("strict", [True, False])
    def test_the_request_that_finds_the_store_gone_gets_a_ticket_all_the_same(
        self, store: FlakyStore, strict: bool
    ) -> None:
        told: list[str] = []
        fleet = Fleet(store, [POOL], strict=strict, report=told.append)
        fleet.pools[POOL].tickets.next()
        store.lose("no route")
        assert isinstance(fleet.pools[POOL].tickets.next(), int)
        assert fleet.degraded
        assert fleet.why == "no route"
        assert len(told) == 1
        assert "no route" in told[0]

    @pytest.mark.parametrize("strict", [True, False])
    def test_no_further_request_asks_a_store_that_is_gone(self, store: FlakyStore, strict: bool) -> None:
        told: list[str] = []
        fleet = Fleet(store, [POOL], strict=strict, report=told.append)
        store.lose()
        first = fleet.pools[POOL].tickets.next()
        assert len(store.calls) == 1
        tickets = [fleet.pools[POOL].tickets.next() for _ in range(100)]
        assert len(store.calls) == 1
        assert tickets == list(range(first + 1, first + 101))
        assert len(told) == 1

    def test_workers_without_a_store_do_not_march_in_step(self, store: FlakyStore) -> None:
        store.lose()
        assert len({Fleet(store, [POOL]).pools[POOL].tickets.next() for _ in range(8)}) > 1

    def test_those_who_wait_for_a_ticket_while_the_store_fails_do_not_each_wait_for_the_store(
        self, store: FlakyStore
    ) -> None:
        fleet = Fleet(store, [POOL])
        store.doorway.clear()
        together = threading.Barrier(10)

        def request() -> int:
            together.wait()
            return fleet.pools[POOL].tickets.next()

        with ThreadPoolExecutor(10) as threads:
            requests = [threads.submit(request) for _ in range(10)]
            eventually(lambda: store.asked("take_tickets"), "one has asked")
            store.lose()
            store.doorway.set()
            tickets = [request.result(PATIENCE) for request in requests]
        assert len(store.asked("take_tickets")) == 1
        assert len({*tickets}) == 10

    def test_the_last_snapshot_stays(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        write(store.facts, {"a": UP, "b": DOWN})
        fleet = started(store)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        eventually(lambda: store.asked("prove")[2:], "the follower tries again")
        assert active(fleet) == {"a": UP, "b": DOWN}

    def test_it_is_reported_once_however_often_the_follower_tries(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_link, "RETRY_EVERY", 0.01)
        told: list[str] = []
        store.lose("no route")
        fleet = started(store, report=told.append)
        eventually(lambda: len(store.asked("prove")) > 3, "the follower tries")
        fleet.pools[POOL].tickets.next()
        assert len(told) == 1
        assert fleet.why == "no route"

    def test_a_fleet_starts_without_a_store(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        store.lose()
        fleet = started(store)
        assert fleet.degraded
        assert fleet.snapshot(POOL) == NOTHING_KNOWN
        assert fleet.pools[POOL].tickets.next() + 1 == fleet.pools[POOL].tickets.next()


class TestRecovery:
    def test_the_follower_finds_the_store_again_without_any_request(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        told: list[str] = []
        fleet = started(store, report=told.append)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        write(store.facts, {"a": UP})
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        assert active(fleet) == {"a": UP}  # known before the store is said to be back
        eventually(lambda: len(told) == 2, "it is reported")
        assert fleet.why == ""

    @pytest.mark.parametrize("strict", [True, False])
    def test_tickets_are_the_fleets_again(self, store: FlakyStore, started: Callable[..., Fleet], strict: bool) -> None:
        fleet = started(store, strict=strict)
        store.lose()
        fleet.pools[POOL].tickets.next()
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        expected = store.facts.take_tickets(POOL, 1) + 1
        assert fleet.pools[POOL].tickets.next() == expected

    def test_a_block_from_before_is_not_used_after(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        # The store may have been emptied meanwhile, and then gives those tickets to others.
        fleet = started(store)
        taken = grown_busy(fleet, store)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        fleet.pools[POOL].tickets.next()
        store.facts.empty()
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        eventually(lambda: fleet.pools[POOL].tickets.next() < max(taken), "a ticket is of the emptied store")

    @pytest.mark.usefixtures("never_polls")
    def test_changes_are_heard_again_and_the_lost_subscription_is_closed(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        write(store.facts, {"a": UP})
        store.tell(POOL)
        eventually(lambda: active(fleet) == {"a": UP}, "the change is known")
        assert [watch.closed for watch in store.watches] == [True, False]


def test_without_a_store_the_clock_is_our_own(store: FlakyStore) -> None:
    assert abs(Fleet(store, [POOL]).now() - time.time()) < 60


def test_the_clock_is_the_stores(started: Callable[..., Fleet]) -> None:
    fleet = started(MemoryStore(lambda: 5000.0))
    assert 5000 <= fleet.now() < 5000 + NEVER
