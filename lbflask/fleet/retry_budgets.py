"""The retry budgets of one worker for one pool: what its routes allow, by the requests of the pool.

Requests pay nothing for it: the attempts are those that are counted in any case, and they are looked at in the
background, and when an extra attempt is to be made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lbflask.core.hedging import HEDGE_SHARE
from lbflask.core.recent_totals import RecentTotals
from lbflask.core.retry import RetryPolicy
from lbflask.core.retry_budget import LASTS, RetryBudget


class RetryBudgets:
    """Threads and greenlets may share it. `attempts` gives the number of all attempts of this worker at the backends of
    the pool, `clock` seconds of a steady clock.
    """

    def __init__(self, attempts: Callable[[], int], clock: Callable[[], float]) -> None:
        self._attempts = attempts
        self._clock = clock
        self._lock = threading.Lock()
        self._budgets: dict[tuple[float, float], RetryBudget] = {}
        self._hedges = RetryBudget(HEDGE_SHARE, 0.0)
        self._recent = RecentTotals(LASTS, 0)
        self._extra = self._requests = 0
        self._advanced = clock()
        self._workers = 1

    def __repr__(self) -> str:
        return f"<RetryBudgets {self._budgets} extra={self._extra}>"

    def advance(self, workers: int) -> None:
        """Earn for the requests until now, as one of so many workers of the fleet. Called in the background."""
        with self._lock:
            self._workers = workers
            self._earn()

    def allow(self, policy: RetryPolicy) -> bool:
        """Whether one more extra attempt may be made under this policy; it is then counted, for all policies."""
        with self._lock:
            if not self._budget(policy).suffices:
                return False
            self._spend()
            return True

    def may_hedge(self, policy: RetryPolicy) -> bool:
        """Whether one more request may get a second attempt beside its first one."""
        with self._lock:
            return self._budget(policy).suffices and self._hedges.suffices

    def note_hedge(self) -> None:
        """A request gets a second attempt beside its first one."""
        with self._lock:
            self._hedges.spend()
            self._spend()

    def note_free(self) -> None:
        """An extra attempt is made that costs no budget. It is no request for which one is earned."""
        with self._lock:
            self._extra += 1

    def _budget(self, policy: RetryPolicy) -> RetryBudget:
        """The budget of the policy, with what was earned until now. Called under the lock."""
        share, reserve, recent = policy.budget_percent / 100, policy.budget_floor, self._earn()
        budget = self._budgets.get((share, reserve))
        if budget is None:
            budget = self._budgets[share, reserve] = RetryBudget(share, reserve)
            budget.earn(recent, recent, 0.0, self._workers)
        return budget

    def _spend(self) -> None:
        for one in self._budgets.values():
            one.spend()
        self._extra += 1

    def _earn(self) -> int:
        """Earn for the requests until now. The number of the recent ones. Called under the lock."""
        now, requests = self._clock(), self._attempts() - self._extra
        recent = requests - self._recent.before(now, requests)
        for budget in (self._hedges, *self._budgets.values()):
            budget.earn(requests - self._requests, recent, now - self._advanced, self._workers)
        # Attempts that were taken back are not earned for twice.
        self._requests, self._advanced = max(requests, self._requests), now
        return recent
