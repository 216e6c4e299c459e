"""The footprint of one instance: its start, memory of its processes, of a connection and of a backend, and its use of
the store.

Starts are measured in turns, without the time in which a process was ready and had no processor. An instance of two
workers and a checker serves a pool of three backends, then another one a pool of many. Each is measured at rest and
under a steady rate of requests; a third one holds idle client connections that have had one response each. Memory is
PSS: pages that processes share count once in all, and buffers of the kernel do not count; of a worker also USS, which
one more worker adds, and RSS. Round trips and bytes of the store are those that it counts itself.

    python -m benchmarks.footprint [--backends 1000] [--connections 2000] [--rate 400] [--seconds 25] [--json FILE]
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import redis

from benchmarks import load, proxies
from benchmarks.harness import WORKERS, Bench, bench, free_ports, need, proportional, resident, running, serving
from benchmarks.start import START_HEAD, Start, first_probe, first_response, typical
from benchmarks.streams import opened
from devtools.environment import HOST
from devtools.memory import read_memory
from devtools.report import KIB, MIB, Check, conclude, options, ratio, say, table

FEW = 3
#: Seconds until the processes have done what they do once, after a start or a change of the load.
SETTLE = 3.0
#: Seconds until unused connections to backends are closed.
CLOSED_AFTER = 5.0
#: Requests a second before idle connections are opened, so that what happens once has happened.
WARM_RATE = 50.0
#: Starts that are measured, after one that writes bytecode.
STARTS = 7
#: Targets: seconds until the first response; MiB of a worker, PSS and USS; KiB and descriptors of an idle client
#: connection; round trips a second at rest.
START = 1.0
WORKER_MIB = 50
UNIQUE_MIB = 35
CONNECTION_KIB = 32
DESCRIPTORS = 1.1
TRIPS = 20


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run: backends of the large pool, idle connections, requests a second, seconds of each step, and
    starts.
    """

    backends: int
    connections: int
    rate: float
    seconds: float
    starts: int = STARTS


@dataclass(frozen=True, slots=True)
class Footprint:
    """The figures of an instance. Bytes, and round trips to the store in a second."""

    backends: int
    master: int
    worker: int  #: one of the workers, after requests
    unique: int  #: what none of its pages shares with another process
    resident: int  #: what `ps` shows of it
    checker: int
    at_rest: float  #: round trips to the store a second
    busy: float  #: the same under the rate
    stored: int  #: bytes of the store
    failed: int  #: requests without a response

    def row(self) -> list[str]:
        """As a line of a table."""
        processes = (self.master, self.worker, self.unique, self.resident, self.checker)
        sizes = [f"{size / MIB:.1f}" for size in processes]
        rates = [f"{rate:.0f}" for rate in (self.at_rest, self.busy)]
        return [f"{self.backends:,}", *sizes, *rates, f"{self.stored / KIB:.0f}"]


@dataclass(frozen=True, slots=True)
class IdleConnections:
    """What each idle client connection costs the workers, and the number of those that got no response."""

    memory: float  #: bytes
    descriptors: float
    refused: int


@dataclass(frozen=True, slots=True)
class Starts:
    """The starts of an instance until the first response, and of a checker until its first probe."""

    response: Start
    probe: Start


HEAD = ["backends", "master MiB", "a worker MiB", "its USS", "its RSS", "checker MiB"]
HEAD += ["trips to the store/s at rest", "under the rate", "KiB in the store"]


class StoreMeter:
    """What the store counts: the round trips of its clients, and the bytes of the keys of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._keys = f"{{{namespace}:*"

    @property
    def stored(self) -> int:
        """Bytes of all keys."""
        return sum(int(self._client.memory_usage(key) or 0) for key in self._client.scan_iter(self._keys))

    @property
    def trips(self) -> int:
        """Reads of requests from all clients so far, this one included."""
        return int(self._client.info("stats")["total_reads_processed"])

    def trips_per_second(self, seconds: float) -> float:
        """The rate of the round trips of other clients in the next seconds."""
        before, begun = self.trips, time.monotonic()
        time.sleep(seconds)
        return ratio(self.trips - before - 1, time.monotonic() - begun)


def unique(process: int) -> int:
    """Bytes of the pages that the process shares with no other one."""
    return read_memory(process).unique


def descriptors(processes: Sequence[int]) -> int:
    """The number of open files of the processes."""
    return sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in processes)


async def hold_idle(port: int, count: int, workers: Sequence[int]) -> IdleConnections:
    """Open so many connections with one request each, and compare the workers before and after."""
    await load.run(port, WARM_RATE, SETTLE)
    await asyncio.sleep(CLOSED_AFTER)
    memory, files = proportional(workers), descriptors(workers)
    connections = await opened(port, count, lambda: load.GET, b"200")
    await asyncio.sleep(CLOSED_AFTER)
    grown, more = proportional(workers) - memory, descriptors(workers) - files
    for connection in connections:
        connection.close()
    return IdleConnections(ratio(grown, len(connections)), ratio(more, len(connections)), count - len(connections))


async def under_load(port: int, rate: float, seconds: float, meter: StoreMeter) -> tuple[load.Load, float]:
    """The result of the load, and the round trips to the store a second meanwhile."""
    loading = asyncio.ensure_future(load.run(port, rate, seconds + SETTLE))
    await asyncio.sleep(SETTLE / 2)
    trips = await asyncio.to_thread(meter.trips_per_second, seconds)
    return await loading, trips


@contextmanager
def instance(backends: Sequence[int], place: Bench, name: str) -> Iterator[tuple[int, int, int]]:
    """The port, the master and the checker of an instance that has settled."""
    competitor = proxies.lbflask(backends, place, NAMESPACE=name)
    with running(competitor.commands, competitor.port, competitor.environ) as (master, checker):
        time.sleep(SETTLE)
        yield competitor.port, master.pid, checker.pid


def measure(backends: Sequence[int], place: Bench, given: Size) -> Footprint:
    """The footprint of an instance for these backends."""
    namespace = f"of-{len(backends)}"
    meter = StoreMeter(place.redis_url, namespace)
    with instance(backends, place, namespace) as (port, master, checker):
        say(f"{len(backends):,} backends: at rest")
        at_rest = meter.trips_per_second(given.seconds)
        loaded, busy = asyncio.run(under_load(port, given.rate, given.seconds, meter))
        workers = serving(master)
        each = [proportional(workers), sum(map(unique, workers)), sum(map(resident, workers))]
        sizes = [proportional([master]), *(size // len(workers) for size in each), proportional([checker])]
        return Footprint(len(backends), *sizes, at_rest, busy, meter.stored, loaded.errors)


def measure_starts(backends: Sequence[int], place: Bench, count: int) -> Starts:
    """The starts of an instance and of a checker, in turns."""
    responses, probes = [], []
    with socket.create_server((HOST, 0)) as backend:
        for turn in range(count + 1):
            say(f"start {turn} of {count}")
            name = f"start-{turn}"
            responses.append(first_response(proxies.lbflask(backends, place, NAMESPACE=name)))
            checked = proxies.lbflask([backend.getsockname()[1]], place, NAMESPACE=f"{name}-checker")
            probes.append(first_probe(checked, backend, backends[0]))
    return Starts(typical(responses[1:]), typical(probes[1:]))  # the first ones have written bytecode


def measure_connections(backends: Sequence[int], place: Bench, count: int) -> IdleConnections:
    """The cost of idle connections to an instance that has served little else."""
    with instance(backends, place, "connections") as (port, master, _):
        say(f"{count:,} idle connections")
        return asyncio.run(hold_idle(port, count, serving(master)))


def judge(few: Footprint, many: Footprint, idle: IdleConnections, starts: Starts) -> list[Check]:
    """The targets."""
    return [
        Check("the first response after a start", starts.response.undisturbed, START, "s"),
        Check("what a worker shares with no other process", few.unique / MIB, UNIQUE_MIB, "MiB"),
        Check("a worker with few backends", few.worker / MIB, WORKER_MIB, "MiB"),
        Check("workers' memory for an idle connection", idle.memory / KIB, CONNECTION_KIB, "KiB"),
        Check("workers' descriptors for an idle connection", idle.descriptors, DESCRIPTORS),
        Check("round trips to the store a second at rest", few.at_rest, TRIPS),
        Check("failed requests", few.failed + many.failed + idle.refused, 0),
    ]


def main() -> None:
    parser = options(__doc__, "footprint")
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=400, help="requests a second")
    parser.add_argument("--seconds", type=float, default=25, help="of each step")
    given = parser.parse_args()
    size = Size(given.backends, given.connections, given.rate, given.seconds)
    if given.quick:
        size = Size(50, 200, 100, 2, starts=1)
    need("nginx")
    with ExitStack() as stack:
        place = stack.enter_context(bench())
        ports = free_ports(size.backends)
        stack.enter_context(running([proxies.nginx_backends(ports, place.work)], ports[0]))
        starts = measure_starts(ports[:FEW], place, size.starts)
        few, many = (measure(ports[:count], place, size) for count in (FEW, size.backends))
        idle = measure_connections(ports[:FEW], place, size.connections)
    print(table(HEAD, [few.row(), many.row()]), end="\n\n")
    rows = [["first response", *starts.response.row()], ["first probe of a checker", *starts.probe.row()]]
    print(table(START_HEAD, rows), end="\n\n")
    numbers = {
        "workers": WORKERS,
        "starts": asdict(starts),
        "few": asdict(few),
        "many": asdict(many),
        "idle": asdict(idle),
    }
    conclude(given, judge(few, many, idle, starts), numbers)


if __name__ == "__main__":
    main()
