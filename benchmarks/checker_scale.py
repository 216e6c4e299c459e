"""Ten thousand backends in one checker: how late its probes are, what they cost, and how soon a failure is published.

    python -m benchmarks.checker_scale [--backends 10000] [--interval 10] [--kind http] [--hanging 0] [--seconds 40]

One process serves all backends on a few ports of 127.0.0.1; the checker runs in this one, with a private Valkey. The
lateness of a probe is the time since the one before, beyond the interval (without jitter). In the middle of the run all
backends of one port begin to fail; those of `--hanging` ports of the twenty accept connections and never respond. With
`--limit 1` the exit code is 0 only if 99 % of the probes were late by less than a second.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import CheckedPool, PoolChecker
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import SourceFailure
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster
from lbflask.core.health import Observation, Thresholds
from lbflask.core.model import Backend, Health, Pool, Snapshot
from lbflask.store.embedded import EmbeddedServer
from lbflask.store.ports import HealthWrite, Lease, StoreWatch
from lbflask.store.redis import RedisStore, connect
from lbflask.upstream.health_probe import Prober
from lbflask.wiring.checker_runtime import MAX_PROBES, STORE_TIMEOUT
from lbflask.wiring.descriptor_limit import room_for

PORTS = 20
FINE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Answering(asyncio.Protocol):
    """A backend: a response to any request, and the end of the connection."""

    def __init__(self, broken: Any) -> None:
        self._broken = broken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(BROKEN if self._broken() else FINE)
        self._transport.close()


def backends(ports: Connection, failing: Synchronized[int], hanging: int) -> None:
    """The process of the backends. `failing` is the number of the port whose backends fail, or -1; the last `hanging`
    ports are silent.
    """

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(
                lambda number=number: (
                    asyncio.Protocol() if number >= PORTS - hanging else Answering(lambda: failing.value == number)
                ),
                "127.0.0.1", 0, backlog=4096,
            )
            for number in range(PORTS)
        ]  # fmt: skip
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(serve())


class Counting:
    """The checker's store, whose writes are counted."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.writes: list[tuple[float, int, float]] = []  #: when it ended, how many states, how long it took
        self.down: dict[str, float] = {}

    def write_active(self, pool: str, write: HealthWrite) -> bool:
        began = time.monotonic()
        written = self._store.write_active(pool, write)
        now = time.monotonic()
        self.writes.append((now, len(write.states), now - began))
        for backend, state in write.states.items():
            if state.health is Health.DOWN:
                self.down.setdefault(backend, now)
        return written

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        return self._store.hold_lease(pool, holder, seconds)

    def drop_lease(self, pool: str, holder: str) -> None:
        self._store.drop_lease(pool, holder)

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        return self._store.read_snapshot(pool, known)

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        return self._store.write_discovered(pool, epoch, backends)

    def write_source(self, pool: str, epoch: int, failure: SourceFailure | None) -> bool:
        return self._store.write_source(pool, epoch, failure)

    def read_roster(self, pool: str) -> Roster:
        return self._store.read_roster(pool)

    def record(self, events: Sequence[FleetEvent]) -> None:
        self._store.record(events)

    def watch_changes(self, pools: Collection[str]) -> StoreWatch:
        return self._store.watch_changes(pools)

    def watch_suspects(self, pools: Collection[str]) -> StoreWatch:
        return self._store.watch_suspects(pools)

    def close(self) -> None:
        self._store.close()


class Timed:
    """The prober, with the moments at which probes began and what came of them."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self.began: defaultdict[str, list[float]] = defaultdict(list)
        self.failed = 0
        self.under_way = 0
        self.most = 0

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        self.began[backend.id].append(time.monotonic())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        seen = await self._prober(backend, check)
        self.under_way -= 1
        self.failed += not seen.ok
        return seen


def percentiles(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    chosen = {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "worst": max(values)}
    return "  ".join(f"{name} {value * 1000:.1f} ms" for name, value in chosen.items())


@dataclass
class Phase:
    """A stretch of the run: moments of the steady clock, CPU seconds, and how many writes there had been."""

    began: float
    cpu: float
    writes: int


async def measure(options: argparse.Namespace, url: str, ports: list[int], failing: Synchronized[int]) -> float:
    """Run the checker, print what was seen, and return the lateness of the 99th percentile in seconds."""
    hosts = [ports[number % PORTS] for number in range(options.backends)]
    pool = Pool("default", tuple(
        Backend(f"b{number}", "127.0.0.1", port, f"http://127.0.0.1:{port}") for number, port in enumerate(hosts)
    ))  # fmt: skip
    check = HealthCheck(options.kind, options.interval, options.interval / 5, 0.0, 2.0, Thresholds(2, 3))
    store, probe = Counting(RedisStore(connect(url, STORE_TIMEOUT), "bench")), Timed(Prober())
    settings = LeaderSettings("bench", options.interval, lease=3.0, limit=room_for(MAX_PROBES))
    checker = PoolChecker(CheckedPool(pool, lambda _: check, probe), store, settings)

    def now() -> Phase:
        return Phase(time.monotonic(), cpu_seconds(), len(store.writes))

    start = now()
    task = asyncio.create_task(checker.run())
    while not store.writes:
        await asyncio.sleep(0.01)
    first = now()
    await asyncio.sleep(options.interval)  # the second probe of each is due within; then they are spread evenly
    steady = now()
    await asyncio.sleep(options.seconds / 2)
    broke, failed = now(), probe.failed
    failing.value = 0
    await asyncio.sleep(options.seconds / 2)
    checker.stop()
    await task
    store.close()
    late = [
        max(0.0, after - before - options.interval)
        for moments in probe.began.values()
        for before, after in itertools.pairwise(moments)
        if steady.began <= after < broke.began
    ]
    writes = store.writes[steady.writes : broke.writes]
    share = (broke.cpu - steady.cpu) / (broke.began - steady.began)
    print(f"{options.backends} backends, {options.kind}, every {options.interval:g} s: {len(late)} probes measured")
    print(
        f"first round      whole after {first.began - start.began:.2f} s, written in {store.writes[0][2] * 1000:.0f} ms"
    )
    print(f"late             {percentiles(late)}")
    print(f"CPU              {share * 100:.0f} % of a core, {len(late) / (broke.began - steady.began):.0f} probes/s")
    print(f"under way        at most {probe.most}; {failed} probes failed before the failure")
    print(f"writes           {len(writes)} with {sum(count for _, count, _ in writes)} states while nothing changes")
    report_failure(store, broke, sum(port == ports[0] for port in hosts))
    return statistics.quantiles(late, n=100, method="inclusive")[98]


def report_failure(store: Counting, broke: Phase, victims: int) -> None:
    """What was written after the backends of one port had begun to answer 503, which a check by TCP does not see."""
    noticed = [moment - broke.began for moment in store.down.values() if moment > broke.began]
    if noticed:
        changes = [took for _, count, took in store.writes[broke.writes :] if count]
        print(
            f"{victims} fail together  {len(noticed)} reported down after {min(noticed):.1f} to {max(noticed):.1f} s, ",
            end="",
        )
        print(f"in {len(changes)} writes of at most {max(changes) * 1000:.0f} ms")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checker_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--backends", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--kind", choices=["tcp", "http"], default="http")
    parser.add_argument("--seconds", type=float, default=40.0, help="half of them before the failure, half after it")
    parser.add_argument("--hanging", type=int, default=0, help="ports of the twenty whose backends never answer")
    parser.add_argument("--limit", type=float, help="seconds by which 99 %% of the probes may be late")
    options = parser.parse_args()
    logging.getLogger("lbflask.checker").setLevel(logging.ERROR)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    failing = context.Value("i", -1)
    process = context.Process(target=backends, args=(there, failing, options.hanging), daemon=True)
    process.start()
    with tempfile.TemporaryDirectory(prefix="lbf-") as directory:
        server = EmbeddedServer(Path(directory))
        server.start()
        try:
            late = asyncio.run(measure(options, f"unix://{directory}/valkey.sock", here.recv(), failing))
        finally:
            server.stop()
            process.terminate()
            process.join()
    if options.limit is not None and late > options.limit:
        sys.exit(f"99 % of the probes were up to {late:.3f} s late, more than {options.limit:g} s")


if __name__ == "__main__":
    main()
