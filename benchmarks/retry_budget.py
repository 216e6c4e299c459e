"""What retries add to the load, and what clients get, while backends fail: a simulation of the retry budgets.

The workers of a fleet get 500 requests per second together, at random times, in a pool of three backends. First all is
well; then one of them responds 503 to a third of its requests; then all of them to all. `retries.statuses` has 503.
Workers run the real budgets (fleet/retry_budgets.py), each with its own part of the requests, and know of the others
only their number, as in production. A request is repeated at the next backend at once.

    python -m benchmarks.retry_budget [--workers 1 8 100] [--seconds 60] [--json FILE]
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from devtools.report import Check, conclude, number, options, ratio, say, table
from lbflask.core.retry import RetryPolicy
from lbflask.fleet.retry_budgets import RetryBudgets

RATE = 500.0
BACKENDS = 3
#: Seconds between two looks of a worker at its requests, as of its heartbeat.
BEAT = 0.5
POLICY = RetryPolicy(statuses=frozenset({503}))
#: The most requests that backends may get for one of a client.
MOST = 1.2
#: The parts of a run: the shares of failures of the backends.
PHASES = {"well": (0.0, 0.0, 0.0), "one fails a third": (1 / 3, 0.0, 0.0), "all fail": (1.0, 1.0, 1.0)}


@dataclass
class Figures:
    """What happened in a phase."""

    requests: int = 0
    attempts: int = 0
    failed: int = 0  #: requests whose client got the 503

    @property
    def amplification(self) -> float:
        """Attempts for each request."""
        return ratio(self.attempts, self.requests)


class SimulatedWorker:
    """A worker of the fleet, with its clock."""

    def __init__(self, begin: float, workers: int) -> None:
        self.now = begin
        self.attempts = 0
        self._workers = workers
        self._beaten = begin
        self._budgets = RetryBudgets(lambda: self.attempts, lambda: self.now)
        self._budgets.advance(workers)

    def request(self, now: float, shares: tuple[float, ...], source: random.Random) -> tuple[int, bool]:
        """The number of attempts of a request, and whether it was served."""
        while now - self._beaten >= BEAT:
            self._beaten = self.now = self._beaten + BEAT
            self._budgets.advance(self._workers)
        self.now = now
        backend, made = source.randrange(BACKENDS), 0
        while True:
            self.attempts += 1
            made += 1
            if source.random() >= shares[backend]:
                return made, True
            if made > POLICY.attempts or not self._budgets.allow(POLICY):
                return made, False
            backend = (backend + 1) % BACKENDS


def simulated(workers: int, seconds: float, seed: int = 1) -> dict[str, Figures]:
    """The figures of each phase, of so many seconds each."""
    source, now = random.Random(seed), 0.0
    fleet = [SimulatedWorker(now, workers) for _ in range(workers)]
    arrivals = [(source.expovariate(RATE / workers), worker) for worker in range(workers)]
    heapq.heapify(arrivals)
    found = {}
    for number_, (name, shares) in enumerate(PHASES.items(), 1):
        found[name] = figures = Figures()
        while arrivals[0][0] < number_ * seconds:
            now, worker = arrivals[0]
            made, served = fleet[worker].request(now, shares, source)
            figures.requests += 1
            figures.attempts += made
            figures.failed += not served
            heapq.heapreplace(arrivals, (now + source.expovariate(RATE / workers), worker))
    return found


def judge(found: dict[int, dict[str, Figures]]) -> list[Check]:
    """The targets: all requests served while one backend fails, and a bounded load in any case."""
    checks = []
    for workers, phases in found.items():
        failing = phases["one fails a third"]
        checks.append(Check(f"503s to clients while one backend fails a third, {workers} workers", failing.failed, 0))
        whole = Figures(
            sum(one.requests for one in phases.values()), sum(one.attempts for one in phases.values())
        ).amplification
        worst = max(whole, failing.amplification)
        checks.append(Check(f"requests to backends for each of a client, {workers} workers", worst, MOST))
    return checks


def main() -> None:
    parser = options(__doc__, "retry_budget")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 100])
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    found = {workers: simulated(workers, 20.0 if given.quick else given.seconds) for workers in given.workers}
    rows = [
        [f"{workers}", name, f"{one.requests:,}", number(one.amplification), f"{one.failed:,}"]
        for workers, phases in found.items()
        for name, one in phases.items()
    ]
    say(table(["workers", "backends", "requests", "attempts for each", "503s to clients"], rows))
    conclude(given, judge(found), {"table": rows})


if __name__ == "__main__":
    main()
