"""Requests a second and latency of lbflask and of others, in turn on loopback, as ratios within one run.

Needs wrk and nginx (which plays the backends); Go, HAProxy, aiohttp with uvloop take part where they are installed.
Every competitor gets two workers or two cores, the same three backends and the same load, round by round, so that a
machine whose speed drifts bends all of them alike; what is compared is the median of the ratios of the rounds.

    python -m benchmarks.throughput [--rounds 5] [--seconds 3] [--connections 1,32,128] [--json FILE] [--readme]
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import bench, free_ports, need, running
from benchmarks.proxies import Competitor, competitors, nginx_backends
from devtools.environment import HOST, ROOT
from devtools.report import Check, between_markers, conclude, machine, machine_line, options, ratio, say, table

HERE = Path(__file__).parent


@dataclass
class Result:
    """One measurement."""

    requests: float
    p50: float  #: milliseconds
    p99: float
    errors: int


#: By competitor, then by the number of connections: the rounds.
Results = dict[str, dict[int, list[Result]]]


def measure(port: int, connections: int, seconds: int) -> Result:
    """A run of wrk."""
    script = HERE / "report.lua"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://{HOST}:{port}/"]
    return parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def parse(output: str) -> Result:
    """What report.lua printed. Raises RuntimeError when it did not."""
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk printed no result: {output}")
    count, micros, p50, p99, errors = map(int, found.groups())
    return Result(count / micros * 1e6, p50 / 1000, p99 / 1000, errors)


def compare(results: Results, connections: list[int]) -> str:
    """A markdown table: medians, and the ratio of lbflask's requests/s to those of the others, round by round."""
    columns = [f"{c} conn.: {what}" for c in connections for what in ("req/s", "lbflask is", "p50 ms", "p99 ms")]
    ours = results["lbflask"]
    rows = []
    for name, by_connections in results.items():
        row = [name]
        for count in connections:
            rounds = by_connections[count]
            times = [ratio(mine.requests, theirs.requests) for mine, theirs in zip(ours[count], rounds, strict=True)]
            row += [
                f"{statistics.median(r.requests for r in rounds):,.0f}",
                "" if name == "lbflask" else f"{statistics.median(times):.2f} x",
                f"{statistics.median(r.p50 for r in rounds):.2f}",
                f"{statistics.median(r.p99 for r in rounds):.2f}",
            ]
        rows.append(row)
    return table(["", *columns], rows)


def run(entered: list[Competitor], rounds: int, seconds: int, connections: list[int]) -> Results:
    """All in turn; they must have been started."""
    results: Results = {c.name: {n: [] for n in connections} for c in entered}
    for competitor in entered:
        measure(competitor.port, 32, 1)  # warm
    for turn in range(rounds):
        for count in connections:
            for competitor in entered:
                result = measure(competitor.port, count, seconds)
                results[competitor.name][count].append(result)
                say(
                    f"round {turn + 1}, {count} connections, {competitor.name}: {result.requests:,.0f}/s,"
                    f" p99 {result.p99:.2f} ms, {result.errors} errors"
                )
    return results


#: What lbflask's rate is to be, as a multiple of another's, and its latency, as at most so much of another's.
FASTER_THAN = {
    "Go ReverseProxy": 1.0,
    "aiohttp + uvloop": 1.25,
    "Flask + requests + Redis": 8.0,
    "lbflask, no log, no metrics": 0.9,
}
BUSY = (32, 128)


def judge(results: Results) -> list[Check]:
    """Against those that took part: the median of the ratios of the rounds."""
    ours = results["lbflask"]

    def times(other: str, connections: int, what: Callable[[Result], float]) -> float:
        pairs = zip(ours[connections], results[other][connections], strict=True)
        return statistics.median(ratio(what(mine), what(theirs)) for mine, theirs in pairs)

    checks = [
        Check(f"requests/s at {count} connections, against {name}", rate, least, "x", at_least=True)
        for name, least in FASTER_THAN.items()
        for count in BUSY
        if name in results and count in ours
        for rate in [times(name, count, lambda result: result.requests)]
    ]
    go = "Go ReverseProxy"
    if go in results and 32 in ours:
        checks.append(Check(f"p99 at 32 connections, against {go}", times(go, 32, lambda r: r.p99), 1.0, "x"))
    if go in results and 1 in ours:
        checks.append(Check(f"p50 of one connection, against {go}", times(go, 1, lambda r: r.p50), 1.5, "x"))
    failed = sum(result.errors for rounds in ours.values() for result in rounds)
    return [*checks, Check("failed requests of lbflask", failed, 0)]


def into_readme(shown: str, how: str) -> None:
    """The table of this run, with what it was measured on, between the markers of README.md."""
    page = ROOT / "README.md"
    content = f"{shown}\n\n{machine_line(machine())} {how}"
    page.write_text(between_markers(page.read_text("utf-8"), content), "utf-8")


def main() -> None:
    parser = options(__doc__, "throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", default="1,32,128")
    parser.add_argument("--only", default="", help="names of competitors, separated by ;")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    given = parser.parse_args()
    connections = [int(part) for part in given.connections.split(",")]
    rounds, seconds = (1, 1) if given.quick else (given.rounds, given.seconds)
    wanted = [name for name in given.only.split(";") if name]
    need("wrk", "nginx")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        backends = free_ports(3)
        stack.enter_context(running([nginx_backends(backends, rig.work)], backends[0]))
        entered = [c for c in competitors(backends, rig) if not wanted or c.name in {"lbflask", *wanted}]
        for competitor in entered:
            stack.enter_context(competitor.started())
        results = run(entered, rounds, seconds, connections)
    shown = compare(results, connections)
    print(shown, end="\n\n")
    if given.readme:
        into_readme(shown, f"Rounds of {seconds} s: {rounds}; the numbers are their medians.")
    plain = {
        name: {str(count): [vars(result) for result in rounds] for count, rounds in by_count.items()}
        for name, by_count in results.items()
    }
    conclude(given, judge(results), {"results": plain})


if __name__ == "__main__":
    main()
