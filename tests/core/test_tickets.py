from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies.round_robin import RoundRobin
from lbflask.core.tickets import (
    BLOCK_LIFE,
    BLOCK_SECONDS,
    LEASE_FROM,
    MAX_BLOCK,
    RateEstimator,
    TicketBlock,
    TicketCounts,
)


def pace_of(*seconds: int, start: float = 1000.0) -> RateEstimator:
    """A worker that took so many requests in each of these seconds."""
    pace = RateEstimator()
    for index, requests in enumerate(seconds):
        for _ in range(requests):
            pace.count(start + index + 0.5)
    return pace


@pytest.mark.parametrize("requests", [0, 1, 50, LEASE_FROM - 1])
def test_a_slow_worker_takes_each_ticket_by_itself(requests: int) -> None:
    assert pace_of(requests).block() == 1


@pytest.mark.parametrize("requests", [LEASE_FROM, LEASE_FROM + 1, 1000, 3000])
def test_a_busy_worker_takes_a_block_worth_a_moment_of_its_traffic(requests: int) -> None:
    assert pace_of(requests).block() == int(requests * BLOCK_SECONDS)
    assert pace_of(requests).block() > 1


def test_no_block_is_larger_than_the_largest() -> None:
    assert pace_of(int(MAX_BLOCK / BLOCK_SECONDS) + 1000).block() == MAX_BLOCK


def test_a_busy_worker_stays_busy_when_a_new_second_begins() -> None:
    assert pace_of(1000, 1).block() == pace_of(1000).block()


def test_a_worker_that_has_been_quiet_for_a_second_is_exact_again() -> None:
    assert pace_of(1000, 0, 1).block() == 1


def test_a_worker_that_slows_down_is_exact_again_in_the_second_after_the_next() -> None:
    assert pace_of(1000, 10, 1).block() == 1


@given(st.lists(st.integers(0, 400), max_size=6), st.floats(0, 1e9))
def test_a_block_holds_at_least_one_ticket_and_at_most_the_largest(seconds: list[int], start: float) -> None:
    assert 1 <= pace_of(*seconds, start=start).block() <= MAX_BLOCK


def test_a_block_gives_its_tickets_in_order_and_then_none() -> None:
    block = TicketBlock(iter(range(7, 10)), taken_at=100.0)
    assert [block.next(100.0), block.next(100.5), block.next(100.0 + BLOCK_LIFE), block.next(100.5)] == [7, 8, 9, None]


def test_an_old_block_gives_none_and_keeps_what_it_has() -> None:
    block = TicketBlock(iter(range(7, 9)), taken_at=100.0)
    assert block.next(100.001 + BLOCK_LIFE) is None
    assert list(block.tickets) == [7, 8]


def test_tickets_are_counted_with_their_round_trips_and_apart_from_local_ones() -> None:
    counts = TicketCounts()
    counts.lease(1)
    counts.lease(24)
    counts.count_local()
    assert counts == TicketCounts(tickets=25, leases=2, local=1)


class Counting:
    """A pool's counter with workers that lease blocks of it; tallies who served."""

    def __init__(self, backends: int, workers: int) -> None:
        self.schedule = RoundRobin([Candidate(Backend(f"b{i}", "h", i, f"http://h:{i}"), 1) for i in range(backends)])
        self.blocks = [range(0)] * workers
        self.counter = self.thrown_away = 0
        self.served = Counter({f"b{i}": 0 for i in range(backends)})

    def serve(self, worker: int, block: int) -> None:
        """One request; a worker with no ticket left takes a block first."""
        if not self.blocks[worker]:
            self.blocks[worker] = range(self.counter, self.counter + block)
            self.counter += block
        ticket, self.blocks[worker] = self.blocks[worker][0], self.blocks[worker][1:]
        self.served[next(self.schedule.order(ticket)).id] += 1

    def throw_away(self, worker: int) -> None:
        """The block has outlived its time."""
        self.thrown_away += bool(self.blocks[worker])
        self.blocks[worker] = range(0)

    @property
    def imbalance(self) -> int:
        return max(self.served.values()) - min(self.served.values())


@st.composite
def traffic(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    backends, workers = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    request = st.tuples(st.integers(0, workers - 1), st.integers(1, 24) | st.just(MAX_BLOCK))
    return backends, workers, draw(st.lists(request, min_size=20, max_size=200))


@settings(max_examples=120, deadline=None)
@given(traffic())
def test_equal_backends_differ_by_at_most_one_request_for_each_worker(
    case: tuple[int, int, list[tuple[int, int]]],
) -> None:
    backends, workers, requests = case
    counting = Counting(backends, workers)
    for worker, block in requests:
        counting.serve(worker, block)
        assert counting.imbalance <= workers


@settings(max_examples=120, deadline=None)
@given(traffic(), st.data())
def test_each_block_thrown_away_adds_at_most_one(
    case: tuple[int, int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    backends, workers, requests = case
    counting = Counting(backends, workers)
    quiet = data.draw(st.sets(st.integers(0, len(requests) - 1), max_size=12))
    for index, (worker, block) in enumerate(requests):
        if index in quiet:
            counting.throw_away(worker)
        counting.serve(worker, block)
        assert counting.imbalance <= workers + counting.thrown_away


def test_the_bound_is_reached() -> None:
    counting = Counting(backends=4, workers=2)
    counting.serve(0, block=4)  # b0; b1, b2 and b3 stay in its hand
    counting.serve(1, block=4)  # b0 again
    assert counting.imbalance == 2


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=200))
def test_without_leases_the_order_is_exact_for_the_fleet(backends: int, workers: int, requests: list[int]) -> None:
    counting = Counting(backends, workers)
    for worker in requests:
        counting.serve(worker % workers, block=1)
        assert counting.imbalance <= 1
