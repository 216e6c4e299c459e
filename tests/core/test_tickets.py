from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies.round_robin import RoundRobin
from lbflask.core.tickets import (
    BLOCK_SECONDS,
    LEASE_FROM,
    MAX_BLOCK,
    RateEstimator,
    TicketBlock,
    TicketCounts,
    block_size,
)
from tests.support.selection import examples


def rate_of(*seconds: int, start: float = 1000.0) -> float:
    """The rate of a machine that took so many turns in each of these seconds, sampled with each."""
    estimator, turn, rate = RateEstimator(), 0, 0.0
    estimator.sample(start, turn)
    for second, requests in enumerate(seconds):
        for number in range(requests):
            turn += 1
            rate = estimator.sample(start + second + (number + 1) / (requests + 1), turn)
    return rate


@pytest.mark.parametrize("requests", [0, 1, 50, LEASE_FROM - 1])
def test_a_quiet_machine_of_a_small_fleet_takes_each_ticket_by_itself(requests: int) -> None:
    assert block_size(rate_of(requests), workers=10) == 1


@pytest.mark.parametrize("requests", [LEASE_FROM, LEASE_FROM + 1, 1000, 3000])
def test_a_busy_machine_takes_a_block_worth_a_moment_of_its_traffic(requests: int) -> None:
    assert block_size(rate_of(requests), workers=1) == math.ceil(requests * BLOCK_SECONDS)


@pytest.mark.parametrize(
    ("rate", "workers", "block"),
    [(199, 10, 1), (200, 10, 150), (1000, 1, 750), (100_000, 1, 65_536), (9, 200, 1), (10, 200, 8), (190, 2000, 143)],
)
def test_blocks_are_as_the_documentation_of_scaling_states(rate: float, workers: int, block: int) -> None:
    """One by one below 200 requests a second in a fleet of up to ten workers, and less in a larger one."""
    assert block_size(rate, workers) == block


def test_no_block_is_larger_than_the_largest() -> None:
    assert block_size(MAX_BLOCK / BLOCK_SECONDS + 1000, 1) == MAX_BLOCK


def test_a_machine_that_was_never_sampled_is_quiet() -> None:
    assert RateEstimator().sample(50_000.0, 1) < 1


def test_the_rate_of_the_last_second_holds_while_a_new_one_begins() -> None:
    assert rate_of(1000, 1) == pytest.approx(1000, rel=0.35)


def test_a_machine_that_has_become_quiet_is_quiet_after_two_seconds() -> None:
    assert rate_of(1000, 1, 1, 1, 1) < 10


def test_the_rate_rises_within_a_second() -> None:
    estimator = RateEstimator(since=10.0, turn=5, before=3.0)
    assert estimator.sample(10.2, 405) == 400
    assert estimator == RateEstimator(since=10.0, turn=5, before=3.0)
    assert estimator.sample(11.0, 805) == 800
    assert estimator == RateEstimator(since=11.0, turn=805, before=800.0)


@given(st.lists(st.integers(0, 400), max_size=6), st.floats(0, 1e9), st.integers(1, 100_000))
def test_a_block_holds_at_least_one_ticket_and_at_most_the_largest(
    seconds: list[int], start: float, workers: int
) -> None:
    assert 1 <= block_size(rate_of(*seconds, start=start), workers) <= MAX_BLOCK


def test_a_block_that_continues_the_tickets_of_another_is_one_with_it() -> None:
    block = TicketBlock(first=5, end=9, offset=100)
    assert block.extended(8, 100, refills=True) == TicketBlock(first=5, end=17, offset=100, refill=15)


def test_a_block_of_other_tickets_begins_where_the_last_one_ends() -> None:
    block = TicketBlock(first=5, end=9, offset=100, refill=7)
    assert block.extended(1, 103, refills=False) == TicketBlock(first=9, end=10, offset=103, refill=0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 1000])
def test_the_next_block_is_due_at_a_turn_of_this_one(count: int) -> None:
    block = TicketBlock(1, 1, 0).extended(count, 7, refills=True)
    assert block.first <= block.refill < block.end
    assert block.end - block.refill == math.ceil(count / 4)


def test_a_block_needs_no_next_one_by_itself() -> None:
    assert TicketBlock(1, 5, 7).refill == 0


def test_tickets_are_counted_with_their_round_trips_and_apart_from_local_ones() -> None:
    counts = TicketCounts()
    counts.lease(1)
    counts.lease(24)
    counts.count_local()
    counts.count_local(3)
    assert counts == TicketCounts(tickets=25, leases=2, local=4)


class Counting:
    """A pool's counter with machines that lease blocks of it; tallies who served."""

    def __init__(self, backends: int, machines: int) -> None:
        self.schedule = RoundRobin([Candidate(Backend(f"b{i}", "h", i, f"http://h:{i}"), 1) for i in range(backends)])
        self.blocks = [range(0)] * machines
        self.counter = 0
        self.served = Counter({f"b{i}": 0 for i in range(backends)})

    def serve(self, machine: int, block: int) -> None:
        """One request; a machine with no ticket left takes a block first."""
        if not self.blocks[machine]:
            self.blocks[machine] = range(self.counter, self.counter + block)
            self.counter += block
        ticket, self.blocks[machine] = self.blocks[machine][0], self.blocks[machine][1:]
        self.served[next(self.schedule.order(ticket)).id] += 1

    def give_back(self, machine: int) -> None:
        """The machine has become idle: its rest returns, unless others have leased since."""
        if self.blocks[machine] and self.blocks[machine][-1] + 1 == self.counter:
            self.counter = self.blocks[machine][0]
            self.blocks[machine] = range(0)

    @property
    def imbalance(self) -> int:
        return max(self.served.values()) - min(self.served.values())


@st.composite
def traffic(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    backends, machines = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    request = st.tuples(st.integers(0, machines - 1), st.integers(1, 24) | st.just(MAX_BLOCK))
    return backends, machines, draw(st.lists(request, min_size=20, max_size=200))


@settings(max_examples=examples(200), deadline=None)
@given(traffic(), st.data())
def test_equal_backends_differ_by_at_most_one_request_for_each_machine(
    case: tuple[int, int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    backends, machines, requests = case
    counting = Counting(backends, machines)
    idle = data.draw(st.sets(st.integers(0, len(requests) - 1), max_size=12))
    for index, (machine, block) in enumerate(requests):
        if index in idle:
            counting.give_back(machine)
        counting.serve(machine, block)
        assert counting.imbalance <= machines


def test_the_bound_is_reached() -> None:
    counting = Counting(backends=4, machines=2)
    counting.serve(0, block=4)  # b0; b1, b2 and b3 stay in its hand
    counting.serve(1, block=4)  # b0 again
    assert counting.imbalance == 2


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=200))
def test_without_leases_the_order_is_exact_for_the_fleet(backends: int, machines: int, requests: list[int]) -> None:
    counting = Counting(backends, machines)
    for machine in requests:
        counting.serve(machine % machines, block=1)
        assert counting.imbalance <= 1
