"""The cost of a request with a thousand backends and with three: the whole hot path, by strategy.

As in `benchmarks.hot_path`, canned bytes stand for the client and the backends. The two are timed in turn, in short
runs, and their best runs are compared, so that a drift of the machine's speed affects both. Requests have many
different keys, and backends have requests in flight.

A strategy may cost a twentieth of a request more. A thousand backends also cost more because the data of each have
left the processor's caches, most of all when consecutive requests go to backends in no order. That depends on the
machine and its other load, so it is reported without a target; `benchmarks.pool_size` compares it with the loss of
other proxies.

    python -m benchmarks.many_backends [--backends 1000] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, cycle
from typing import Any

from benchmarks.hot_path import Rig, micros
from devtools.report import Check, conclude, options, ratio, table
from lbflask.core.model import Override
from lbflask.core.strategies import strategy_of

FEW = 3
#: How many different keys the requests have.
KEYS = 4096
#: What a choice may cost more, as a part of a request to one of three.
MORE = 0.05

#: By what to call it: whether weights differ, and the settings.
STRATEGIES: dict[str, tuple[bool, dict[str, str]]] = {
    "round_robin": (False, {}),
    "round_robin, weights 1 to 3": (True, {}),
    "least_connections": (False, {"STRATEGY": "least_connections"}),
    "least_connections, weights 1 to 3": (True, {"STRATEGY": "least_connections"}),
    "random_two": (False, {"STRATEGY": "random_two"}),
    "consistent_hash": (False, {"STRATEGY": "consistent_hash", "HASH__KEY": "uri"}),
    "consistent_hash, weights 1 to 3": (True, {"STRATEGY": "consistent_hash", "HASH__KEY": "uri"}),
    "consistent_hash, load_factor 1.25": (
        False,
        {"STRATEGY": "consistent_hash", "HASH__KEY": "uri", "HASH__LOAD_FACTOR": "1.25"},
    ),
    "first": (False, {"STRATEGY": "first"}),
}


def rig_of(backends: int, weights_differ: bool, settings: dict[str, str]) -> Rig:
    """A worker before so many backends, of which every second has requests in flight."""
    urls = [f"http://10.0.{number // 250}.{number % 250}:80" for number in range(backends)]
    rig = Rig(backends=urls, paths=KEYS, **settings)
    pool = rig.fleet.pools["default"]
    names = [url.removeprefix("http://") for url in urls]
    if weights_differ:
        overrides = {name: Override(weight=1 + number % 3) for number, name in enumerate(names)}
        pool.set_snapshot(replace(pool.snapshot, overrides=overrides))
    for number, name in enumerate(names):
        for _ in range(number % 2):
            pool.traffic.began(name)
    return rig


def choice(rig: Rig) -> Callable[[], Any]:
    """The choice alone, with its input: schedule, loads, and the first backend of the order."""
    balancer = rig.plane.front.handler.balancer
    traffic, by_loads = rig.fleet.traffic("default"), strategy_of(balancer.pool).by_loads
    keys = cycle([f"/path?query={number}" for number in range(1, KEYS + 1)])
    tickets = count()

    def choose() -> None:
        if by_loads:
            backend = next(balancer.schedule().order(next(tickets), next(keys), traffic.live_loads())).id
        else:
            backend = next(balancer.schedule().order(next(tickets), next(keys))).id
        traffic.began(backend)
        traffic.ended(backend)

    return choose


def best(few: Callable[[], Any], many: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Microseconds of both, timed in turn."""
    for step in (few, many):
        micros(step, 1, 2 * KEYS)  # connections opened, circles drawn
    runs = [(micros(few, 1), micros(many, 1)) for _ in range(rounds)]
    return min(cost for cost, _ in runs), min(cost for _, cost in runs)


def main() -> None:
    parser = options(__doc__, "many_backends")
    parser.add_argument("--backends", type=int, default=1000)
    given = parser.parse_args()
    rounds, many = (2 if given.quick else 30), given.backends
    rows, checks, numbers = [], [], {}
    for name, (weights_differ, settings) in STRATEGIES.items():
        few_rig, many_rig = (rig_of(number, weights_differ, settings) for number in (FEW, many))
        whole = best(few_rig.serve, many_rig.serve, rounds)
        alone = best(choice(few_rig), choice(many_rig), rounds)
        numbers[name] = {"request": whole, "choice": alone}
        more = ratio(whole[1] - whole[0], whole[0])
        costs = [*(f"{cost:.2f}" for cost in alone), *(f"{cost:.1f}" for cost in whole)]
        rows.append([name, *costs, f"{100 * more:.0f} %"])
        chosen = ratio(alone[1] - alone[0], whole[0])
        checks.append(Check(f"{name}: what the choice costs more, of a request", 100 * chosen, 100 * MORE, "%"))
    head = ["", f"choice of {FEW}, µs", f"of {many:,}", f"request to one of {FEW}, µs", f"of {many:,}", "more"]
    print(table(head, rows), end="\n\n")
    conclude(given, checks, {"µs": numbers})


if __name__ == "__main__":
    main()
