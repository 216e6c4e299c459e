"""The whole state, as the dashboard reads it each second, for a pool of a thousand backends.

    python -m benchmarks.state_view [--backends 1000] [--workers 4] [--limit 30]

The store is a private Valkey; each worker has reported about each backend, and a tenth of them is down. Measured is the
processor time of the worker for a view, from the store to the document in JSON. As in a worker, the garbage collection
leaves out the objects of the start. With `--limit` the exit code is 0 only if the median is at most so many
milliseconds.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from lbflask.config.schema import Config
from lbflask.control.api.endpoints import AdminApi
from lbflask.control.operations import Operations, Running
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import BackendCounts, WorkerIdentity, WorkerReport
from lbflask.core.model import ActiveHealth, Health
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.store.embedded import EmbeddedServer
from lbflask.store.ports import Beat, HealthWrite
from lbflask.store.redis import RedisStore, connect

POOL = "default"
UP = ActiveHealth(Health.UP, 0, "status 200", 1.0)
DOWN = ActiveHealth(Health.DOWN, 0, "connection refused", 1.0, FailureCause.REFUSED)


ANSWERS = Answers(10.0, {AnswerKey("2xx", "backend"): 100_000, AnswerKey("502", "backend_failed", POOL): 10})


def check(store: RedisStore, ids: list[str]) -> None:
    """Write what a checker writes about the backends."""
    lease = store.hold_lease(POOL, "checker:1:a", 600)
    if lease is None:
        raise SystemExit("the store is not empty")
    states = {id_: UP if number % 10 else DOWN for number, id_ in enumerate(ids)}
    store.write_active(POOL, HealthWrite(lease.epoch, states, interval=600, announce=True))


def beat(store: RedisStore, ids: list[str], workers: int) -> None:
    """Write what so many workers write about the backends each second."""
    served = {id_: BackendCounts(100, 1, {30: 50, 31: 30, 35: 15, 40: 4}) for id_ in ids}
    for pid in range(1, workers + 1):
        identity = WorkerIdentity("one", "host", pid, "1", "abc", time.time() - 60, workers)
        report = WorkerReport(identity, time.time(), 10.0, served, answers=ANSWERS)
        store.beat(POOL, f"host:{pid}:a", Beat(dict.fromkeys(ids, 1), report=report), read=False)


def view_times(url: str, backends: int, workers: int, rounds: int) -> list[float]:
    """Milliseconds of processor time of each view."""
    config = Config.model_validate({"backends": [f"http://10.{n >> 8}.{n & 255}.1:80" for n in range(backends)]})
    running = Running.from_config(config)
    ids = [backend.id for backend in running.pools[POOL].backends]
    with closing(connect(url, 1.0)) as client:
        store = RedisStore(client, "bench")
        check(store, ids)
        fleet = Fleet(store, [POOL], worker=LocalWorker(WorkerIdentity("one", "host")))
        fleet.refresh()
        unused: Any = None
        api = AdminApi(Operations(store, fleet, lambda: running), unused, "one", unused, unused)
        api.state()  # loads what a worker has loaded
        gc.collect()
        gc.freeze()
        took = []
        for _ in range(rounds):
            beat(store, ids, workers)
            began = time.process_time()
            document = api.state().model_dump_json()
            took.append((time.process_time() - began) * 1000)
        if document.count('"state":"down"') < backends // 10:
            raise SystemExit("the view does not show what was written")
    return took


def main() -> None:
    """Measure, print, and compare with the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--limit", type=float, default=0.0, help="milliseconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lbflask-bench-") as directory:
        server = EmbeddedServer(Path(directory))
        server.start()
        try:
            took = view_times(f"unix://{directory}/valkey.sock", given.backends, given.workers, given.rounds)
        finally:
            server.stop()
    print(
        f"{given.backends} backends, {given.workers} workers: {statistics.median(took):.1f} ms, best {min(took):.1f} ms"
    )
    sys.exit(bool(given.limit) and statistics.median(took) > given.limit)


if __name__ == "__main__":
    main()
