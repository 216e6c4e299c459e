"""The shares of backends when several processes balance as one: exact turns, and less for a slow backend.

Turns: weights of 5 to 3 to 2, two instances of two workers on one store, 32 connections. Each backend must get its
share of the requests, to within one for each instance.

Loads: `least_connections` over four instances of one worker, and a backend that takes ten times as long as the others.
It must get at most a fifth of an equal share with 32 connections. Then each of the same instances has a separate
namespace, and balances by its own requests in flight, as most balancers do. The result is reported for comparison, and
must be worse with 16 connections, when a worker has fewer requests than there are backends.

    python -m benchmarks.shares [--requests 10000] [--json FILE]
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

from benchmarks.harness import Bench, bench, free_ports, running
from benchmarks.load import GET
from benchmarks.proxies import Competitor, lbflask
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, ratio, say, table

CONNECTIONS = 32
#: Requests in flight at once, shared by load; with few, shared loads differ most from separate ones.
MANY, FEW = 32, 16
WEIGHTS = (5, 3, 2)
INSTANCES = 2
#: Requests by which a backend may miss its share: one for each instance.
ASTRAY = INSTANCES

#: Seconds that a request takes at the backends that share by load; at the last one ten times as many.
FAST = 0.01
BACKENDS = 8
PROCESSES = 4
#: The part of an equal share that the slow one may get.
SPARED = 0.2


@contextmanager
def backends(seconds: Sequence[float]) -> Iterator[list[int]]:
    """The ports of backends that take so many seconds each."""
    ports = free_ports(len(seconds))
    named = [f"{port}:{time}" for port, time in zip(ports, seconds, strict=True)]
    with running([[sys.executable, "-m", "benchmarks.backends.named", *named]], ports[-1]):
        yield ports


def instance(rig: Bench, ports: Sequence[int], weights: Sequence[int] = (), **settings: str) -> Competitor:
    """An instance without a checker, so that all backends serve from the first request on."""
    entered = lbflask(ports, rig, ACCESS_LOG="", **settings)
    if weights:
        path = rig.work / "weights.toml"
        listed = [f'{{ url = "http://127.0.0.1:{p}", weight = {w} }}' for p, w in zip(ports, weights, strict=True)]
        path.write_text(f"backends = [{', '.join(listed)}]\n")
        entered.environ["LBFLASK_CONFIG"] = str(path)
        del entered.environ["LBFLASK_BACKENDS"]
    del entered.commands[1:]
    return entered


async def send(ports: Sequence[int], requests: int, connections: int = CONNECTIONS) -> Counter[int]:
    """The number of responses by backend, 0 for failures, over connections to all ports at once."""
    served: Counter[int] = Counter()
    turns = count()

    async def client(port: int) -> None:
        connection = Connection(port)
        while next(turns) < requests:
            try:
                answer = await connection.send(GET)
                served[int(answer.body) if answer.status == 200 else 0] += 1
            except (OSError, EOFError):
                served[0] += 1
        connection.close()

    await asyncio.gather(*(client(ports[number % len(ports)]) for number in range(connections)))
    return served


def turns(rig: Bench, requests: int) -> list[int]:
    """The requests of each backend by weight, and at the end the number that failed."""
    with ExitStack() as stack:
        ports = stack.enter_context(backends([0.0] * len(WEIGHTS)))
        instances = [instance(rig, ports, WEIGHTS, NAMESPACE="turns") for _ in range(INSTANCES)]
        for one in instances:
            stack.enter_context(one.started())
        served = asyncio.run(send([one.port for one in instances], requests))
    return [served[port] for port in (*ports, 0)]


def loads(rig: Bench, requests: int, connections: int, *, together: bool) -> list[int]:
    """The requests of each backend by load, with the slow one last, and then the number that failed."""
    with ExitStack() as stack:
        ports = stack.enter_context(backends([FAST] * (BACKENDS - 1) + [10 * FAST]))
        instances = [
            instance(rig, ports, STRATEGY="least_connections", NAMESPACE="together" if together else f"alone-{number}")
            for number in range(PROCESSES)
        ]
        for one in instances:
            one.environ["WEB_CONCURRENCY"] = "1"
            one.commands[0][one.commands[0].index("--workers") + 1] = "1"
            stack.enter_context(one.started())
        served = asyncio.run(send([one.port for one in instances], requests, connections))
    return [served[port] for port in (*ports, 0)]


def spared(served: Sequence[int]) -> float:
    """The requests of the slow backend, as a part of an equal share."""
    return ratio(served[-2], sum(served[:-1]) / (len(served) - 1))


def judge(
    by_turn: Sequence[int], together: Mapping[int, Sequence[int]], alone: Mapping[int, Sequence[int]]
) -> list[Check]:
    """The checks. By load for each number of connections; the lists end with the number of failed requests."""
    requests = sum(by_turn[:-1])
    astray = max(abs(got - requests * part / sum(WEIGHTS)) for got, part in zip(by_turn, WEIGHTS, strict=False))
    return [
        Check(f"requests by which the weights {':'.join(map(str, WEIGHTS))} are missed", astray, ASTRAY),
        Check(f"what a slow backend gets at {MANY} connections, of an equal share", spared(together[MANY]), SPARED),
        Check(
            f"the same at {FEW}, against processes that count only their own requests",
            ratio(spared(together[FEW]), spared(alone[FEW])),
            1.0,
            "x",
        ),
        Check("failed requests", by_turn[-1] + sum(served[-1] for served in together.values()), 0),
    ]


def compare(together: Mapping[int, Sequence[int]], alone: Mapping[int, Sequence[int]]) -> str:
    """The shares by the loads of the fleet, and by those of each process."""
    rows = []
    for scope, by_connections in (("of the fleet", together), ("of each process", alone)):
        for connections, served in by_connections.items():
            fast = sum(served[:-2]) / (len(served) - 2)
            rows.append([scope, f"{connections}", f"{fast:,.0f}", f"{served[-2]:,}", f"{spared(served):.3f}"])
    return table(["by the loads", "connections", "a fast backend gets", "the slow one", "of an equal share"], rows)


def main() -> None:
    parser = options(__doc__, "shares")
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    requests = 2000 if given.quick else given.requests
    with bench() as rig:
        say(f"turns: {requests} requests")
        by_turn = turns(rig, requests)
        say("loads of the fleet")
        together = {number: loads(rig, requests * number // MANY, number, together=True) for number in (MANY, FEW)}
        say("loads of each process")
        alone = {number: loads(rig, requests * number // MANY, number, together=False) for number in (MANY, FEW)}
    print(table(["weight", "requests"], [[str(w), f"{got:,}"] for w, got in zip(WEIGHTS, by_turn, strict=False)]))
    print(compare(together, alone), end="\n\n")
    numbers = {"turns": by_turn, "loads of the fleet": together, "loads of each process": alone}
    conclude(given, judge(by_turn, together, alone), numbers)


if __name__ == "__main__":
    main()
