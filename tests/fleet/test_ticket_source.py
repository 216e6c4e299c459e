"""Tickets of a machine's workers, by how busy it is."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import eventually
from lbflask.core.tickets import BLOCK_SECONDS, LEASE_FROM, MAX_BLOCK
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.shared_turns import SharedTurns, turns_of
from lbflask.store.memory import MemoryStore
from lbflask.store.redis import RedisStore, connect
from tests.fleet.stores import POOL, FlakyStore, grown_busy
from tests.fleet.test_shared_turns import forked
from tests.store.stores import PATIENCE


def next_ticket(fleet: Fleet) -> int:
    return fleet.pools[POOL].tickets.next()


def workers_of_a_machine(*stores: FlakyStore) -> list[Fleet]:
    """A worker with each of these ways to the store."""
    turns = SharedTurns(1)
    return [Fleet(store, [POOL], worker=LocalWorker(turns=turns)) for store in stores]


class TestTickets:
    def test_a_strict_fleet_makes_one_trip_for_each_request(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL], strict=True)
        first = next_ticket(fleet)
        rest = [next_ticket(fleet) for _ in range(4 * LEASE_FROM)]
        assert rest == list(range(first + 1, first + 1 + len(rest)))
        assert store.asked("take_tickets") == [(POOL, 1)] * (len(rest) + 1)

    def test_a_quiet_worker_takes_each_ticket_by_itself(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        for _ in range(LEASE_FROM - 1):
            next_ticket(fleet)
        assert store.asked("take_tickets") == [(POOL, 1)] * (LEASE_FROM - 1)

    def test_a_busy_worker_makes_few_trips(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        taken = grown_busy(fleet, store)
        assert len(store.asked("take_tickets")) < len(taken)
        assert taken == list(range(taken[0], taken[0] + len(taken)))

    def test_a_block_is_leased_in_the_background_before_the_present_one_ends(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        grown_busy(fleet, store)
        for _ in range(MAX_BLOCK):
            trips, latest = len(store.asked("take_tickets")), next_ticket(fleet)
            if fleet._worker.wake.is_set():
                break
        assert len(store.asked("take_tickets")) == trips, "no request waits"
        fleet.flush()
        assert len(store.asked("take_tickets")) == trips + 1
        rest = store.facts.take_tickets(POOL, 0) - latest - 1
        assert rest > BLOCK_SECONDS * LEASE_FROM
        assert [next_ticket(fleet) for _ in range(rest)] == list(range(latest + 1, latest + 1 + rest))
        assert len(store.asked("take_tickets")) == trips + 1

    @pytest.mark.long
    def test_a_worker_that_has_become_quiet_takes_each_ticket_by_itself_again(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        latest = grown_busy(fleet, store)[-1]

        def quiet() -> bool:
            nonlocal latest
            fleet.flush()
            ticket, latest = next_ticket(fleet) - latest, latest + 1
            assert ticket == 1, "what is returned is what follows"
            return store.asked("take_tickets")[-1] == (POOL, 1)

        eventually(quiet, "one ticket is taken")
        assert store.asked("return_tickets")
        assert store.facts.take_tickets(POOL, 0) == latest + 1

    def test_the_rest_of_a_block_is_used_up_when_others_have_leased_since(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        grown_busy(fleet, store)
        fleet.flush()
        latest = next_ticket(fleet)
        other = store.facts.take_tickets(POOL, 1)
        eventually(lambda: fleet.flush() or store.asked("return_tickets"), "the rest is offered")
        rest = [next_ticket(fleet) for _ in range(other - latest)]
        assert len(rest) > 1
        assert rest == [*range(latest + 1, other), rest[-1]]
        assert rest[-1] > other
        fleet.flush()
        assert len(store.asked("return_tickets")) == 1

    @pytest.mark.parametrize("strict", [True, False])
    def test_no_two_workers_get_the_same_ticket(self, store: FlakyStore, strict: bool) -> None:
        fleets = [Fleet(store, [POOL], strict=strict) for _ in range(3)]
        together = threading.Barrier(6)

        def work(number: int) -> list[int]:
            together.wait()
            return [next_ticket(fleets[number % 3]) for _ in range(2 * LEASE_FROM)]

        with ThreadPoolExecutor(6) as threads:
            taken = [ticket for tickets in threads.map(work, range(6)) for ticket in tickets]
        assert len({*taken}) == len(taken)

    def test_every_pool_has_tickets_of_its_own(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL, "api"])
        first = next_ticket(fleet)
        assert fleet.pools["api"].tickets.next() == first
        assert next_ticket(fleet) == first + 1


class TestWorkersOfAMachine:
    def test_they_take_turns_exactly_when_quiet_busy_and_quiet_again(self, store: FlakyStore) -> None:
        one, two = workers_of_a_machine(store, store)
        taken = [next_ticket(fleet) for _ in range(20 * LEASE_FROM) for fleet in (one, two)]
        assert len(store.asked("take_tickets")) < len(taken) / 2
        eventually(lambda: two.flush() or store.asked("return_tickets"), "the rest is returned")
        taken += [next_ticket(fleet) for _ in range(15) for fleet in (two, one)]
        assert taken == list(range(taken[0], taken[0] + len(taken)))

    def test_they_share_trips(self, store: FlakyStore) -> None:
        fleets = workers_of_a_machine(*[store] * 8)
        grown_busy(fleets[0], store)
        before = len(store.asked("take_tickets"))
        taken = [next_ticket(fleet) for _ in range(30) for fleet in fleets]
        assert len(store.asked("take_tickets")) - before <= 2
        assert len({*taken}) == len(taken)

    def test_one_trip_brings_tickets_for_all_that_wait(self, store: FlakyStore) -> None:
        fleets = workers_of_a_machine(*[store] * 2)
        first = next_ticket(fleets[0])
        store.doorway.clear()
        with ThreadPoolExecutor(9) as threads:
            leasing = threads.submit(next_ticket, fleets[0])
            eventually(lambda: len(store.asked("take_tickets")) == 2, "one leases")
            waiting = [threads.submit(next_ticket, fleets[0]) for _ in range(8)]
            turns = turns_of(POOL, fleets[0]._worker.turns)
            eventually(lambda: turns.latest() == 10, "all have their turns")
            store.doorway.set()
            taken = sorted(future.result() for future in (leasing, *waiting))
        assert taken == list(range(first + 1, first + 10))
        assert store.asked("take_tickets") == [(POOL, 1), (POOL, 1), (POOL, 8)]

    def test_without_the_store_they_go_on_in_turn(self, store: FlakyStore) -> None:
        one, two = workers_of_a_machine(store, store)
        latest = next_ticket(one)
        store.lose(quietly=True)
        taken = [next_ticket(fleet) for _ in range(5) for fleet in (one, two)]
        assert one.degraded
        assert taken == list(range(latest + 1, latest + 11))
        assert one.pools[POOL].tickets.counts.local == two.pools[POOL].tickets.counts.local == 5

    def test_a_store_that_one_has_missed_costs_the_others_no_wait(self, store: FlakyStore) -> None:
        turns = SharedTurns(1)
        fleet = Fleet(store, [POOL], worker=LocalWorker(turns=turns))
        latest = next_ticket(fleet)

        def miss(writing: int) -> None:
            other = FlakyStore(MemoryStore(time.time))
            other.lose(quietly=True)
            mine = Fleet(other, [POOL], worker=LocalWorker(turns=turns))
            os.write(writing, struct.pack("q", next_ticket(mine)))

        with forked(miss) as (_, reading):
            assert os.read(reading, 8) == struct.pack("q", latest + 1)
        trips = len(store.asked("take_tickets"))
        assert next_ticket(fleet) == latest + 2
        assert len(store.asked("take_tickets")) == trips
        assert not fleet.degraded
        eventually(lambda: next_ticket(fleet) and len(store.asked("take_tickets")) > trips, "the store is tried again")

    def test_they_are_the_fleets_again_when_the_store_is_back(self, store: FlakyStore) -> None:
        one, two = workers_of_a_machine(store, store)
        store.lose(quietly=True)
        next_ticket(one)
        store.find()
        store.facts.take_tickets(POOL, 1000)
        one.recover()
        assert [next_ticket(one), next_ticket(two)] == [1000, 1001]

    def test_a_killed_worker_stops_no_other(self, store: FlakyStore) -> None:
        """It is killed while it holds the lock, and again after it took turns that get no ticket by it."""
        turns = SharedTurns(1)

        def work(writing: int) -> None:
            mine = FlakyStore(MemoryStore(time.time))
            mine.doorway.clear()  # the trip does not end
            fleet = Fleet(mine, [POOL], worker=LocalWorker(turns=turns))
            threading.Thread(target=next_ticket, args=[fleet], daemon=True).start()
            eventually(lambda: mine.asked("take_tickets"), "it leases")
            os.write(writing, b"1")
            time.sleep(600)

        fleet = Fleet(store, [POOL], worker=LocalWorker(turns=turns))
        next_ticket(fleet)
        with forked(work) as (pid, reading):
            assert os.read(reading, 1) == b"1"
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not held(turns), "the kernel has released the lock")
            first = next_ticket(fleet)
            assert [next_ticket(fleet) for _ in range(30)] == list(range(first + 1, first + 31))
        assert not fleet.degraded

    def test_a_frozen_worker_stops_no_other_for_long(self, store: FlakyStore) -> None:
        turns = SharedTurns(1)
        fleet = Fleet(store, [POOL], worker=LocalWorker(turns=turns))
        latest = next_ticket(fleet)

        def hold(writing: int) -> None:
            os.write(writing, b"1" if turns_of(POOL, turns).acquire() else b"0")
            time.sleep(600)

        with forked(hold) as (_, reading):
            assert os.read(reading, 1) == b"1"
            taken = [next_ticket(fleet) for _ in range(20)]
        assert taken == list(range(latest + 1, latest + 21)), "each by a trip of its own"

    def test_a_source_goes_on_with_other_turns_by_tickets_of_their_blocks(self, store: FlakyStore) -> None:
        turns = SharedTurns(1)
        one, two = (Fleet(store, [POOL], worker=LocalWorker(turns=used)) for used in (turns, None))
        taken = [*grown_busy(one, store), *(next_ticket(two) for _ in range(5))]
        tickets = two.pools[POOL].tickets
        assert not tickets.shares_turns
        tickets.set_turns(turns_of(POOL, turns))
        assert tickets.shares_turns
        pairs = [(next_ticket(one), next_ticket(two)) for _ in range(10)]
        assert sum(second == first + 1 for first, second in pairs) >= 9, "a block may end once"
        taken += [ticket for pair in pairs for ticket in pair]
        assert len(set(taken)) == len(taken)

    def test_processes_share_a_fleet_of_tickets(self, redis_url: str) -> None:
        """Two forked workers and a store: each ticket once; on a busy machine one may go on alone, and leave a gap."""
        each, turns = 2000, SharedTurns(1)

        def work(writing: int) -> None:
            with connect(redis_url, PATIENCE) as client:
                fleet = Fleet(RedisStore(client, "turns"), [POOL], worker=LocalWorker(turns=turns))
                for _ in range(each):
                    os.write(writing, struct.pack("q", next_ticket(fleet)))

        with forked(work) as (_, one), forked(work) as (_, two):
            content = b""
            for reading in (one, two):
                while piece := os.read(reading, 1 << 16):
                    content += piece
        taken = {ticket for (ticket,) in struct.iter_unpack("q", content)}
        assert len(taken) == 2 * each


def held(turns: SharedTurns) -> bool:
    pool = turns_of(POOL, turns)
    if acquired := pool.acquire():
        pool.release()
    return not acquired
