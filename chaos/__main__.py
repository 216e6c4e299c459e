"""Breaks each part of a deployment under 500 requests a second, and compares what clients notice with targets.

Two gunicorns of two workers each, three backends, two checkers and a store run as processes of this machine. A p99
below 5 ms before the failure counts as 5 ms: three times less would be within the noise of a shared machine.

    python -m chaos [--quick] [--only NAME …]
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from chaos import backends, checkers, cost, reload, restarts, store, workers
from chaos.analysis import HEAD, Outcome
from chaos.cluster import FULL, QUICK, Pace
from devtools.environment import raise_file_limit
from devtools.report import Check, machine, options, say, table, write
from lbflask.store.embedded import NoServer, find_binary

Scenario = Callable[[Pace], Outcome]

SCENARIOS: dict[str, Scenario] = {
    **{kind.name: partial(store.run, kind) for kind in store.KINDS},
    "leader killed": checkers.leader_killed,
    "leader frozen": checkers.leader_frozen,
    "no checker": checkers.all_killed,
    "backend killed": backends.killed,
    "backend broken": backends.broken,
    "clients hang up": backends.clients_hang_up,
    "backend flapping": backends.flapping,
    "worker killed": workers.killed,
    "reloads": reload.run,
    "new workers behind a balancer": restarts.new_workers,
    "upgrade behind a balancer": restarts.upgrade,
    "stop behind a balancer": restarts.stop,
    "cost of the store": cost.round_trips,
    "updates to 100 workers": cost.updates,
}


def decides(check: Check, *, quick: bool) -> bool:
    """Whether a miss fails the run: in a short run, times of a few milliseconds prove nothing."""
    return not quick or check.unit != "ms"


def chosen(parts: list[str]) -> dict[str, Scenario]:
    """The scenarios whose name contains one of the parts; all without any. Raises ValueError when there is none."""
    found = {name: run for name, run in SCENARIOS.items() if not parts or any(part in name for part in parts)}
    if not found:
        raise ValueError(f"there is no such scenario; there are: {', '.join(SCENARIOS)}")
    return found


def attempt(name: str, run: Scenario, pace: Pace) -> Outcome | None:
    """The outcome; None, and a line with the reason, if the scenario could not run."""
    began = time.monotonic()
    try:
        outcome = run(pace)
    except (AssertionError, OSError, RuntimeError) as error:
        say(f"{name}: could not run: {error}")
        return None
    missed = [check for check in outcome.checks if not check.met]
    say(f"{name}: {'missed' if missed else 'passed'}, {time.monotonic() - began:.0f} s")
    for check in missed:
        say(f"  {': '.join(check.row()[:3])}; {outcome.notes}")
    return outcome


def main() -> None:
    parser = options(__doc__, "chaos")
    parser.add_argument(
        "--only", action="append", default=[], help="only scenarios whose name contains this; repeatable"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    raise_file_limit()
    try:
        find_binary()
        scenarios = chosen(given.only)
    except (NoServer, ValueError) as error:
        sys.exit(str(error))
    pace = QUICK if given.quick else FULL
    outcomes = [attempt(name, run, pace) for name, run in scenarios.items()]
    finished = [outcome for outcome in outcomes if outcome is not None]
    rows = [[outcome.name, *check.row()] for outcome in finished for check in outcome.checks]
    print(table(["scenario", "", "measured", "target", ""], rows), end="\n\n")
    print(table(HEAD, [outcome.row() for outcome in finished]))
    records = [asdict(o) | {"checks": [asdict(c) | {"met": c.met} for c in o.checks]} for o in finished]
    write(given.json, {"quick": given.quick, "machine": machine(), "scenarios": records})
    misses = [c for o in finished for c in o.checks if not c.met and decides(c, quick=given.quick)]
    if misses or None in outcomes:
        sys.exit(1)


if __name__ == "__main__":
    main()
