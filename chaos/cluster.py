"""The processes of a scenario on 127.0.0.1: a store, three backends, two checkers, and two gunicorns of two workers
each, under load and observed all the time. All of them end with the block.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import redis

from chaos.analysis import HealthSample, LoadRequest, Outcome, Phases, failures
from chaos.backend import Served, read_log
from chaos.load import Load, load
from chaos.observer import Observer, observing
from devtools.cluster import Cluster
from devtools.ports import free_port
from devtools.report import Check
from devtools.servers import (
    Process,
    get,
    listens,
    runtime_directory,
    start_valkey,
)
from devtools.traffic import AccessLogLine, access_log
from devtools.wait import eventually
from lbflask.core.model import Ejection
from lbflask.store import records
from lbflask.store.keys import PoolKeys

BACKENDS = 3
INSTANCES = 2
CHECKERS = 2
WORKERS = 2
KEYS = PoolKeys("lbflask", "default")
#: Seconds between two checks of a backend, unless a scenario sets others.
INTERVAL = 2
#: Seconds of load before measurement begins.
WARM_UP = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of calm before and after a failure, and of a failure that lasts."""

    calm: float
    trouble: float


FULL = Pace(6.0, 10.0)
QUICK = Pace(1.5, 3.0)


class Backend:
    """A backend: its process, its name in the pool, and its log."""

    def __init__(self, running: ExitStack, work: Path, port: int, mode: str = "well") -> None:
        self.port = port
        self.id = f"127.0.0.1:{port}"
        self.url = f"http://{self.id}"
        self._log = work / f"backend-{port}.log"
        self.process = running.enter_context(
            Process([sys.executable, "-m", "chaos.backend", str(port), str(self._log), mode])
        )
        self.process.await_start(lambda: listens(port), f"a backend on {port}")

    def become(self, mode: str) -> None:
        """Change the mode. Raises ValueError for an unknown one."""
        if get(self.port, f"/-/{mode}").status != 200:
            raise ValueError(mode)

    def served(self) -> list[Served]:
        """The requests that it has begun to serve."""
        return read_log(self._log.read_text() if self._log.exists() else "")


class Announcements:
    """Messages of a channel of the store, each with the time of its arrival in seconds since the epoch."""

    def __init__(self, url: str, channel: str) -> None:
        self.received: list[tuple[float, str]] = []
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(channel)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(redis.RedisError, OSError):
            while not self._stop.is_set():
                message = self._pubsub.get_message(timeout=0.2)
                if message is not None:
                    self.received.append((time.time(), str(message["data"])))

    def stop(self) -> None:
        """End the subscription."""
        self._stop.set()
        self._thread.join()
        self._pubsub.close()
        self._client.close()


class ChaosCluster(Cluster):
    """Two instances, two checkers and three backends under load. Times are of the steady clock.

    `mode` is that of the first backend. With `in_file` the backends are in a file, which can be changed while the
    processes run.
    """

    def __init__(self, work: Path, url: str, *, mode: str = "well", in_file: bool = False, **settings: Any) -> None:
        self.work = work
        self.file = work / "lbflask.toml"
        if in_file:
            settings["config"] = self.file
        else:
            settings.setdefault("health__interval", INTERVAL)
        with ExitStack() as starting:
            modes = [mode, *["well"] * (BACKENDS - 1)]
            self.backends = [Backend(starting, work, free_port(), one) for one in modes]
            urls = [backend.url for backend in self.backends]
            environ = {"XDG_RUNTIME_DIR": str(work)}
            super().__init__(INSTANCES, WORKERS, urls, CHECKERS, environ=environ, redis_url=url, **settings)
            self.running.push(starting.pop_all())
        if in_file:
            self.write(f"backends = {json.dumps(urls)}")
        self._observers: list[Observer] = []
        self._load: Load | None = None
        self.requests: list[LoadRequest] = []
        self.began = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self.await_up()
        return self

    def assert_no_traceback(self) -> None:
        """Do nothing: the outcome of a scenario includes a check for tracebacks."""

    def write(self, text: str) -> None:
        """Replace the file that all processes share, atomically."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{text}\n[health]\ninterval = {INTERVAL}\n")
        new.rename(self.file)

    def start_load(self, pace: Pace, slow: int = 0) -> None:
        """Start the load and the observers; returns after the calm that precedes the failure."""
        for balancer in self.balancers:
            self._observers.append(self.running.enter_context(observing(balancer.admin_port, balancer.workers)))
        self._load = self.running.enter_context(load([balancer.port for balancer in self.balancers], slow))
        time.sleep(WARM_UP)
        eventually(lambda: {s.worker for s in self.samples} >= self.workers, "a sample of each worker", 20)
        self.began = time.monotonic()
        # The failure may meet any phase of what happens once a second.
        time.sleep(pace.calm + random.random())

    @property
    def workers(self) -> set[tuple[int, int]]:
        """The running workers: the admin port of the instance, and the pid."""
        return {(balancer.admin_port, pid) for balancer in self.balancers for pid in balancer.workers()}

    @property
    def samples(self) -> list[HealthSample]:
        """The health samples of all workers so far."""
        return [sample for observer in self._observers for sample in list(observer.samples)]

    def stop_load(self) -> list[LoadRequest]:
        """End the load. Returns all its requests, in the order in which they were due."""
        if self._load is not None:
            self.requests = sorted(self._load.stop(), key=lambda request: request.due)
            self._load = None
            for observer in self._observers:
                observer.stop()
        return self.requests

    def attempts(self) -> list[AccessLogLine]:
        """The access logs of all instances, which this stops."""
        for balancer in self.balancers:
            balancer.stop(40)
        return [line for balancer in self.balancers for line in access_log(balancer.output)]

    @cached_property
    def client(self) -> redis.Redis:
        """A client of the store that decodes text."""
        client: redis.Redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.running.callback(client.close)
        return client

    def announcements(self) -> Announcements:
        """The announcements for workers from now on."""
        announcements = Announcements(self.redis_url, KEYS.changes)
        self.running.callback(announcements.stop)
        return announcements

    def tracebacks(self) -> Check:
        """A check that no process has logged a traceback."""
        processes = [*self.balancers, *self.checkers]
        found = sum("Traceback" in process.output for process in processes)
        return Check("processes with a traceback in their log", found, 0)

    def outcome(
        self, name: str, phases: Phases, converged: float, checks: list[Check], *, but: str = "", **notes: Any
    ) -> Outcome:
        """The outcome, with the checks of every scenario: no failed request but of one kind, and no traceback."""
        failed = failures(phases.all, but)
        held = [Check("failed requests", len(failed), 0), *checks, self.tracebacks()]
        shown = sorted({request.failure for request in failed})[:5]
        return Outcome(name, len(phases.all), len(failed), phases.p99, converged, held, {"failures": shown, **notes})


@contextmanager
def chaos_cluster(redis_url: str | None = None, **settings: Any) -> Iterator[ChaosCluster]:
    """A cluster with its own store, or with the one of this URL."""
    with ExitStack() as running:
        work = running.enter_context(runtime_directory())
        if redis_url is None:
            port = free_port()
            running.enter_context(start_valkey("--dir", str(work), port=port))
            redis_url = f"redis://127.0.0.1:{port}/0"
        yield running.enter_context(ChaosCluster(work, redis_url, **settings))


def ejection(client: redis.Redis, backend: str) -> Ejection | None:
    """The record of its latest ejection in the store."""
    record = client.hget(KEYS.ejected, backend)
    return records.parse_ejection(str(record)) if record else None


def within(condition: Callable[[], T], seconds: float) -> T | None:
    """The first true value of the condition; None if there is none in so many seconds, which a check then reports."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError, redis.RedisError):
            value = condition()
            if value:
                return value
        time.sleep(0.005)
    return None
