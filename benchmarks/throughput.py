"""Requests a second, latency and processor time of lbflask and of others, in turn on loopback, as ratios.

Needs wrk and nginx (which plays the backends); Go, HAProxy, aiohttp with uvloop take part where they are installed.
Every competitor gets two workers or two cores, the same three backends and the same load, round by round, so that a
machine whose speed drifts bends all of them alike; what is compared is the median of the ratios of the rounds. The
processor time is that of all processes of a competitor, divided by its requests. lbflask takes part as Python, compiled
where that build is here, and with `--before` as it was in another checkout, for the ratio to a version before.

    python -m benchmarks.throughput [--rounds 5] [--seconds 3] [--connections 1,32,128] [--before CHECKOUT] [--readme]
"""

from __future__ import annotations

import math
import re
import statistics
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from benchmarks.harness import await_response, bench, free_ports, need, processor_seconds, running
from benchmarks.proxies import BEFORE, BUILD_NAMES, GO_TUNED, Competitor, competitors, nginx_backends
from devtools.environment import HOST, ROOT
from devtools.report import Check, between_markers, conclude, machine, machine_line, options, ratio, say, table
from lbflask.build import Build

HERE = Path(__file__).parent
COMPILED, PYTHON = BUILD_NAMES[Build.COMPILED], BUILD_NAMES[Build.PYTHON]


@dataclass
class Result:
    """One measurement."""

    requests: float
    p50: float  #: milliseconds
    p99: float
    errors: int
    cpu: float = math.nan  #: microseconds of processor time a request


#: By competitor, then by the number of connections: the rounds.
Results = dict[str, dict[int, list[Result]]]


def measure(competitor: Competitor, connections: int, seconds: int, script: str = "report.lua") -> Result:
    """A run of wrk with one of the scripts of this directory."""
    url = f"http://{HOST}:{competitor.port}/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / script), url]
    before = processor_seconds(competitor.processes)
    result = parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    used = processor_seconds(competitor.processes) - before
    return replace(result, cpu=ratio(used * 1e6, result.requests * seconds))


def parse(output: str) -> Result:
    """What report.lua printed. Raises RuntimeError when it did not."""
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk printed no result: {output}")
    count, micros, p50, p99, errors = map(int, found.groups())
    return Result(count / micros * 1e6, p50 / 1000, p99 / 1000, errors)


#: The columns of a result: the head, the name in Result, and how it is shown.
COLUMNS = (
    ("req/s", "requests", ",.0f"),
    ("p50 ms", "p50", ".2f"),
    ("p99 ms", "p99", ".2f"),
    ("CPU µs/req", "cpu", ".0f"),
)


def compare(results: Results, connections: list[int]) -> str:
    """A markdown table for each number of connections: medians, and the ratio of the requests/s of each build of
    lbflask to those of the others.
    """
    ours = [name for name in (COMPILED, PYTHON) if name in results]
    return "\n\n".join(_table(results, ours, count) for count in connections)


def _table(results: Results, ours: list[str], count: int) -> str:
    head, names, styles = zip(*COLUMNS, strict=True)
    rows = []
    for name, by_connections in results.items():
        rounds = by_connections[count]
        medians = [statistics.median(map(attrgetter(what), rounds)) for what in names]
        shown = [format(median, style) for median, style in zip(medians, styles, strict=True)]
        times = {mine: median_ratio(results, mine, name, count, "requests") for mine in ours if mine != name}
        rows.append([name, *shown, *(f"{times[mine]:.2f} x" if mine in times else "" for mine in ours)])
    unit = "connection" if count == 1 else "connections"
    return table([f"{count} {unit}", *head, *(f"{mine} is" for mine in ours)], rows)


def median_ratio(results: Results, mine: str, other: str, connections: int, what: str) -> float:
    """The median of the ratios of the rounds."""
    pairs = zip(results[mine][connections], results[other][connections], strict=True)
    return statistics.median(ratio(getattr(one, what), getattr(two, what)) for one, two in pairs)


def run(entered: list[Competitor], rounds: int, seconds: int, connections: list[int]) -> Results:
    """All in turn; they must have been started."""
    results: Results = {c.name: {n: [] for n in connections} for c in entered}
    for competitor in entered:
        await_response(competitor.port)
        measure(competitor, 32, 1)  # warm
    for turn in range(rounds):
        for count in connections:
            for competitor in entered:
                result = measure(competitor, count, seconds)
                results[competitor.name][count].append(result)
                say(
                    f"round {turn + 1}, {count} connections, {competitor.name}: {result.requests:,.0f}/s,"
                    f" p99 {result.p99:.2f} ms, {result.cpu:.0f} us of processor time each, {result.errors} errors"
                )
    return results


@dataclass(frozen=True, slots=True)
class Target:
    """How a figure of lbflask is to relate to that of another."""

    mine: str
    what: str  #: of Result
    connections: int
    other: str
    times: float

    def check(self, results: Results) -> Check:
        """Against the results, in which both took part."""
        measured = median_ratio(results, self.mine, self.other, self.connections, self.what)
        said = f"{self.mine}: {WORDS[self.what]} at {self.connections} connections, against {self.other}"
        return Check(said, measured, self.times, "x", at_least=self.what == "requests")


WORDS = {"requests": "requests/s", "p50": "p50", "p99": "p99", "cpu": "processor time of a request"}
TARGETS = (
    Target(COMPILED, "requests", 32, BEFORE, 2.0),
    Target(COMPILED, "requests", 32, GO_TUNED, 1.5),
    Target(COMPILED, "requests", 128, GO_TUNED, 1.5),
    Target(COMPILED, "requests", 32, "nginx", 0.5),
    Target(COMPILED, "cpu", 32, GO_TUNED, 0.55),
    Target(COMPILED, "p99", 128, GO_TUNED, 1.3),
    Target(COMPILED, "p99", 128, BEFORE, 0.5),
    Target(COMPILED, "p50", 1, GO_TUNED, 1.0),
    Target(PYTHON, "requests", 32, BEFORE, 1.0),
    Target(PYTHON, "requests", 32, "aiohttp + uvloop", 1.2),
    Target(PYTHON, "requests", 128, "aiohttp + uvloop", 1.2),
    Target(PYTHON, "requests", 32, "Go ReverseProxy", 1.0),
    Target(PYTHON, "requests", 128, "Go ReverseProxy", 1.0),
    Target(PYTHON, "p99", 32, "Go ReverseProxy", 1.0),
    Target(PYTHON, "requests", 32, "Flask + requests + Redis", 8.0),
    Target(PYTHON, "requests", 128, "Flask + requests + Redis", 8.0),
    Target(PYTHON, "requests", 32, "lbflask, no log, no metrics", 0.9),
    Target(PYTHON, "requests", 128, "lbflask, no log, no metrics", 0.9),
)


def judge(results: Results) -> list[Check]:
    """Against those that took part."""

    def measured(target: Target) -> bool:
        return all(target.connections in results.get(name, {}) for name in (target.mine, target.other))

    ours = [rounds for name in (COMPILED, PYTHON) for rounds in results.get(name, {}).values()]
    failed = sum(result.errors for rounds in ours for result in rounds)
    checks = [target.check(results) for target in TARGETS if measured(target)]
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
    parser.add_argument("--only", default="", help="names of competitors beside lbflask, separated by ;")
    parser.add_argument("--before", type=Path, help="a checkout of another version, with its .venv")
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
        always = {COMPILED, PYTHON, BEFORE}
        entered = [c for c in competitors(backends, rig, given.before) if not wanted or c.name in {*always, *wanted}]
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
