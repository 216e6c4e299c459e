"""The share of extra attempts: never more in a fleet than its requests have earned, or than its reserve."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.retry_budget import LASTS, RetryBudget


def spend_all(budget: RetryBudget) -> int:
    spent = 0
    while budget.suffices:
        budget.spend()
        spent += 1
    return spent


def test_a_new_worker_has_the_reserve_until_it_knows_how_many_share_it() -> None:
    assert spend_all(RetryBudget(0.2, 10.0)) == 10
    one_of_five = RetryBudget(0.2, 10.0)
    one_of_five.earn(0, 0, 0.0, 5)
    assert spend_all(one_of_five) == 2


def test_requests_earn_their_share_for_as_long_as_it_lasts() -> None:
    budget = RetryBudget(0.2, 0.0)
    assert not budget.suffices
    budget.earn(100, 100, 1.0, 1)
    assert spend_all(budget) == 20
    budget.earn(100, 100, 1.0, 1)
    budget.earn(0, 10, LASTS, 1)
    assert spend_all(budget) == 2, "what the last seconds have earned is left"


def test_the_reserve_and_the_share_are_spent_together() -> None:
    budget = RetryBudget(0.2, 10.0)
    budget.earn(50, 50, 1.0, 1)
    assert spend_all(budget) == 10


def test_the_smallest_part_of_a_reserve_grows_to_a_whole_attempt() -> None:
    budget = RetryBudget(0.2, 10.0)
    budget.earn(0, 0, 0.0, 1000)
    spend_all(budget)
    budget.earn(0, 0, 99.0, 1000)
    assert not budget.suffices
    budget.earn(0, 0, 1.0, 1000)
    budget.earn(0, 0, 1000.0, 1000)
    assert spend_all(budget) == 1
    assert repr(budget) == "<RetryBudget 0.0 by requests, 0.0 by time>"


def test_attempts_that_were_taken_back_and_unknown_workers_earn_nothing() -> None:
    budget = RetryBudget(0.2, 1.0)
    budget.earn(-5, -5, 0.0, 0)
    assert spend_all(budget) == 1


@pytest.mark.parametrize("workers", [1, 100])
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.02, 0.2, 1.0]))
def test_the_extra_attempts_of_a_fleet_stay_below_its_share_whatever_fails(
    seed: int, share: float, workers: int
) -> None:
    source = random.Random(seed)
    reserve = 10.0
    budgets = [RetryBudget(share, reserve) for _ in range(workers)]
    requests = spent = 0
    for budget in budgets:
        budget.earn(0, 0, 0.0, workers)
    seconds = 20
    for _ in range(seconds):
        for budget in budgets:
            made = source.randrange(8)
            requests += made
            budget.earn(made, made, 1.0, workers)
            spent += sum(spend_all(budget) for _ in range(source.randrange(2)))
    assert spent <= share * requests + reserve * (seconds + 1) + workers
