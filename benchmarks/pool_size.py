"""The rate with a thousand backends relative to that with three, over the network, compared with other proxies.

With many backends each connection is rarely used: the data of the kernel, the backends and the proxy about it have left
the processor's caches. That costs every proxy, besides searches for each request and periodic work for all backends.
lbflask and HAProxy check the health of each backend every ten seconds; lbflask also counts by backend and reports to
the fleet, and must keep about as much of its rate.

Needs wrk and nginx (which plays the backends); Go and HAProxy take part where they are installed.

    python -m benchmarks.pool_size [--backends 1000] [--rounds 5] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, bench, free_ports, need, running
from benchmarks.proxies import Competitor, go_proxy, haproxy, here, lbflask, nginx, nginx_backends
from benchmarks.throughput import Result, run
from devtools.report import Check, conclude, options, ratio, table

FEW = 3
CONNECTIONS = 32
HAPROXY, GO = "HAProxy", "Go ReverseProxy"
#: The part of its rate that lbflask keeps, as a multiple of that of HAProxy. Runs differ by a tenth.
AS_MUCH = 0.9


def competitors(few: Sequence[int], many: Sequence[int], bench: Bench) -> dict[str, tuple[Competitor, Competitor]]:
    """Each proxy, by name, before few and before many backends, with room to keep a connection to each of them."""
    proxies: dict[str, Callable[[Sequence[int], Path], Competitor]] = {
        "lbflask": lambda backends, place: lbflask(backends, bench, NAMESPACE=place.name),
        "nginx": nginx,
    }
    if here("haproxy", shutil.which("haproxy")):
        proxies[HAPROXY] = partial(haproxy, check="check inter 10s")
    if here("go", shutil.which("go")):
        proxies[GO] = partial(go_proxy, name=GO, idle=256)

    def before(backends: Sequence[int], name: str) -> Competitor:
        place = bench.work / f"{len(backends)}-backends"
        place.mkdir(exist_ok=True)
        place.chmod(0o777)  # nginx's workers are another user
        return replace(proxies[name](backends, place), name=f"{name}, {len(backends):,} backends")

    return {name: (before(few, name), before(many, name)) for name in proxies}


def kept(few: Sequence[Result], many: Sequence[Result]) -> float:
    """The part of the rate that is left, round by round."""
    return statistics.median(ratio(b.requests, a.requests) for a, b in zip(few, many, strict=True))


def typical(rounds: Sequence[Result]) -> str:
    """The median of the rates."""
    return f"{statistics.median(one.requests for one in rounds):,.0f}"


def main() -> None:
    parser = options(__doc__, "pool_size")
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    given = parser.parse_args()
    rounds, seconds = (1, 1) if given.quick else (given.rounds, given.seconds)
    need("wrk", "nginx")
    with ExitStack() as stack:
        place = stack.enter_context(bench())
        backends = free_ports(given.backends)
        stack.enter_context(running([nginx_backends(backends, place.work)], backends[0]))
        pairs = competitors(backends[:FEW], backends, place)
        entered = [competitor for pair in pairs.values() for competitor in pair]
        for competitor in entered:
            stack.enter_context(competitor.started())
        found = run(entered, rounds, seconds, [CONNECTIONS])
    results = {name: [found[one.name][CONNECTIONS] for one in pair] for name, pair in pairs.items()}
    rates = {name: kept(*pair) for name, pair in results.items()}
    rows = [[name, *map(typical, pair), f"{rates[name]:.2f}"] for name, pair in results.items()]
    print(table(["", f"req/s with {FEW}", f"with {given.backends:,}", "kept"], rows), end="\n\n")
    failed = sum(result.errors for one in results["lbflask"] for result in one)
    checks = [Check("failed requests of lbflask", failed, 0)]
    if HAPROXY in rates:
        part = ratio(rates["lbflask"], rates[HAPROXY])
        checks.append(Check("what lbflask keeps, against what HAProxy keeps", part, AS_MUCH, "x", at_least=True))
    conclude(given, checks, {"kept": rates})


if __name__ == "__main__":
    main()
