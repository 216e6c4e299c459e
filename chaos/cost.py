"""The cost of the store: round trips for a request of a busy worker, and the time until an update reaches the fleet."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import redis

from chaos.analysis import Outcome, Phases
from chaos.cluster import BACKENDS, KEYS, WARM_UP, Backend, Pace
from chaos.load import load
from devtools.environment import HOST, ROOT
from devtools.ports import free_port
from devtools.report import Check, percentile
from devtools.servers import Gunicorn, runtime_directory, start_valkey, urls
from lbflask.core.model import ActiveHealth, Health
from lbflask.store.ports import HealthWrite
from lbflask.store.redis import RedisStore, connect

#: Requests a second of the one worker, and round trips for each.
BUSY = 1000.0
TRIPS = 0.02
#: Commands that workers send themselves; all others are parts of scripts.
SENT = frozenset({"incrby", "evalsha", "eval", "script|load", "subscribe", "ping", "client|setinfo", "select", "hello"})
#: Subscribed workers, and their processes; milliseconds until an update has reached them; number of updates.
FOLLOWERS, PROCESSES = 100, 4
UPDATED_WITHIN = 50.0
CHANGES = 40
#: Seconds between two changes.
BETWEEN = 0.1


def sent(stats: Mapping[str, Any]) -> int:
    """Round trips so far, from INFO commandstats: a script is one."""
    return sum(stat["calls"] for name, stat in stats.items() if name.removeprefix("cmdstat_") in SENT)


def round_trips(pace: Pace) -> Outcome:
    """One worker under 1,000 requests a second; without a checker, so that all commands are those of the worker."""
    with ExitStack() as running:
        work = running.enter_context(runtime_directory())
        port = free_port()
        running.enter_context(start_valkey("--dir", str(work), port=port))
        backends = [Backend(running, work, free_port()) for _ in range(BACKENDS)]
        settings: dict[str, Any] = {"redis_url": f"redis://{HOST}:{port}/0", "backends": urls(b.port for b in backends)}
        balancer = running.enter_context(
            Gunicorn(workers=1, environ={"XDG_RUNTIME_DIR": str(work)}, access_log="", **settings)
        )
        client = running.enter_context(redis.Redis(port=port, decode_responses=True))
        generator = running.enter_context(load([balancer.port], rate=BUSY))
        # After a request for /health a worker reads the loads of the others for five seconds.
        time.sleep(WARM_UP + 5)
        began, before = time.monotonic(), sent(client.info("commandstats"))
        time.sleep(pace.trouble)
        until, after = time.monotonic(), sent(client.info("commandstats"))
        requests = generator.stop()
        measured = [request for request in requests if began <= request.due < until]
        trips = (after - before) / len(measured)
        rate = len(measured) / (until - began)
        phases = Phases([], measured, [])
        failed = sum(bool(request.failure) for request in requests)
        checks = [
            Check("failed requests", failed, 0),
            Check("round trips a request", trips, TRIPS),
            Check("requests a second of the worker", rate, 0.95 * BUSY, at_least=True),
        ]
        return Outcome("cost of the store", len(measured), failed, phases.p99, math.nan, checks, {"trips": trips})


def updates(pace: Pace) -> Outcome:
    """A backend's health changes, and 100 workers get the update. There is no other traffic."""
    changes = CHANGES if pace.trouble > 5 else CHANGES // 4
    with ExitStack() as running:
        work = running.enter_context(runtime_directory())
        port = free_port()
        url = f"redis://{HOST}:{port}/0"
        running.enter_context(start_valkey("--dir", str(work), port=port))
        subscribers = [running.enter_context(_subscriber(url)) for _ in range(PROCESSES)]
        for process in subscribers:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the followers did not start")
        published = _publish(url, changes)
        received: list[list[Any]] = []
        for process in subscribers:
            received += json.loads(process.communicate(timeout=30)[0])
        waits = [(moment - published[version]) * 1000 for version, moment in received if version in published]
        p99 = percentile(waits, 99)
        checks = [
            Check("updates received, p99", p99, UPDATED_WITHIN, "ms"),
            Check("updates received", len(waits), changes * FOLLOWERS, at_least=True),
        ]
        notes = {"p50 ms": percentile(waits, 50), "max ms": percentile(waits, 100)}
        return Outcome("updates to 100 workers", 0, 0, (math.nan, p99, math.nan), p99 / 1000, checks, notes)


@contextmanager
def _subscriber(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process with its part of the followers, which end with its input."""
    command = [sys.executable, "-m", "chaos.subscribers", url, str(FOLLOWERS // PROCESSES)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _publish(url: str, changes: int) -> dict[int, float]:
    """Change the health of a backend so many times. Returns the time before each change, by its version."""
    client = connect(url, 1.0)
    store = RedisStore(client, "lbflask")
    published = {}
    lease = store.hold_lease("default", "chaos", 60)
    if lease is None:
        raise RuntimeError("another checker leads")
    for turn in range(changes + 1):
        health = Health.UP if turn % 2 else Health.DOWN
        moment = time.monotonic()
        store.write_active("default", HealthWrite(lease.epoch, {"a": ActiveHealth(health)}, interval=10, announce=True))
        if turn:  # the first one warms up
            published[int(client.get(KEYS.version))] = moment
        time.sleep(BETWEEN)
    store.close()
    return published
