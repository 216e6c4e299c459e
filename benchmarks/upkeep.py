"""What a worker does each second for a thousand backends, apart from requests: a poll, the choice of those that serve,
and two beats, one of them with a report.

The store is a private Valkey, whose processor time is its own figure; each backend has had some requests since the
last beat. The same with three backends shows what the number of backends costs.

    python -m benchmarks.upkeep [--backends 1000] [--attempts 5000] [--json FILE]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.state_view import POOL, check
from devtools.report import Check, conclude, options, table
from lbflask.config.schema import Config
from lbflask.core.fleet_stats import WorkerIdentity
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.heartbeat import BEAT_WITH_NEWS_EVERY
from lbflask.fleet.local_worker import LocalWorker
from lbflask.proxy.balancer import PoolBalancer
from lbflask.store.embedded import EmbeddedServer
from lbflask.store.redis import RedisStore, connect
from lbflask.store.redis_client import Client

FEW = 3
#: Milliseconds of processor time in each second.
MOST_OF_WORKER, MOST_OF_STORE = 7.0, 4.0


class Upkeep:
    """A worker before so many backends, whose clock is moved by hand."""

    def __init__(self, client: Client, backends: int, attempts: int) -> None:
        self._now = 1000.0
        store = RedisStore(client, f"bench-{backends}")
        pool = Config.model_validate({"backends": [f"http://10.{n >> 8}.{n & 255}.1:80" for n in range(backends)]})
        model = pool.to_model(POOL)
        self._ids = [backend.id for backend in model.backends]
        check(store, self._ids)
        worker = LocalWorker(WorkerIdentity("one", "host"), id="host:1:a", clock=lambda: self._now)
        self._fleet = Fleet(store, [POOL], worker=worker)
        self._fleet.refresh()
        self._balancer = PoolBalancer(model, self._fleet)
        self._attempts = attempts

    def serve(self) -> None:
        """The requests until the next beat."""
        traffic = self._fleet.traffic(POOL)
        for number in range(int(self._attempts * BEAT_WITH_NEWS_EVERY)):
            backend = self._ids[number % len(self._ids)]
            traffic.began(backend)
            traffic.answered(backend, 200)
            traffic.ended(backend)
        self._now += BEAT_WITH_NEWS_EVERY

    def poll(self) -> None:
        """Read the store, and choose the backends that serve."""
        self._fleet.refresh()
        self._balancer.schedule()

    def second(self) -> float:
        """The milliseconds of processor time in a second."""
        took = milliseconds(self.poll)
        for _ in range(round(1 / BEAT_WITH_NEWS_EVERY)):
            self.serve()
            took += milliseconds(self._fleet.flush)
        return took


def milliseconds(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return (time.process_time() - began) * 1000


def of_store(client: Client) -> float:
    """The milliseconds of processor time that the store has used."""
    used = client.info("cpu")
    return (used["used_cpu_user"] + used["used_cpu_sys"]) * 1000


def measure(client: Client, backends: int, attempts: int, seconds: int) -> tuple[float, float]:
    """The milliseconds of a second: the median of the worker, and the mean of the store."""
    upkeep = Upkeep(client, backends, attempts)
    for _ in range(12):  # until the window of reports is full
        upkeep.second()
    before = of_store(client)
    took = [upkeep.second() for _ in range(seconds)]
    return statistics.median(took), (of_store(client) - before) / seconds


def main() -> None:
    parser = options(__doc__, "upkeep")
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--attempts", type=int, default=5000, help="of the worker in each second")
    given = parser.parse_args()
    rounds = 5 if given.quick else 50
    with tempfile.TemporaryDirectory(prefix="lbflask-bench-") as directory:
        server = EmbeddedServer(Path(directory))
        server.start()
        try:
            with closing(connect(f"unix://{directory}/valkey.sock", 1.0)) as client:
                found = {count: measure(client, count, given.attempts, rounds) for count in (FEW, given.backends)}
        finally:
            server.stop()
    rows = [[f"{count:,} backends", *(f"{time_:.2f}" for time_ in times)] for count, times in found.items()]
    print(table(["ms of processor time in a second", "worker", "store"], rows), end="\n\n")
    worker, store = found[given.backends]
    checks = [
        Check(f"of a worker, with {given.backends:,} backends", worker, MOST_OF_WORKER, "ms"),
        Check("of the store, for each worker", store, MOST_OF_STORE, "ms"),
    ]
    conclude(given, checks, {"ms": {str(count): times for count, times in found.items()}})


if __name__ == "__main__":
    main()
