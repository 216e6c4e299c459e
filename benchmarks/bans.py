"""How soon all workers of four instances refuse a client that is banned, by a command and by a rule, in ms.

Four instances of two workers share a private store; one connection to each worker asks on behalf of the client every
few milliseconds. The delay of a worker begins when the store has written the ban, by the clock of this machine, which
all of them share, and ends when that worker's first refusal has arrived. So it has up to one pause between two requests
in it, and the time of a request. A busy machine, with any load but this, makes it longer.

    python -m benchmarks.bans [--bans 50] [--json FILE]
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from benchmarks import proxies
from benchmarks.harness import WORKERS, Bench, await_response, bench, free_ports
from devtools.environment import HOST
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, percentile, table

INSTANCES = 4
#: ms within which all workers refuse the client.
TARGET = 50.0
#: Seconds between two requests of a connection, and until a worker counts as one that never refuses.
PAUSE, PATIENCE = 0.005, 5.0
#: Answers that the rule counts.
COUNT = 3
FILE = f"""
trusted_proxies = ["{HOST}"]
response_headers = {{ set = {{ X-Worker = "{{request_id}}" }} }}

[bans.login]
statuses = [401]
count = {COUNT}
within = "1m"
for = "1m"

[[routes]]
name = "login"
match = {{ path = "/login" }}
respond = {{ status = 401, body = "no" }}

[[routes]]
name = "all"
respond = {{ status = 200, body = "yes" }}
"""
BY_COMMAND, BY_RULE = "by a command", "by a rule"


@dataclass
class Delays:
    """The delays of each ban at all workers, in ms, by how it was given."""

    found: dict[str, list[list[float]]] = field(default_factory=lambda: {BY_COMMAND: [], BY_RULE: []})
    requests: list[float] = field(default_factory=list)  #: ms of requests of a client without a ban, for comparison

    def of(self, kind: str) -> list[float]:
        """Those of all bans."""
        return [delay for delays in self.found[kind] for delay in delays]

    def row(self, kind: str) -> list[str]:
        """As a line of the table."""
        slowest = [max(delays) for delays in self.found[kind]]
        figures = [percentile(self.of(kind), percent) for percent in (50, 99, 100)]
        return [kind, str(len(slowest)), *(f"{figure:.1f}" for figure in (*figures, percentile(slowest, 50)))]


def judge(delays: Delays) -> list[Check]:
    """The targets."""
    return [
        Check(f"{kind}, until {what}", percentile(delays.of(kind), percent), TARGET, "ms")
        for kind in delays.found
        for what, percent in (("a worker refuses, p50", 50), ("the last worker refuses, max", 100))
    ]


def instances(rig: Bench) -> list[proxies.Competitor]:
    """The instances, without checkers: no request needs a backend."""
    file = rig.work / "lbflask.toml"
    file.write_text(FILE)
    found = []
    for number in range(INSTANCES):
        one = proxies.lbflask(free_ports(1), rig, CONFIG=str(file), INSTANCE=f"i{number}", ACCESS_LOG="")
        one.commands = one.commands[:1]
        found.append(one)
    return found


def request(client: str, path: str = "/") -> bytes:
    """A request of the client."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {client}\r\n\r\n".encode()


async def worker_connections(port: int) -> list[Connection]:
    """A connection to each worker of the instance: ids of requests begin with what is the process's own."""
    found: dict[str, Connection] = {}
    others = []
    async with asyncio.timeout(30):
        while len(found) < WORKERS:
            connection = Connection(port)
            response = await connection.send(request("192.0.2.1"))
            worker = response.fields["x-worker"].partition("-")[0]
            if found.setdefault(worker, connection) is not connection:
                others.append(connection)
            await asyncio.sleep(0.01)
    for connection in others:
        connection.close()
    return list(found.values())


async def refused_at(connection: Connection, client: str) -> float:
    """When the worker refuses the client, in seconds since the epoch. Raises TimeoutError if it does not."""
    async with asyncio.timeout(PATIENCE):
        while (await connection.send(request(client))).status != 403:
            await asyncio.sleep(PAUSE)
    return time.time()


async def delays_of(
    connections: Sequence[Connection], admin: Connection, client: str, ban: Callable[[], Awaitable[None]]
) -> list[float]:
    """The delay of each worker, while `ban` makes the last step."""
    step = asyncio.ensure_future(ban())
    found = await asyncio.gather(*(refused_at(one, client) for one in connections))
    await step
    written = await written_at(admin, client)
    return [(refused - written) * 1000 for refused in found]


async def written_at(admin: Connection, client: str) -> float:
    """When the ban of the client was written, by the store's clock."""
    response = await admin.send(f"GET /api/v1/bans HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return next(float(ban["since"]) for ban in json.loads(response.body)["bans"] if ban["network"] == client)


async def command(admin: Connection, client: str) -> None:
    """Ban the client by the admin API. Raises RuntimeError if that fails."""
    body = json.dumps({"network": client, "seconds": 60}).encode()
    head = (
        f"POST /api/v1/bans HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    response = await admin.send(head.encode() + b"\r\n\r\n" + body)
    if response.status != 200:
        raise RuntimeError(f"the ban was refused: {response.status} {response.body[:200]!r}")


async def attempt(attacker: Connection, client: str) -> None:
    """An answer that the rule counts."""
    await attacker.send(request(client, "/login"))


async def measured(ports: Sequence[int], admin_ports: Sequence[int], count: int) -> Delays:
    """Give so many bans of each kind, in turns, each at the next instance."""
    by_instance = [await worker_connections(port) for port in ports]
    connections = [one for those in by_instance for one in those]
    delays = Delays()
    for connection in connections:
        for _ in range(10):
            began = time.perf_counter()
            await connection.send(request("192.0.2.1"))
            delays.requests.append((time.perf_counter() - began) * 1000)
    for number in range(count):
        place = number % len(ports)
        admin, attacker = Connection(admin_ports[place]), Connection(ports[place])
        client = f"198.18.{number // 250}.{number % 250 + 1}"
        delays.found[BY_COMMAND].append(await delays_of(connections, admin, client, partial(command, admin, client)))
        client = f"198.19.{number // 250}.{number % 250 + 1}"
        for _ in range(COUNT - 1):
            await attempt(attacker, client)
        delays.found[BY_RULE].append(await delays_of(connections, admin, client, partial(attempt, attacker, client)))
        admin.close()
        attacker.close()
    for connection in connections:
        connection.close()
    return delays


def main() -> None:
    parser = options(__doc__, "bans")
    parser.add_argument("--bans", type=int, default=50, help="of each kind")
    given = parser.parse_args()
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        found = instances(rig)
        for one in found:
            stack.enter_context(one.started())
        for one in found:
            await_response(one.port)
        admin_ports = [int(one.environ["LBFLASK_ADMIN_BIND"].rpartition(":")[2]) for one in found]
        delays = asyncio.run(measured([one.port for one in found], admin_ports, 4 if given.quick else given.bans))
    titles = ["ms", "bans", "p50 of workers", "p99", "max", "p50 until all workers"]
    usual = percentile(delays.requests, 50)
    print(
        f"{INSTANCES} instances of {WORKERS} workers, on {os.cpu_count()} cores; a request takes {usual:.1f} ms (p50)"
    )
    print(table(titles, [delays.row(kind) for kind in delays.found]), end="\n\n")
    conclude(given, judge(delays), {"delays": delays.found, "requests": delays.requests})


if __name__ == "__main__":
    main()
