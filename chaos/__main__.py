"""Breaks each part of a deployment under 500 requests a second, and compares what clients notice with targets.

Two gunicorns of two workers each, three backends, two checkers and a store run as processes of this machine. A p99
below 5 ms before the failure counts as 5 ms: three times less would be within the noise of a shared machine.

    python -m chaos [--quick] [--list] [--only NAME] …
    python -m chaos gameday [--list] [--only NAME] …    incidents: which surface names them (chaos/gameday)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from chaos import backends, checkers, cost, reload, restarts, store, workers
from chaos.analysis import HEAD, Outcome
from chaos.cluster import FULL, QUICK, Pace
from chaos.command_line import choice, parser_for
from chaos.gameday import __main__ as gameday
from devtools.report import Check, machine, say, table, write

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
    given = parser_for(__doc__, "chaos", "scenario").parse_args()
    scenarios = choice(given, SCENARIOS, "scenario")
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
    if sys.argv[1:2] == ["gameday"]:
        gameday.main(sys.argv[2:])
    else:
        main()
