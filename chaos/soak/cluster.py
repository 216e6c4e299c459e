"""The fleet of the soak on 127.0.0.1: a store, three backends, two checkers, and two gunicorns of two workers each, the
second under TLS. Both instances and the checkers read one file.
"""

from __future__ import annotations

import json
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import redis

from chaos.cluster import BACKENDS, CHECKERS, WORKERS
from chaos.observer import owners
from chaos.soak.verdict import Link, MemorySample
from chaos.store import SingleStore
from devtools.certificates import Authority
from devtools.cluster import Cluster
from devtools.environment import HOST
from devtools.memory import read_memory
from devtools.ports import free_port
from devtools.servers import Gunicorn, Process, get, listens, runtime_directory, start_checker
from devtools.wait import eventually

#: Seconds between two checks of a backend, and of a check; seconds of an ejection.
CHECK_INTERVAL, CHECK_TIMEOUT, EJECTION = 1, 1, 5


class SoakBackend:
    """A backend, which can be killed and started again on its port."""

    def __init__(self, running: ExitStack) -> None:
        self.port = free_port()
        self.id = f"{HOST}:{self.port}"
        self._running = running
        self.process = self._start()

    def _start(self) -> Process:
        process = self._running.enter_context(Process([sys.executable, "-m", "chaos.soak.backend", str(self.port)]))
        process.await_start(lambda: listens(self.port), f"a backend on {self.port}")
        return process

    def restart(self) -> None:
        """Start it again, after its end."""
        self.process = self._start()

    def become(self, mode: str) -> None:
        """Change the mode. Raises ValueError for an unknown one."""
        if get(self.port, f"/-/{mode}").status != 200:
            raise ValueError(mode)


class SoakCluster(Cluster):
    """The processes. All of them end with the block."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.file = work / "lbflask.toml"
        self.access_logs: list[Path] = []
        self.authority = Authority(work)
        with ExitStack() as starting:
            parts = starting.enter_context(ExitStack())  # also for what is started again later
            self.state = SingleStore(parts)
            self.backends = [SoakBackend(parts) for _ in range(BACKENDS)]
            self.write()
            settings: dict[str, Any] = {
                "redis_url": self.state.url, "config": self.file, "health__path": "/check",
                "health__interval": CHECK_INTERVAL, "health__timeout": CHECK_TIMEOUT, "ejection__duration": EJECTION,
                "sticky__cookie": "LB", "access_log_format": "json",
            }  # fmt: skip
            environ = {"XDG_RUNTIME_DIR": str(work)}
            super().__init__(backends=[], checkers=CHECKERS, instances=0, environ=environ, **settings)
            starting.pop_all()
            self.running.push(parts)

    def __enter__(self) -> Self:
        super().__enter__()
        pair = self.authority.pair(HOST)
        with ExitStack() as starting:
            starting.push(super().__exit__)
            for tls in ({}, {"tls__certificate": pair.certificate, "tls__key": pair.key}):
                self.access_logs.append(self.work / f"access-{len(self.access_logs)}.log")
                settings = self.settings | {"access_log": self.access_logs[-1], **tls}
                self.balancers.append(self._run(Gunicorn(workers=WORKERS, environ=self._environ, **settings)))
            eventually(self.recovered, "all parts of the fleet serve")
            starting.pop_all()
        return self

    def assert_no_traceback(self) -> None:
        """Do nothing: the results count tracebacks, and must not be lost for one."""

    @property
    def ports(self) -> tuple[int, int]:
        """Of the instance without TLS, and of that with it."""
        plain, secure = self.balancers
        return plain.port, secure.port

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """The context of a client of the instance under TLS."""
        return self.authority.trust()

    @cached_property
    def client(self) -> redis.Redis:
        """A client of the store that decodes text."""
        client: redis.Redis = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.running.callback(client.close)
        return client

    def write(self, first_weight: int = 1, line: int = 8190) -> None:
        """Write the file: the weight of the first backend, which a reload applies, and `limits.line`, which only new
        workers apply.
        """
        first, *rest = (f"http://{backend.id}" for backend in self.backends)
        others = ", ".join(map(json.dumps, rest))
        new = self.file.with_suffix(".new")
        new.write_text(
            f'backends = [{{ url = "{first}", weight = {first_weight} }}, {others}]\n[limits]\nline = {line}\n'
        )
        new.replace(self.file)

    def start_checker(self) -> None:
        """Start another checker."""
        self.checkers.append(self._run(start_checker(self._environ, **self.settings)))

    @staticmethod
    def end(balancer: Gunicorn) -> None:
        """Stop the instance, also after an upgrade: then its master is no child of this process. Completes its log."""
        balancer.signal(signal.SIGTERM)
        eventually(lambda: has_ended(balancer.master), "the instance has ended")

    def recovered(self) -> bool:
        """Whether all processes are there, and each worker has the store and all backends."""
        for balancer in self.balancers:
            documents = balancer.documents()
            if documents.keys() != {*balancer.workers()} or len(documents) != WORKERS:
                return False
            if not all(_is_whole(document) for document in documents.values()):
                return False
        return sum(checker.running for checker in self.checkers) == CHECKERS


def _is_whole(document: dict[str, Any]) -> bool:
    """Whether the /health document of a worker reports no trouble."""
    states = document["pools"]["default"]["states"].values()
    serve = all(state["health"] == "up" and not state["ejected"] for state in states)
    return document["status"] == "ok" and document["store"] == "connected" and len(states) == BACKENDS and serve


@contextmanager
def soak_cluster() -> Iterator[SoakCluster]:
    """The fleet for the length of a block."""
    with runtime_directory() as work, SoakCluster(work) as cluster:
        yield cluster


def links(balancer: Gunicorn, workers: list[int]) -> frozenset[Link]:
    """The client connections that these workers of the instance hold now."""
    return frozenset((balancer.port, local) for local in owners(balancer.port, workers))


def has_ended(pid: int) -> bool:
    """Whether the process has ended, also when its parent has not noticed: its connections are closed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class MemorySampler:
    """Samples masters, workers and checkers every so many seconds, in a thread."""

    def __init__(self, cluster: SoakCluster, interval: float) -> None:
        self.samples: list[MemorySample] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(interval,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()
        self._thread.join()

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            moment = time.monotonic()
            for role, pid in self._processes():
                with suppress(OSError):
                    memory, descriptors = read_memory(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))
                    self.samples.append(
                        MemorySample(moment, role, pid, memory.unique, memory.proportional, descriptors)
                    )

    def _processes(self) -> Iterator[tuple[str, int]]:
        for name, balancer in zip(("plain", "TLS"), self._cluster.balancers, strict=True):
            yield f"master, {name}", balancer.master
            with suppress(OSError):
                for pid in balancer.workers():
                    yield f"workers, {name}", pid
        for checker in list(self._cluster.checkers):
            if checker.running:
                yield "checkers", checker.pid
