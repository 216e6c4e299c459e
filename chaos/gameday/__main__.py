"""Injects incidents into a fleet, one after another, and checks that a surface names each within five seconds, that
nothing is marked ✓ that is broken, and that the remedy ends it. Prints a table; exit code 1 if an incident misses.

    python -m chaos gameday [--list] [--only NAME] … [--write]
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from chaos.command_line import choice, parser_for
from chaos.gameday import backends, clients, configurations, processes, stores
from chaos.gameday.fleet import GameFleet, game_fleet
from chaos.gameday.incident import Incident, Result
from chaos.gameday.run import all_of
from devtools.environment import ROOT
from devtools.report import between_markers, machine, table, write

INCIDENTS: list[Incident] = [
    *backends.INCIDENTS,
    *stores.INCIDENTS,
    *processes.INCIDENTS,
    *configurations.INCIDENTS,
    *clients.INCIDENTS,
]
HEAD = ["incident", "named by", "executed as written", "by hand", "ended after", "runbook", ""]
#: The table goes between these lines of the page.
PAGE, BEGIN, END = ROOT / "docs" / "operating.md", "<!-- game day -->", "<!-- /game day -->"
#: Seconds of a whole run, after which no further incident begins.
BUDGET = 1500.0


def new_fleet(running: ExitStack) -> GameFleet:
    """A fleet that ends with the stack."""
    return running.enter_context(game_fleet())


def report(results: Sequence[Result]) -> str:
    """The table, and how many pass."""
    passed = sum(not result.faults for result in results)
    return f"{table(HEAD, [result.row() for result in results])}\n\n{passed} of {len(results)} incidents pass."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__, "gameday", "incident")
    parser.add_argument("--write", action="store_true", help="put the table into docs/operating.md")
    given = parser.parse_args(arguments)
    incidents = choice(given, {one.name: one for one in INCIDENTS}, "incident")
    if shutil.which("redis-cli") is None:
        sys.exit("redis-cli is missing: the advice of doctor is executed as written")
    results = all_of([*incidents.values()], new_fleet, BUDGET)
    print(report(results))
    records = [
        {
            "name": one.incident.name,
            "seconds": one.sighting.seconds,
            "finding": str(one.sighting.finding or ""),
            "advice": one.sighting.finding.advice if one.sighting.finding else "",
            "executed": one.executed,
            "ended": one.ended,
            "faults": one.faults,
        }
        for one in results
    ]
    write(given.json, {"machine": machine(), "incidents": records})
    if given.write:
        PAGE.write_text(between_markers(PAGE.read_text("utf-8"), report(results), BEGIN, END), "utf-8")
    if any(result.faults for result in results) and not given.quick:
        sys.exit(1)


if __name__ == "__main__":
    main()
