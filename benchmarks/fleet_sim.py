"""The capacity of one store: fleets of up to 1,000 machines, simulated with the workers' code and a modelled store.

The costs of the store's commands are measured on a Valkey, or derived from that of an INCRBY (`--service-us`). The
fleets are then simulated, event by event, for some seconds of simulated time. Without a size: several fleets at several
rates, and a search for the largest fleet whose workers always reach the store.

    python -m benchmarks.fleet_sim [--machines 100] [--workers 16] [--rate 1000] [--skew 0] [--seconds 3] [--seed 1]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.simulation import costs as costing
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.fleet import Command, Outcome, Plan, Simulation
from benchmarks.simulation.shares import Shares
from devtools.environment import raise_file_limit
from devtools.report import Check, conclude, number, options, percentile, say, table
from lbflask.fleet.follower import POLL_EVERY
from lbflask.store.redis_client import OPERATION_TIMEOUT

SIZES = [(1, 2), (10, 4), (100, 16), (1000, 32)]
#: Machines, workers, and requests per second of a worker: 190 for each machine.
QUIET = (1000, 2, 95.0)
#: Requests per second of a worker, and how unlike workers are.
LOADS = [(100.0, 0.0), (1000.0, 0.0), (1000.0, 1.0)]
#: Backends among whom the turns of one run go, by weight.
POOLS = {"3": [1] * 3, "10": [1] * 10, "100": [1] * 100, "10 weighted": list(range(1, 11))}
#: The search for the largest fleet: its machines have so many workers, and it ends when it is this close.
WORKERS_OF_A_MACHINE = 16
MOST_MACHINES = 2000
CLOSE = 1.07
#: A fleet for which requests wait longer for their tickets (99 % of those that wait at all) is too large.
TICKET_WITHIN = 0.05
#: Targets for the fleets that one store must serve.
CARRIED = 2000
KNOWN_WITHIN = 0.1
#: Operations per second of the quiet machines, and round trips for a request at BUSY requests per second of a worker.
QUIET_OPERATIONS = 10_000
BUSY, TRIPS_EACH = 1000.0, 0.005
#: What workers send; the rest is the checker's.
BY_WORKERS = (Command.TAKE, Command.RETURN, Command.READ, Command.JOIN, Command.BEAT)


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet and what became of it."""

    plan: Plan
    outcome: Outcome
    took: float

    @property
    def name(self) -> str:
        skew = ", uneven" if self.plan.skew else ""
        return f"{self.plan.machines:,} x {self.plan.workers} at {self.plan.rate:,.0f}/s{skew}"

    @property
    def alone(self) -> float:
        """Part of the requests that had no ticket of the fleet's."""
        every = self.outcome.served + self.outcome.alone
        return self.outcome.alone / every if every else 0.0

    @property
    def busy(self) -> float:
        """Work that came to the store, as a part of the time."""
        return self.outcome.busy / self.plan.seconds

    def imbalance(self) -> dict[str, float]:
        return {pool: shares.imbalance for pool, shares in zip(POOLS, self.outcome.shares, strict=True)}

    def a_second(self, *commands: Command) -> float:
        return sum(self.outcome.commands[command.name.lower()] for command in commands) / self.plan.seconds


def simulated(plan: Plan, costs: Costs) -> Case:
    began = time.monotonic()
    outcome = Simulation(plan, costs, [Shares(weights) for weights in POOLS.values()]).run()
    case = Case(plan, outcome, time.monotonic() - began)
    say(f"{case.name}: {plan.seconds:g} s in {case.took:.1f} s")
    return case


def ms(seconds: Sequence[float], percent: float) -> str:
    return number(percentile(seconds, percent) * 1000)


def show_store(cases: Sequence[Case]) -> str:
    """The work of the store, and its cost for waiting requests."""
    head = ["fleet", "requests/s", "commands/s", "tickets", "polls", "beats", "busy", "queue p50, p99 ms",
            "wait for a ticket p50, p99 ms"]  # fmt: skip
    rows = [
        [
            case.name,
            f"{case.plan.fleet * case.plan.rate:,.0f}",
            f"{case.a_second(*Command):,.0f}",
            f"{case.a_second(Command.TAKE, Command.RETURN):,.0f}",
            f"{case.a_second(Command.READ, Command.JOIN):,.0f}",
            f"{case.a_second(Command.BEAT):,.0f}",
            f"{case.busy:.1%}",
            f"{ms(case.outcome.waits, 50)}, {ms(case.outcome.waits, 99)}",
            f"{ms(case.outcome.delays, 50)}, {ms(case.outcome.delays, 99)}",
        ]
        for case in cases
    ]
    return table(head, rows)


def show_balance(cases: Sequence[Case]) -> str:
    """The evenness of the shares, and the delay of a change."""
    head = ["fleet", "requests", "local turns", *(f"spread, {pool}" for pool in POOLS), "change known p50, p99, all ms"]
    rows = []
    for case in cases:
        outcome = case.outcome
        every = "never" if outcome.ignorant else ms(outcome.knew, 100)
        rows.append(
            [
                case.name,
                f"{outcome.served + outcome.alone:,}",
                f"{case.alone:.1%}",
                *(number(round(value, 1)) for value in case.imbalance().values()),
                f"{ms(outcome.knew, 50)}, {ms(outcome.knew, 99)}, {every}",
            ]
        )
    return table(head, rows)


def judge(cases: Sequence[Case]) -> list[Check]:
    """What is promised of fleets that a store carries; of larger ones there is nothing to promise."""
    carried = [case for case in cases if case.plan.fleet <= CARRIED]
    bounds = [case.plan.machines + case.outcome.thrown_away for case in carried]
    spreads = [
        max(shares.imbalance for shares in case.outcome.shares if len({*shares.weights}) == 1) for case in carried
    ]
    known = [percentile(case.outcome.knew, 99) for case in carried]
    quiet = [case for case in carried if (case.plan.machines, case.plan.workers, case.plan.rate) == QUIET]
    busy = [case.a_second(*BY_WORKERS) / (case.plan.fleet * BUSY) for case in carried if case.plan.rate == BUSY]
    return [
        Check(f"local turns, up to {CARRIED:,} workers", sum(case.outcome.alone for case in carried), 0),
        Check("spread of equal backends, of its bound", max(s / b for s, b in zip(spreads, bounds, strict=True)), 1),
        Check("a change is known to 99 % of the workers within", max(known), KNOWN_WITHIN, "s"),
        *(Check("operations/s of 1,000 quiet machines", case.a_second(*Command), QUIET_OPERATIONS) for case in quiet),
        *([Check("round trips for a request at 1,000/s a worker", max(busy), TRIPS_EACH)] if busy else []),
    ]


def largest(plan: Plan, costs: Costs) -> Case:
    """The largest fleet of such workers of which none ever has to do without the store, or waits long for it."""
    low, high, best = 1, MOST_MACHINES, None
    while high / low > CLOSE and high - low > 1:
        middle = max(low + 1, min(high - 1, round((low * high) ** 0.5)))
        case = simulated(replace(plan, machines=middle, workers=WORKERS_OF_A_MACHINE), costs)
        if case.outcome.alone or case.outcome.lost or percentile(case.outcome.delays, 99) > TICKET_WITHIN:
            high = middle
        else:
            low, best = middle, case
    return best or simulated(replace(plan, machines=1, workers=WORKERS_OF_A_MACHINE), costs)


def show_limits(limits: dict[str, Case]) -> str:
    head = ["each worker", "workers", "requests/s", "commands/s", "busy", "change known to all, ms"]
    rows = [
        [
            what,
            f"{case.plan.fleet:,}",
            f"{case.plan.fleet * case.plan.rate:,.0f}",
            f"{case.a_second(*Command):,.0f}",
            f"{case.busy:.0%}",
            ms(case.outcome.knew, 100),
        ]
        for what, case in limits.items()
    ]
    return table(head, rows)


def search(plan: Plan, costs: Costs) -> dict[str, Case]:
    """The largest fleets, with the present commands and with fewer."""
    slow, edge, fast = (replace(plan, rate=rate, seconds=min(plan.seconds, 2)) for rate in (10, 190, 1000))
    calm, few = replace(fast, spread=0.25), replace(costs, other=0.0)
    return {
        "10/s": largest(slow, costs),
        "190/s": largest(edge, costs),
        "1,000/s": largest(fast, costs),
        "1,000/s, by a strategy that uses loads": largest(replace(fast, reading=True), costs),
        "1,000/s; a change is read within 0.25 s (a)": largest(calm, costs),
        "1,000/s; (a), no worker reads all heartbeats (b)": largest(calm, few),
    }


def show_costs(costs: Costs, origin: str) -> str:
    parts = [f"{name} {getattr(costs, name) * 1e6:.2f} ({ratio:.2f})" for name, ratio in costs.ratios.items()]
    return f"What commands cost the store, in µs and in INCRBYs, {origin}: {', '.join(parts)}."


def numbers(case: Case) -> dict[str, Any]:
    """For the file."""
    outcome = case.outcome
    return {
        "plan": asdict(case.plan), "took": case.took, "commands": outcome.commands, "busy": case.busy,
        "wait": [percentile(outcome.waits, percent) for percent in (50, 99, 100)],
        "delay": [percentile(outcome.delays, percent) for percent in (50, 99, 100)],
        "known": [percentile(outcome.knew, percent) for percent in (50, 99, 100)],
        "served": outcome.served, "alone": outcome.alone, "thrown_away": outcome.thrown_away,
        "ignorant": outcome.ignorant, "lost": outcome.lost, "imbalance": case.imbalance(),
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = options(__doc__, "fleet_sim")
    parser.add_argument("--machines", type=int, help="one fleet of so many machines, and no others")
    parser.add_argument("--workers", type=int, default=16, help="of each machine")
    parser.add_argument("--rate", type=float, default=1000, help="requests per second of a worker, on average")
    parser.add_argument("--skew", type=float, default=0, help="sigma of the lognormal distribution of the rates")
    parser.add_argument("--backends", type=int, default=10, help="how many records a snapshot has")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-us", type=float, default=100, help="median of the network, one way")
    parser.add_argument("--service-us", type=float, help="of an INCRBY; nothing is measured then")
    parser.add_argument("--poll-every", type=float, default=POLL_EVERY, help="what if workers polled less often")
    parser.add_argument("--follower-timeout", type=float, default=OPERATION_TIMEOUT, help="what if it waited longer")
    parser.add_argument("--spread", type=float, default=0, help="what if not all read a change at once, but in seconds")
    parser.add_argument("--reading", action="store_true", help="simulate a strategy that uses the loads of the fleet")
    return parser.parse_args()


def plan_of(given: argparse.Namespace) -> Plan:
    """Of one fleet, or the base of all."""
    machines, seconds = given.machines or 1, min(given.seconds, 1.5) if given.quick else given.seconds
    return Plan(
        machines, given.workers, given.rate, given.skew, given.backends, seconds, given.seed, given.latency_us / 1e6,
        reading=given.reading,
        poll_every=given.poll_every, follower_timeout=given.follower_timeout, spread=given.spread,
    )  # fmt: skip


def plans(given: argparse.Namespace, base: Plan) -> list[Plan]:
    """The fleet of the arguments, or all."""
    if given.machines:
        return [base]
    sizes = SIZES[:-1] if given.quick else SIZES
    machines, workers, rate = QUIET
    quiet = replace(base, machines=machines, workers=workers, rate=rate)
    return [quiet, *(replace(base, machines=m, workers=w, rate=r, skew=s) for m, w in sizes for r, s in LOADS)]


def main() -> None:
    given = arguments()
    raise_file_limit()
    if given.service_us:
        costs, origin = costing.given(given.service_us / 1e6), "from the INCRBY given"
    else:
        costs, origin = costing.measured(quick=given.quick), "measured on a Valkey here"
    print(show_costs(costs, origin), end="\n\n")
    plan, limits = plan_of(given), {}
    cases = [simulated(each, costs) for each in plans(given, plan)]
    print(show_store(cases), end="\n\n")
    print(show_balance(cases), end="\n\n")
    if not given.machines and not given.quick:
        limits = search(plan, costs)
        print(show_limits(limits), end="\n\n")
    found = {"costs": asdict(costs), "origin": origin, "cases": [numbers(case) for case in cases]}
    found["limits"] = {what: numbers(case) for what, case in limits.items()}
    conclude(given, [] if given.machines else judge(cases), found)


if __name__ == "__main__":
    main()
