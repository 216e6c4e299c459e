"""The store fails in each way that it can, and returns: no request fails, and every worker joins again."""

from __future__ import annotations

import math
import signal
import time
from contextlib import ExitStack
from typing import Self

import redis

from chaos.analysis import HealthSample, Outcome, Phases, first_match, settled
from chaos.cluster import BACKENDS, INTERVAL, KEYS, ChaosCluster, Pace, chaos_cluster, within
from devtools.environment import HOST
from devtools.ports import free_port
from devtools.report import Check
from devtools.servers import Process, black_hole, runtime_directory, start_valkey
from devtools.topologies import SentinelStore
from lbflask.store.redis_client import connect

#: Seconds until workers have joined after the return of the store, and until they have noticed its failure.
JOIN_WITHIN = 2.0
NOTICE_WITHIN = 1.0
#: Seconds for a fail-over, which the sentinels decide.
FAIL_OVER_WITHIN = 30.0


class SingleStore:
    """One server on a port, which can be started again."""

    def __init__(self, running: ExitStack) -> None:
        self.running = running
        self.work = running.enter_context(runtime_directory())
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.server = self._start()

    def restart(self) -> None:
        """Start an empty server on the port, after the end of the former one."""
        self.server = self._start()

    def _start(self) -> Process:
        return self.running.enter_context(start_valkey("--dir", str(self.work), port=self.port))


class Killed:
    """Killed, and started again empty."""

    name = "store killed"
    away = True

    def __init__(self, store: SingleStore) -> None:
        self.store = store
        self.url = store.url

    @classmethod
    def of_new_store(cls, running: ExitStack) -> Self:
        """The failure of a store that this starts."""
        return cls(SingleStore(running))

    def begin(self) -> None:
        """Make the store fail."""
        self.store.server.kill()

    def last(self, seconds: float) -> None:
        """Wait while the failure lasts."""
        time.sleep(seconds)

    def end(self) -> None:
        """End the failure: when this returns, the store responds."""
        self.store.restart()


class Frozen(Killed):
    """Stopped for a while."""

    name = "store frozen"

    def begin(self) -> None:
        self.store.server.signal(signal.SIGSTOP)

    def end(self) -> None:
        self.store.server.signal(signal.SIGCONT)


class Flushed(Killed):
    """FLUSHALL."""

    name = "store flushed"
    away = False

    def begin(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def last(self, seconds: float) -> None:
        """Return at once."""

    def end(self) -> None:
        """Nothing to do."""


class Restarted(Killed):
    """Killed, and started at once, empty."""

    name = "store restarted empty"
    away = False

    def last(self, seconds: float) -> None:
        """Return at once."""


class BlackHole(Killed):
    """Killed, and replaced by a listener that accepts connections and never sends a byte."""

    name = "store a black hole"

    def begin(self) -> None:
        super().begin()
        self.hole = ExitStack()
        self.store.running.push(self.hole)
        self.hole.enter_context(black_hole(self.store.port))

    def end(self) -> None:
        self.hole.close()
        super().end()


class FailOver(Killed):
    """A primary with a replica and three sentinels is killed."""

    name = "fail-over"

    def __init__(self, servers: SentinelStore) -> None:
        self.servers = servers
        self.url = servers.url

    @classmethod
    def of_new_store(cls, running: ExitStack) -> Self:
        """See Killed."""
        return cls(SentinelStore(running.enter_context(runtime_directory()), running))

    def begin(self) -> None:
        self.servers.primary.kill()

    def last(self, seconds: float) -> None:  # noqa: ARG002
        """Wait until the replica is the primary. Raises RuntimeError."""
        with redis.Redis(port=self.servers.replica_port, decode_responses=True) as client:
            promoted = within(lambda: client.info("replication")["role"] == "master", FAIL_OVER_WITHIN)
        if not promoted:
            raise RuntimeError("the sentinels did not fail over")

    def end(self) -> None:
        """Nothing to do."""


def joined(sample: HealthSample) -> bool:
    """Whether the worker is connected, and its report of the checker no older than the interval allows."""
    fresh = sample.silent_for is not None and sample.silent_for <= INTERVAL + 1 and not sample.unknown
    return sample.status == "ok" and sample.store == "connected" and fresh


def alone(sample: HealthSample) -> bool:
    """Whether the worker reports that the store is unreachable."""
    return sample.status == "degraded" and sample.store == "unreachable"


def run(kind: type[Killed], pace: Pace) -> Outcome:
    """One kind of failure of the store."""
    with ExitStack() as running:
        failure = kind.of_new_store(running)
        cluster = running.enter_context(chaos_cluster(failure.url))
        cluster.start_load(pace)
        began = time.monotonic()
        failure.begin()
        failure.last(pace.trouble)
        failure.end()
        returned = time.monotonic()
        wrote = within(lambda: _checker_wrote(failure.url) and time.monotonic(), JOIN_WITHIN + 5) or math.inf
        time.sleep(JOIN_WITHIN + pace.calm)
        return _judge(cluster, failure, began, returned, wrote - returned)


def _checker_wrote(url: str) -> bool:
    """Whether the store has a report of the checker about all backends."""
    client = connect(url, 1.0)
    try:
        return bool(client.hlen(KEYS.active) == BACKENDS and client.exists(KEYS.heartbeat))
    finally:
        client.close()


def _judge(cluster: ChaosCluster, failure: Killed, began: float, returned: float, wrote: float) -> Outcome:
    workers = cluster.workers
    phases = Phases.of(cluster.stop_load(), cluster.began, began, returned + JOIN_WITHIN)
    converged = max(wrote, settled(cluster.samples, workers, returned, joined))
    checks = [phases.calm(), Check("all have joined, checker and workers", converged, JOIN_WITHIN, "s")]
    if failure.away:
        noticed = first_match(cluster.samples, workers, began, alone)
        away = [s for s in cluster.samples if began + NOTICE_WITHIN < s.moment < returned]
        wrong = sum(not alone(sample) for sample in away)
        checks.append(Check("all workers report the failure", noticed, NOTICE_WITHIN, "s"))
        if not isinstance(failure, FailOver):  # workers may notice its end before this process does
            checks.append(Check("wrong samples of /health meanwhile", wrong, 0))
    return cluster.outcome(failure.name, phases, converged, checks, away=returned - began)


KINDS = (Killed, Frozen, Flushed, Restarted, FailOver, BlackHole)
