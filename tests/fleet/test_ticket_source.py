"""Tickets of a worker, by how busy it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import eventually
from lbflask.core.model import ActiveHealth, Health
from lbflask.core.tickets import LEASE_FROM
from lbflask.fleet.fleet import Fleet
from tests.fleet.stores import POOL, FlakyStore, grown_busy

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


class TestTickets:
    def test_a_strict_fleet_makes_one_trip_for_each_request(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL], strict=True)
        first = fleet.pools[POOL].tickets.next()
        rest = [fleet.pools[POOL].tickets.next() for _ in range(4 * LEASE_FROM)]
        assert rest == list(range(first + 1, first + 1 + len(rest)))
        assert store.asked("take_tickets") == [(POOL, 1)] * (len(rest) + 1)

    def test_a_quiet_worker_takes_each_ticket_by_itself(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        for _ in range(LEASE_FROM - 1):
            fleet.pools[POOL].tickets.next()
        assert store.asked("take_tickets") == [(POOL, 1)] * (LEASE_FROM - 1)

    def test_a_busy_worker_makes_few_trips(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        taken = grown_busy(fleet, store)
        assert len(store.asked("take_tickets")) < len(taken)
        assert len({*taken}) == len(taken)

    def test_a_worker_that_has_gone_quiet_takes_each_ticket_by_itself_again(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        grown_busy(fleet, store)
        eventually(
            lambda: fleet.pools[POOL].tickets.next() >= 0 and store.asked("take_tickets")[-1] == (POOL, 1),
            "one ticket is taken",
        )

    @pytest.mark.parametrize("strict", [True, False])
    def test_no_two_workers_get_the_same_ticket(self, store: FlakyStore, strict: bool) -> None:
        fleets = [Fleet(store, [POOL], strict=strict) for _ in range(3)]
        together = threading.Barrier(6)

        def work(number: int) -> list[int]:
            together.wait()
            return [fleets[number % 3].pools[POOL].tickets.next() for _ in range(2 * LEASE_FROM)]

        with ThreadPoolExecutor(6) as threads:
            taken = [ticket for tickets in threads.map(work, range(6)) for ticket in tickets]
        assert len({*taken}) == len(taken)

    def test_every_pool_has_tickets_of_its_own(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL, "api"])
        first = fleet.pools[POOL].tickets.next()
        assert fleet.pools["api"].tickets.next() == first
        assert fleet.pools[POOL].tickets.next() == first + 1
