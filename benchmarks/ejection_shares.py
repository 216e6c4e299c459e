"""How soon a backend that fails a part of its requests is ejected: a simulation of the rule in core/ejection.py.

Requests come at random times, one worker reports each failure at once, and the backend was in order before. A share
below a half must not eject, but for bad luck with the first requests; one that fails everything is out after five.
The time is from the first failure; with the part of the runs that end with an ejection, unless all do.

    python -m benchmarks.ejection_shares [--runs 100] [--seconds 3600] [--json FILE]
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import median

from devtools.report import Check, conclude, number, options, say, table
from lbflask.core.ejection import EjectionPolicy, FailureReport, FailureWindow, convicts, counted

#: Percent of the requests that fail, and requests per second.
SHARES = (5, 10, 20, 30, 40, 50, 60, 80, 100)
RATES = (1, 5, 50, 500)
RULE = EjectionPolicy(("a", "b"))
#: The parts of the runs with a share that may be ejected: a run of bad luck at the beginning, at most.
MAY_EJECT = {5: 0.0, 10: 0.01, 20: 0.05, 30: 0.15, 40: 0.5}
#: The most failures that a run simulates: the rest of a long run at a high rate is like its beginning.
MAX_FAILURES = 10_000


def failures(share: float, rate: float, source: random.Random) -> Iterator[tuple[float, int]]:
    """Failures: the time of each, and the attempts up to it since the one before."""
    now = 0.0
    while True:
        gap = 1 if share >= 1 else 1 + int(math.log(1 - source.random()) / math.log(1 - share))
        now += source.gammavariate(gap, 1 / rate)
        yield now, gap


def time_to_ejection(share: float, rate: float, seconds: float, source: random.Random) -> float:
    """The seconds until a backend is ejected; infinite if it is not in so many."""
    window: FailureWindow | None = None
    total, first = 0, None
    for count, (now, gap) in enumerate(failures(share, rate, source)):
        first = now if first is None else first
        if now - first > seconds or count > MAX_FAILURES:
            return math.inf
        total += gap
        window = counted(window, FailureReport(gap, 1, 1), total, RULE, now)
        if convicts(window, total, RULE):
            return now - first
    return math.inf


def cell(times: Sequence[float]) -> str:
    """The part of the runs that ended with an ejection, and the median time of these."""
    ended = [time for time in times if time < math.inf]
    if not ended:
        return "never"
    part = "" if len(ended) == len(times) else f"{100 * len(ended) / len(times):.3g} %: "
    return f"{part}{number(median(ended))} s"


def judge(times: dict[int, dict[int, list[float]]]) -> list[Check]:
    """The targets; the time of a backend that fails everything is that of five requests."""
    checks = []
    for share, limit in MAY_EJECT.items():
        runs = [time for of_rate in times[share].values() for time in of_rate]
        part = sum(time < math.inf for time in runs) / len(runs)
        checks.append(Check(f"runs with {share} % of failures that eject", part, limit))
    for rate, of_rate in times[100].items():
        checks.append(Check(f"requests until a dead backend is out at {rate}/s", median(of_rate) * rate, 5))
    return checks


def main() -> None:
    parser = options(__doc__, "ejection_shares")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3600.0)
    given = parser.parse_args()
    runs = 20 if given.quick else given.runs
    source = random.Random(1)
    times: dict[int, dict[int, list[float]]] = {}
    for share in SHARES:
        of_rate = times[share] = {}
        for rate in RATES:
            of_rate[rate] = [time_to_ejection(share / 100, rate, given.seconds, source) for _ in range(runs)]
    rows = [[f"{share} %", *(cell(times[share][rate]) for rate in RATES)] for share in SHARES]
    say(table(["failures", *(f"{rate} requests/s" for rate in RATES)], rows))
    conclude(given, judge(times), {"table": rows})


if __name__ == "__main__":
    main()
