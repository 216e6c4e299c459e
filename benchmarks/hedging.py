"""Second attempts beside slow ones: what they take off the tail, and what they add to the load of the backends.

One of three backends lets a hundredth of its requests wait for a second. Clients send at a steady rate, in turn through
an lbflask without hedging and one with `retries.hedge = "p95"`, and the tails of both are compared.

    python -m benchmarks.hedging [--seconds 40] [--rate 300] [--json FILE]
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import proxies
from benchmarks.harness import bench, free_ports, running
from devtools.load_client import Connection
from devtools.report import Check, conclude, number, options, percentile, ratio, say, table

BACKENDS = 3
CHANCE, STALL = 1.0, 1.0
SEED = 7
#: Seconds of one turn, and of the first ones, in which the latency of the pool becomes known.
TURN = 5.0
CONNECTIONS = 64
#: The tail with hedging, as a part of that without, and the requests beside the first ones, as a part of all.
MOST_TAIL, MOST_LOAD = 0.2, 0.02

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclass
class Figures:
    """What clients and backends saw."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    begun: int = 0  #: at the backends

    @property
    def extra(self) -> float:
        """Requests of backends beyond those of clients, as a part of these."""
        return ratio(self.begun, len(self.seconds) + self.failed) - 1


async def drive(port: int, seconds: float, rate: float) -> Figures:
    """Requests at this rate; a connection that waits delays no other one."""
    found = Figures()
    free = [Connection(port) for _ in range(CONNECTIONS)]
    tasks = set[asyncio.Task[None]]()

    async def ask(connection: Connection) -> None:
        began = time.perf_counter()
        try:
            answer = await connection.send(REQUEST)
            found.failed += answer.status != 200
        except (OSError, EOFError):
            found.failed += 1
        found.seconds.append(time.perf_counter() - began)
        free.append(connection)

    begin = time.perf_counter()
    for sent in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, begin + sent / rate - time.perf_counter()))
        task = asyncio.create_task(ask(free.pop() if free else Connection(port)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return found


def begun(logs: list[Path]) -> int:
    """The requests that the backends have had."""
    return sum(log.stat().st_size for log in logs if log.exists())


def judge(without: Figures, hedged: Figures) -> list[Check]:
    """The targets."""
    tails = [percentile(one.seconds, 99.9) for one in (hedged, without)]
    return [
        Check("p99.9 with hedging, as a part of that without", ratio(*tails), MOST_TAIL),
        Check("requests to backends beside the first ones", hedged.extra, MOST_LOAD),
        Check("failed requests", without.failed + hedged.failed, 0),
    ]


def main() -> None:
    parser = options(__doc__, "hedging")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--rate", type=float, default=300.0)
    given = parser.parse_args()
    turns = 2 if given.quick else max(1, round(given.seconds / TURN))
    figures = {"off": Figures(), "p95": Figures()}
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        ports = free_ports(BACKENDS)
        logs = [rig.work / f"stalling-{port}.log" for port in ports]
        for index, (port, log) in enumerate(zip(ports, logs, strict=True)):
            chance = 0.0 if index else CHANCE
            module = [sys.executable, "-m", "benchmarks.backends.stalling"]
            stack.enter_context(running([[*module, str(port), str(log), str(chance), str(STALL), str(SEED)]], port))
        started = {}
        for hedge in figures:
            proxy = proxies.lbflask(ports, rig, hedge, RETRIES__HEDGE=hedge, NAMESPACE=hedge)
            stack.enter_context(proxy.started())
            started[hedge] = proxy.port
            asyncio.run(drive(proxy.port, TURN, given.rate))
        for _ in range(turns):
            for hedge, port in started.items():
                before, found = begun(logs), asyncio.run(drive(port, TURN, given.rate))
                one = figures[hedge]
                one.seconds += found.seconds
                one.failed += found.failed
                one.begun += begun(logs) - before
    rows = [
        [
            hedge,
            f"{len(one.seconds):,}",
            *(f"{number(1000 * percentile(one.seconds, percent))} ms" for percent in (50, 99, 99.9)),
            f"{100 * one.extra:.2f} %",
        ]
        for hedge, one in figures.items()
    ]
    say(table(["hedge", "requests", "p50", "p99", "p99.9", "more requests to backends"], rows))
    conclude(given, judge(figures["off"], figures["p95"]), {"table": rows})


if __name__ == "__main__":
    main()
