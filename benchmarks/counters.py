"""Compares the metrics with the counts of the load generator, over two instances of two workers.

Half of the requests, a worker is killed, the other half: all of them must be counted. Then a worker is killed during
requests: those without a response are not counted, and at most those that ended in its last 0.05 s are lost
(docs/metrics.md); their number is reported.

Before that, one instance gets 1,000 requests a second for each worker. Its round trips to the store, of whatever kind,
are counted by its own metrics, and compared with its responses.

    python -m benchmarks.counters [--requests 20000] [--connections 32] [--json FILE]
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import cycle

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import WORKERS, bench, free_ports, need, running
from benchmarks.load import GET
from benchmarks.load import run as open_load
from benchmarks.proxies import Competitor, lbflask, nginx_backends
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, ratio, table

#: Requests of a whole run.
FULL = 20_000
#: Seconds until a worker has counted ended requests, with a margin.
COUNTED_AFTER = 2.0
#: Seconds for a new worker.
REPLACED_AFTER = 3.0
#: Requests a second of a worker, for so many seconds, and the round trips to the store that each may cost.
STEADY, STEADY_FOR, TRIPS_EACH = 1000, 10.0, 0.005
#: The part of these requests that has to be answered in time: on a machine that is too busy for it, the trips show
#: nothing.
KEPT_UP = 0.95


async def send(port: int, numbers: Iterator[int], answered: list[int]) -> None:
    """The requests of one connection; records those that got a response."""
    connection = Connection(port)
    for number in numbers:
        try:
            if (await connection.send(GET)).status == 200:
                answered.append(number)
        except (OSError, EOFError):
            pass
    connection.close()


async def drive(ports: list[int], count: int, connections: int) -> int:
    """Send the requests. Returns the number that got a response."""
    answered: list[int] = []
    numbers = iter(range(count))
    await asyncio.gather(*(send(port, numbers, answered) for port, _ in zip(cycle(ports), range(connections))))
    return len(answered)


async def total(admin_ports: list[int], names: Collection[str]) -> int:
    """The sum of the samples of these names, over all instances and labels."""
    found = 0.0
    for port in admin_ports:
        connection = Connection(port)
        body = (await connection.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).body.decode()
        connection.close()
        for family in text_string_to_metric_families(body):
            found += sum(sample.value for sample in family.samples if sample.name in names)
    return int(found)


async def counted(admin_ports: list[int]) -> int:
    """The requests that the metrics count."""
    return await total(admin_ports, {"lbflask_requests_total"})


async def steady(port: int, admin: int, seconds: float) -> dict[str, int]:
    """The responses of an instance at a steady rate, and its trips to the store meanwhile."""
    trips = {"lbflask_store_duration_seconds_count", "lbflask_store_failures_total"}
    load = asyncio.create_task(open_load(port, STEADY * WORKERS, seconds + 2 * COUNTED_AFTER))
    await asyncio.sleep(COUNTED_AFTER)  # a machine that begins takes its first tickets one by one
    answers, made = await counted([admin]), await total([admin], trips)
    await asyncio.sleep(seconds)
    answers, made = await counted([admin]) - answers, await total([admin], trips) - made
    await load
    return {f"answered at {STEADY:,}/s a worker": answers, "round trips to the store meanwhile": made}


async def counted_finally(admin_ports: list[int], expected: int) -> int:
    """The count, as soon as it is as expected, else after a while."""
    until = time.monotonic() + COUNTED_AFTER
    while (found := await counted(admin_ports)) != expected and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return found


def kill_a_worker(master: int) -> None:
    """The first one, at once."""
    with open(f"/proc/{master}/task/{master}/children") as children:  # noqa: PTH123 - a file of the kernel's
        os.kill(int(children.read().split()[0]), signal.SIGKILL)


async def run(ports: list[int], admins: list[int], master: int, count: int, connections: int) -> dict[str, int]:
    """Run the four parts."""
    seconds = STEADY_FOR * count / FULL
    found = {"due at a steady rate": int(STEADY * WORKERS * seconds), **await steady(ports[0], admins[0], seconds)}
    await asyncio.sleep(COUNTED_AFTER)
    first = await counted(admins)
    found["answered, half"] = await drive(ports, count // 2, connections)
    found["counted, half"] = await counted_finally(admins, first + found["answered, half"]) - first
    kill_a_worker(master)
    await asyncio.sleep(REPLACED_AFTER)
    found["answered"] = found["answered, half"] + await drive(ports, count - count // 2, connections)
    found["counted"] = await counted_finally(admins, first + found["answered"]) - first
    driven = asyncio.create_task(drive(ports, count // 2, connections))
    await asyncio.sleep(random.uniform(0.3, 0.6))
    kill_a_worker(master)
    found["answered, one killed in the midst"] = await driven
    found["counted, one killed in the midst"] = (
        await counted_finally(admins, first + found["counted"] + found["answered, one killed in the midst"])
        - first
        - found["counted"]
    )
    return found


def judge(found: dict[str, int], count: int) -> list[Check]:
    answered = found[f"answered at {STEADY:,}/s a worker"]
    in_time = ratio(answered, found["due at a steady rate"])
    trips = ratio(found["round trips to the store meanwhile"], answered)
    midst = found["answered, one killed in the midst"] - found["counted, one killed in the midst"]
    return [
        Check("answered in time at a steady rate, of those due", in_time, KEPT_UP, at_least=True),
        Check(f"round trips to the store for a request at {STEADY:,}/s a worker", trips, TRIPS_EACH),
        Check("answered", found["answered"], count, at_least=True),
        Check("miscounted, with a worker killed at rest", abs(found["answered"] - found["counted"]), 0),
        Check("of those with a worker killed in the midst, not counted", abs(midst), count // 20),
    ]


def two_instances(backends: list[int], rig: object) -> tuple[list[Competitor], list[int]]:
    """And their admin ports."""
    admins = free_ports(2)
    found = [
        lbflask(backends, rig, f"lbflask {number}", ADMIN_BIND=f"127.0.0.1:{admin}")  # type: ignore[arg-type]
        for number, admin in enumerate(admins)
    ]
    return found, admins


def main() -> None:
    parser = options(__doc__, "counters")
    parser.add_argument("--requests", type=int, default=FULL)
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    count = 2_000 if given.quick else given.requests
    need("nginx")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        backends = free_ports(3)
        stack.enter_context(running([nginx_backends(backends, rig.work)], backends[0]))
        instances, admins = two_instances(backends, rig)
        masters = [stack.enter_context(instance.started()) for instance in instances]
        ports = [instance.port for instance in instances]
        found = asyncio.run(run(ports, admins, masters[0], count, given.connections))
    print(table(["", "requests"], [[name, f"{value:,}"] for name, value in found.items()]), end="\n\n")
    conclude(given, judge(found, count), found)


if __name__ == "__main__":
    main()
