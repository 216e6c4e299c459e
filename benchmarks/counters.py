"""Compares the metrics with the counts of the load generator, over two instances of two workers.

Half of the requests, a worker is killed, the other half: all of them must be counted. Then a worker is killed during
requests: those without a response are not counted, and at most those that ended in its last 0.05 s are lost
(docs/metrics.md); their number is reported.

    python -m benchmarks.counters [--requests 20000] [--connections 32] [--json FILE]
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import bench, free_ports, need, running
from benchmarks.load import GET
from benchmarks.proxies import Competitor, lbflask, nginx_backends
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, table

#: Seconds until a worker has counted ended requests, with a margin.
COUNTED_AFTER = 2.0
#: Seconds for a new worker.
REPLACED_AFTER = 3.0


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


async def counted(admin_ports: list[int]) -> int:
    """The requests that the metrics count, over all instances and labels."""
    total = 0.0
    for port in admin_ports:
        connection = Connection(port)
        body = (await connection.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).body.decode()
        connection.close()
        for family in text_string_to_metric_families(body):
            if family.name == "lbflask_requests":
                total += sum(sample.value for sample in family.samples)
    return int(total)


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
    """Run the three parts."""
    found = {"answered, half": await drive(ports, count // 2, connections)}
    found["counted, half"] = await counted_finally(admins, found["answered, half"])
    kill_a_worker(master)
    await asyncio.sleep(REPLACED_AFTER)
    found["answered"] = found["answered, half"] + await drive(ports, count - count // 2, connections)
    found["counted"] = await counted_finally(admins, found["answered"])
    driven = asyncio.create_task(drive(ports, count // 2, connections))
    await asyncio.sleep(random.uniform(0.3, 0.6))
    kill_a_worker(master)
    found["answered, one killed in the midst"] = await driven
    found["counted, one killed in the midst"] = (
        await counted_finally(admins, found["counted"] + found["answered, one killed in the midst"]) - found["counted"]
    )
    return found


def judge(found: dict[str, int], count: int) -> list[Check]:
    midst = found["answered, one killed in the midst"] - found["counted, one killed in the midst"]
    return [
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
    parser.add_argument("--requests", type=int, default=20_000)
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
