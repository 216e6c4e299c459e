"""Static files against nginx: requests a second for a small and a large file, in turn on loopback, as ratios.

Needs wrk and nginx. Both serve the same directory with two workers and write an access log, nginx with `sendfile` and
without a cache of open files, as it is installed; lbflask takes part in each build that is here, and the compiled one
is held to the targets. wrk shares the two cores. The processor time is that of all processes of a server, divided by
its requests.

    python -m benchmarks.files [--rounds 5] [--seconds 3] [--connections 32]
"""

from __future__ import annotations

import os
import statistics
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks import proxies
from benchmarks.harness import WORKERS, Bench, await_response, bench, free_ports, need, processor_seconds
from benchmarks.proxies import Competitor
from benchmarks.throughput import Result, parse
from devtools.environment import HOST
from devtools.report import MIB, Check, conclude, options, ratio, say, table
from lbflask.build import Build

HERE = Path(__file__).parent
#: By the name of the file: its bytes, and the share of nginx's rate that is the target.
FILES = {"4 KiB": (4096, 0.5), "10 MiB": (10 * MIB, 0.7)}

#: By file, then by competitor: the rounds.
Results = dict[str, dict[str, list[Result]]]


def path_of(name: str) -> str:
    return name.replace(" ", "") + ".bin"


def entrants(rig: Bench, root: Path) -> list[Competitor]:
    """lbflask and nginx, which serve the directory."""
    config = rig.work / "files.toml"
    config.write_text(f'[[routes]]\nname = "files"\nfiles = "{root}"\n')
    (unused,), (port,) = free_ports(1), free_ports(1)
    server = (
        f"sendfile on; tcp_nopush on; server {{ listen {HOST}:{port}; access_log {rig.work}/nginx.log; location / {{"
        f" root {root};"
        " add_header X-Content-Type-Options nosniff; } }"
    )
    nginx = Competitor("nginx", [proxies.nginx_command(rig.work, "nginx-files", server, WORKERS)], port)
    return [*proxies.builds([unused], rig, CONFIG=str(config)), nginx]


def measure(one: Competitor, name: str, connections: int, seconds: int) -> Result:
    """A run of wrk for the file."""
    url = f"http://{HOST}:{one.port}/{path_of(name)}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "report.lua"), url]
    before = processor_seconds(one.processes)
    result = parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    used = processor_seconds(one.processes) - before
    return replace(result, cpu=ratio(used * 1e6, result.requests * seconds))


def run(entered: list[Competitor], rounds: int, seconds: int, connections: int) -> Results:
    """All in turn; they must have been started."""
    results: Results = {name: {one.name: [] for one in entered} for name in FILES}
    for one in entered:
        await_response(one.port)
        measure(one, "4 KiB", connections, 1)  # warm
    for turn, name, one in product(range(rounds), FILES, entered):
        result = measure(one, name, connections, seconds)
        results[name][one.name].append(result)
        say(
            f"round {turn + 1}, {name}, {one.name}: {result.requests:,.0f}/s, p99 {result.p99:.2f} ms,"
            f" {result.cpu:.0f} us of processor time each, {result.errors} errors"
        )
    return results


def against(by_name: dict[str, list[Result]], mine: str) -> float:
    """The median of the ratios of the rates to those of nginx, round by round."""
    pairs = zip(by_name[mine], by_name["nginx"], strict=True)
    return statistics.median(ratio(ours.requests, theirs.requests) for ours, theirs in pairs)


def judged(by_name: dict[str, list[Result]]) -> str:
    """The name of the build that is held to the targets."""
    compiled = proxies.BUILD_NAMES[Build.COMPILED]
    return compiled if compiled in by_name else proxies.BUILD_NAMES[Build.PYTHON]


def judge(results: Results) -> list[Check]:
    """Against the targets."""
    checks = [
        Check(f"{name}, against nginx", against(rounds, judged(rounds)), FILES[name][1], "x", at_least=True)
        for name, rounds in results.items()
    ]
    ours = (result for rounds in results.values() for result in rounds[judged(rounds)])
    return [*checks, Check("failed requests of lbflask", sum(result.errors for result in ours), 0)]


def show(results: Results) -> str:
    """A markdown table of the medians."""
    rows = []
    for name, by_name in results.items():
        for competitor, rounds in by_name.items():
            rate, p99, cpu = (
                statistics.median(getattr(one, what) for one in rounds) for what in ("requests", "p99", "cpu")
            )
            times = "" if competitor == "nginx" else f"{against(by_name, competitor):.2f} x"
            rows.append([name, competitor, f"{rate:,.0f}", times, f"{p99:.2f}", f"{cpu:,.0f}"])
    return table(["file", "", "req/s", "of nginx", "p99 ms", "CPU µs/req"], rows)


def main() -> None:
    parser = options(__doc__, "files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    rounds, seconds = (1, 1) if given.quick else (given.rounds, given.seconds)
    need("wrk", "nginx")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        root = rig.work / "root"
        root.mkdir()
        for name, (size, _) in FILES.items():
            file = root / path_of(name)
            file.write_bytes(os.urandom(size))
            os.utime(file, (1_700_000_000, 1_700_000_000))
        rig.work.chmod(0o711)  # for the workers of nginx
        entered = entrants(rig, root)
        for one in entered:
            stack.enter_context(one.started())
        results = run(entered, rounds, seconds, given.connections)
    print(show(results), end="\n\n")
    plain = {
        name: {one: [vars(result) for result in rounds] for one, rounds in by.items()} for name, by in results.items()
    }
    conclude(given, judge(results), {"results": plain})


if __name__ == "__main__":
    main()
