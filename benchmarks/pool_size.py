"""The rate with a thousand backends relative to that with three, over the network: by strategy, and of other proxies.

With many backends each connection is rarely used: the data of the kernel, the backends and the proxy about it have left
the processor's caches. That costs every proxy, besides searches for each request and periodic work for all backends.
lbflask and HAProxy check the health of each backend every ten seconds; lbflask also counts by backend and reports to
the fleet.

One proxy runs at a time, with few backends and then with many, round by round; each gets time to open its connections.
The processor time of a request is that of all processes of the proxy, so it contains the periodic work.

Needs wrk and nginx (which plays the backends); Go and HAProxy take part where they are installed.

    python -m benchmarks.pool_size [--backends 1000] [--rounds 5] [--seconds 3] [--only NAME;NAME] [--json FILE]
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.harness import Bench, bench, free_ports, need, running
from benchmarks.proxies import BUILD_NAMES, Competitor, go_proxy, haproxy, here, lbflask, nginx, nginx_backends
from benchmarks.throughput import Result, measure
from devtools.builds import python_commands
from devtools.environment import HOST
from devtools.report import Check, conclude, options, ratio, say, table
from devtools.wait import PATIENCE, eventually

FEW = 3
CONNECTIONS = 32
#: Before a proxy is measured it checks its backends, opens its connections and computes what it needs for the paths:
#: for some seconds, and for some requests.
WARM_SECONDS, WARM_REQUESTS, WARM_TURNS = 3, 20_000, 10
#: The part of its rate that lbflask keeps.
KEPT = 0.9

#: The settings of each strategy.
STRATEGIES = {
    "round_robin": {},
    "least_connections": {"STRATEGY": "least_connections"},
    "random_two": {"STRATEGY": "random_two"},
    "consistent_hash": {"STRATEGY": "consistent_hash", "HASH__KEY": "uri"},
    "first": {"STRATEGY": "first"},
}


@dataclass
class Rounds:
    """The rounds of one proxy before few and before many backends."""

    few: list[Result]
    many: list[Result]

    @property
    def kept(self) -> float:
        """The part of the rate that is left, round by round."""
        return self._times("requests")

    @property
    def costs(self) -> float:
        """The processor time of a request, as a multiple, round by round."""
        return self._times("cpu")

    def _times(self, what: str) -> float:
        rounds = zip(self.few, self.many, strict=True)
        return statistics.median(ratio(getattr(many, what), getattr(few, what)) for few, many in rounds)

    def row(self) -> list[str]:
        """The medians, and what is kept."""
        rates = [f"{statistics.median(one.requests for one in those):,.0f}" for those in (self.few, self.many)]
        times = [f"{statistics.median(one.cpu for one in those):.1f}" for those in (self.few, self.many)]
        return [*rates, f"{self.kept:.2f}", *times, f"{self.costs:.2f}"]


def proxies(bench: Bench) -> dict[str, Callable[[Sequence[int], Path], Competitor]]:
    """How each proxy is made before some backends, by name, with room to keep a connection to each of them."""
    found: dict[str, Callable[[Sequence[int], Path], Competitor]] = {}
    for build, python in python_commands().items():
        for strategy, settings in STRATEGIES.items():
            found[f"{BUILD_NAMES[build]}, {strategy}"] = lambda backends, place, python=python, settings=settings: (
                lbflask(backends, bench, "", python, NAMESPACE=place.name, **settings)
            )
    found["nginx"] = nginx
    if here("haproxy", shutil.which("haproxy")):
        found["HAProxy"] = partial(haproxy, check="check inter 10s")
    if here("go", shutil.which("go")):
        found["Go ReverseProxy"] = partial(go_proxy, name="", idle=256)
    return found


def answers(port: int) -> bool:
    """Whether the proxy has a worker that serves. Raises OSError."""
    connection = HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def turn(competitor: Competitor, seconds: int) -> Result:
    """One measurement of a proxy that runs alone."""
    with competitor.started():
        eventually(lambda: answers(competitor.port), f"{competitor.name} answers")
        warm, turns = 0.0, 0
        while warm < WARM_REQUESTS and turns < WARM_TURNS:
            warm += measure(competitor, CONNECTIONS, WARM_SECONDS, "many_paths.lua").requests * WARM_SECONDS
            turns += 1
        result = measure(competitor, CONNECTIONS, seconds, "many_paths.lua")
    say(f"{competitor.name}: {result.requests:,.0f}/s, {result.cpu:.1f} µs of processor time, {result.errors} errors")
    return result


def compare(
    rig: Bench, few: Sequence[int], many: Sequence[int], given: tuple[int, int], only: str
) -> dict[str, Rounds]:
    """The rounds of each proxy, or of those that are named."""
    rounds, seconds = given
    wanted = [name for name in only.split(";") if name]
    makers = {name: make for name, make in proxies(rig).items() if not wanted or name in wanted}
    found = {name: Rounds([], []) for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            for backends, results in ((few, found[name].few), (many, found[name].many)):
                place = rig.work / f"{len(backends)}-backends"
                place.mkdir(exist_ok=True)
                place.chmod(0o777)  # nginx's workers are another user
                competitor = replace(make(backends, place), name=f"{name}, {len(backends):,} backends")
                results.append(turn(competitor, seconds))
    return found


def judge(found: dict[str, Rounds]) -> list[Check]:
    ours = {name: rounds for name, rounds in found.items() if name.startswith(tuple(BUILD_NAMES.values()))}
    failed = sum(result.errors for rounds in ours.values() for result in (*rounds.few, *rounds.many))
    kept = [Check(f"{name}: kept of the rate", rounds.kept, KEPT, "x", at_least=True) for name, rounds in ours.items()]
    return [*kept, Check("failed requests of lbflask", failed, 0)]


def main() -> None:
    parser = options(__doc__, "pool_size")
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of proxies, as in the table, separated by ;")
    given = parser.parse_args()
    how = (1, 1) if given.quick else (given.rounds, given.seconds)
    need("wrk", "nginx")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        backends = free_ports(given.backends)
        stack.enter_context(running([nginx_backends(backends, rig.work)], backends[0]))
        found = compare(rig, backends[:FEW], backends, how, given.only)
    head = ["", f"req/s with {FEW}", f"with {given.backends:,}", "kept", f"CPU µs/req with {FEW}"]
    head += [f"with {given.backends:,}", "times"]
    print(table(head, [[name, *rounds.row()] for name, rounds in found.items()]), end="\n\n")
    conclude(given, judge(found), {"rounds": {name: asdict(rounds) for name, rounds in found.items()}})


if __name__ == "__main__":
    main()
