"""The retry budgets of a worker: one account for all policies of a pool."""

from __future__ import annotations

from lbflask.core.retry import RetryPolicy
from lbflask.fleet.retry_budgets import RetryBudgets

TENTH = RetryPolicy(budget_percent=10, budget_floor=0)
HALF = RetryPolicy(budget_percent=50, budget_floor=0)


class Worker:
    """What a worker has done until now."""

    def __init__(self) -> None:
        self.attempts = 0
        self.now = 100.0
        self.budgets = RetryBudgets(lambda: self.attempts, lambda: self.now)

    def retries(self, policy: RetryPolicy, most: int = 1000) -> int:
        made = 0
        while made < most and self.budgets.allow(policy):
            self.attempts += 1
            made += 1
        return made


def test_a_policy_that_is_used_for_the_first_time_has_what_the_latest_requests_earned() -> None:
    worker = Worker()
    worker.attempts = 100
    assert worker.retries(TENTH) == 10


def test_extra_attempts_earn_nothing() -> None:
    worker = Worker()
    worker.attempts = 100
    worker.retries(TENTH)
    for _ in range(50):
        worker.budgets.note_free()
        worker.attempts += 1
    assert worker.retries(TENTH) == 0
    assert repr(worker.budgets).endswith("extra=60>")


def test_what_one_policy_spends_the_others_lack() -> None:
    worker = Worker()
    worker.attempts = 100
    assert worker.retries(TENTH, most=0) == 0
    assert worker.budgets.allow(TENTH)
    assert worker.retries(HALF) == 49
    assert worker.retries(TENTH) == 0


def test_the_budget_of_an_outage_is_that_of_the_last_seconds() -> None:
    worker = Worker()
    for _ in range(3600):
        worker.attempts += 10
        worker.now += 1.0
        worker.budgets.advance(4)
    assert 10 <= worker.retries(TENTH) <= 12


def test_the_reserve_of_the_fleet_is_shared_by_its_workers() -> None:
    worker = Worker()
    worker.budgets.advance(5)
    assert worker.retries(RetryPolicy(budget_percent=0, budget_floor=10)) == 2


def test_second_attempts_beside_slow_ones_have_a_share_of_the_budget() -> None:
    worker = Worker()
    worker.attempts = 200
    hedges = 0
    while worker.budgets.may_hedge(TENTH):
        worker.budgets.note_hedge()
        worker.attempts += 1
        hedges += 1
    assert hedges == 4
    assert worker.retries(TENTH) == 16


def test_without_a_budget_nothing_is_sent_twice() -> None:
    worker = Worker()
    worker.attempts = 200
    assert worker.retries(TENTH) == 20
    assert not worker.budgets.may_hedge(TENTH)
