"""The simulated fleet: its sums, its store, and what it says of fleets small enough to know the answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fleet_sim
from benchmarks.fleet_sim import BUSY, QUIET, Case, judge, largest, simulated
from benchmarks.simulation import costs as costing
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.fleet import BACKLOG, Command, Outcome, Plan, Simulation, primed
from benchmarks.simulation.shares import Shares
from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies.round_robin import RoundRobin
from lbflask.core.tickets import BLOCK_SECONDS, LEASE_FROM

COSTS = costing.given(4.5e-6)
#: A store that has no time for anybody.
SLOW = costing.given(1e-3)


def run(plan: Plan, costs: Costs = COSTS) -> Outcome:
    return Simulation(plan, costs, [Shares([1] * 3), Shares([1, 2, 3])]).run()


def one_by_one(weights: list[int], runs: list[tuple[int, int]]) -> list[int]:
    """What each backend serves when every ticket of the runs is used by itself."""
    backends = [Backend(f"{number:03}", "h", number, f"http://h:{number}") for number in range(len(weights))]
    schedule = RoundRobin([Candidate(*each) for each in zip(backends, weights, strict=True)])
    served = Counter(next(schedule.order(ticket)).id for first, count in runs for ticket in range(first, first + count))
    return [served[backend.id] for backend in backends]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60)), max_size=8),
)
def test_runs_are_shared_as_their_tickets_are(weights: list[int], runs: list[tuple[int, int]]) -> None:
    shares = Shares(weights)
    for first, count in runs:
        shares.add(first, count)
    assert shares.served() == one_by_one(weights, runs)


def test_an_imbalance_is_measured_by_the_weights() -> None:
    shares = Shares([1, 2])
    shares.add(0, 300)
    assert shares.imbalance == 0
    shares.add(0, 1)
    assert shares.imbalance in (0.5, 1)


def test_costs_are_given_as_ratios_of_one_command() -> None:
    costs = costing.given(2.0)
    assert costs.take == 2.0
    assert costs.ratios == pytest.approx(costing.RATIOS)


def test_a_round_that_was_disturbed_does_not_count() -> None:
    rounds = [costing.given(take) for take in (4.0, 90.0, 5.0)]
    assert costing.median_of(rounds) == costing.given(5.0)


def test_the_same_seed_is_the_same_run_and_another_is_another() -> None:
    plan = Plan(3, 2, rate=50, skew=1)
    assert run(plan).delays == run(plan).delays
    assert run(plan).delays != run(replace(plan, seed=2)).delays


@pytest.mark.parametrize("rate", [100, 1000])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_equal_backends_differ_by_at_most_one_request_for_each_machine(rate: float, skew: float) -> None:
    plan = Plan(5, 4, rate, skew)
    outcome = run(plan)
    assert outcome.shares[0].imbalance <= plan.machines + outcome.thrown_away
    assert sum(outcome.shares[0].served()) == outcome.served
    assert outcome.served == pytest.approx(plan.fleet * rate * plan.seconds, rel=0.1)
    assert outcome.alone == outcome.lost == 0


def test_quiet_machines_of_a_small_fleet_make_a_trip_for_each_request_and_busy_ones_do_not() -> None:
    slow = run(Plan(2, 2, rate=LEASE_FROM / 4))
    assert slow.commands["take"] == pytest.approx(slow.served, rel=0.01)
    busy = run(Plan(2, 2, rate=LEASE_FROM * 5))
    assert busy.commands["take"] < busy.served / 500


def test_machines_of_a_large_fleet_make_about_a_trip_a_second() -> None:
    outcome = run(Plan(100, 10, rate=2, seconds=4))
    assert outcome.commands["take"] + outcome.commands["return"] == pytest.approx(400 / BLOCK_SECONDS, rel=0.3)


def test_a_machine_that_becomes_idle_offers_the_rest_of_its_block() -> None:
    simulation = Simulation(Plan(1, 1, rate=1, seconds=9), COSTS, [])
    (machine,) = simulation._workers
    machine.pace = primed(1000, 0.0)
    assert simulation.run().commands["return"] == 1


def test_every_worker_polls_and_beats_in_its_time() -> None:
    outcome = run(Plan(10, 10, rate=1, seconds=4, beats=True))
    changes = 2 * 100
    assert outcome.commands["read"] == pytest.approx(4 * 100 + changes, rel=0.1)
    assert outcome.commands["beat"] == pytest.approx(8 * 100, rel=0.1)
    assert run(Plan(10, 10, rate=1, beats=False)).commands["beat"] == 0


def test_a_change_is_known_to_all_long_before_they_poll() -> None:
    outcome = run(Plan(10, 4, rate=100))
    assert len(outcome.knew) == 40 * outcome.commands["flip"]
    assert max(outcome.knew) < 0.05
    assert outcome.ignorant == 0


def test_who_reads_a_change_later_knows_it_later() -> None:
    assert max(run(Plan(10, 4, rate=100, spread=0.5)).knew) > 0.3


def test_workers_that_ask_for_more_than_the_store_can_do_wait_or_do_without_it() -> None:
    outcome = run(Plan(10, 20, rate=500), SLOW)
    assert outcome.alone > 0
    assert outcome.lost > 0
    assert outcome.busy > 0.5 * 3
    assert max(outcome.waits) > 0.05
    assert sum(outcome.shares[0].served()) == outcome.served + outcome.alone


def test_requests_that_wait_for_a_busy_store_share_a_trip() -> None:
    outcome = run(Plan(5, 2, rate=LEASE_FROM * 0.45, seconds=2), costing.given(1.05e-3))
    assert outcome.alone == 0
    assert outcome.commands["take"] < 0.9 * outcome.served
    assert max(outcome.delays) < 0.05


def test_a_strategy_that_goes_by_loads_costs_the_store_more_with_each_worker() -> None:
    for_each = [run(Plan(size, 10, rate=1, reading=True)).busy / size for size in (5, 20)]
    assert for_each[1] > 2 * for_each[0]


def test_of_new_connections_only_so_many_wait() -> None:
    simulation = Simulation(Plan(1, BACKLOG + 9, rate=1, beats=False), SLOW, [])
    for worker in simulation._workers:
        worker.connect = SLOW.join
    answers = [simulation._serve(Command.JOIN, 0.0, SLOW.take, worker) for worker in simulation._workers]
    # The first is served at once, and then they queue.
    assert [answer for answer in answers if answer == float("inf")] == [float("inf")] * 8
    assert sorted(answers) == answers


def test_the_largest_fleet_is_found_between_one_that_works_and_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake(plan: Plan, costs: Costs) -> Case:
        return Case(plan, Outcome({}, alone=int(plan.machines > 77)), 0.0)

    monkeypatch.setattr(fleet_sim, "simulated", fake)
    assert 77 / 1.08 < largest(Plan(1, 1, 1), COSTS).plan.machines <= 77


def test_a_fleet_that_one_store_must_carry_and_does_not_is_a_miss() -> None:
    quiet, busy = (simulated(plan, COSTS) for plan in (Plan(*QUIET, seconds=1.5), Plan(1, 2, BUSY)))
    assert [check.met for check in judge([quiet, busy])] == [True] * 5
    quiet.outcome.alone = 1
    quiet.outcome.commands["take"] += 9_000
    busy.outcome.commands["take"] += 60
    busy.outcome.knew.extend([9.0] * 9)
    assert [check.met for check in judge([quiet, busy])] == [False, True, False, False, False]


@pytest.mark.thorough
def test_what_commands_cost_is_measured_on_a_real_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costing, "COMMANDS", 800)
    costs = costing.measured(quick=True)
    assert min(costs.take, costs.read, costs.word, costs.beat, costs.join) > 0
    assert min(costs.record, costs.told, costs.other) >= 0
