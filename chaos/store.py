"""The store goes, in every way that it can, and comes back: no request notices, and every worker joins again."""

from __future__ import annotations

import math
import signal
import time
from contextlib import ExitStack

import redis

from chaos.analysis import HealthSample, Outcome, Phases, first_word, settled
from chaos.cluster import BACKENDS, INTERVAL, KEYS, ChaosCluster, Pace, chaos_cluster, within
from devtools.environment import HOST
from devtools.ports import free_port
from devtools.report import Check
from devtools.servers import Process, black_hole, runtime_directory, start_valkey
from devtools.topologies import SentinelStore
from lbflask.store.redis_client import connect

#: Seconds within which workers have joined after the store's return, and have noticed that it is gone.
JOIN_WITHIN = 2.0
NOTICE_WITHIN = 1.0
#: Seconds within which a fail-over must have happened, whoever is to blame.
FAIL_OVER_WITHIN = 30.0


class Killed:
    """Killed, and started again with nothing in it."""

    name = "store killed"
    away = True

    def __init__(self, running: ExitStack) -> None:
        self.running = running
        self.work = running.enter_context(runtime_directory())
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.server = self.start()

    def start(self) -> Process:
        """A server on the port."""
        return self.running.enter_context(start_valkey("--dir", str(self.work), port=self.port))

    def begin(self) -> None:
        """The trouble begins."""
        self.server.kill()

    def last(self, pace: Pace) -> None:
        """Wait as long as it lasts."""
        time.sleep(pace.trouble)

    def end(self) -> None:
        """It is over: when this returns, the store answers."""
        self.server = self.start()


class Frozen(Killed):
    """Stopped for a while."""

    name = "store frozen"

    def begin(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def end(self) -> None:
        self.server.signal(signal.SIGCONT)


class Flushed(Killed):
    """FLUSHALL, and nothing else."""

    name = "store flushed"
    away = False

    def begin(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def last(self, pace: Pace) -> None:
        """No time."""

    def end(self) -> None:
        """Nothing to do."""


class Restarted(Killed):
    """Killed and started at once, with nothing in it."""

    name = "store restarted empty"
    away = False

    def last(self, pace: Pace) -> None:
        """No time."""


class BlackHole(Killed):
    """Killed, and in its place somebody who takes connections and never says a word."""

    name = "store a black hole"

    def begin(self) -> None:
        super().begin()
        self.hole = ExitStack()
        self.running.push(self.hole)
        self.hole.enter_context(black_hole(self.port))

    def end(self) -> None:
        self.hole.close()
        super().end()


class FailOver(Killed):
    """A primary with a replica and three sentinels is killed."""

    name = "fail-over"

    def __init__(self, running: ExitStack) -> None:
        self.servers = SentinelStore(running.enter_context(runtime_directory()), running)
        self.url = self.servers.url

    def begin(self) -> None:
        self.servers.primary.kill()

    def last(self, pace: Pace) -> None:  # noqa: ARG002
        """Until the replica is the primary."""
        with redis.Redis(port=self.servers.replica_port, decode_responses=True) as client:
            promoted = within(lambda: client.info("replication")["role"] == "master", FAIL_OVER_WITHIN)
        if not promoted:
            raise RuntimeError("the sentinels did not fail over")

    def end(self) -> None:
        """Nothing to do."""


def joined(sight: HealthSample) -> bool:
    """The worker is with the fleet, and the checker's word that it has is no older than one that is due."""
    fresh = sight.silent_for is not None and sight.silent_for <= INTERVAL + 1 and not sight.unknown
    return sight.status == "ok" and sight.store == "connected" and fresh


def alone(sight: HealthSample) -> bool:
    """The worker says that it is on its own."""
    return sight.status == "degraded" and sight.store == "unreachable"


def run(kind: type[Killed], pace: Pace) -> Outcome:
    """One way in which the store goes."""
    with ExitStack() as running:
        trouble = kind(running)
        cluster = running.enter_context(chaos_cluster(trouble.url))
        cluster.start_load(pace)
        began = time.monotonic()
        trouble.begin()
        trouble.last(pace)
        trouble.end()
        returned = time.monotonic()
        spoke = within(lambda: _checker_spoke(trouble.url) and time.monotonic(), JOIN_WITHIN + 5) or math.inf
        time.sleep(JOIN_WITHIN + pace.calm)
        return _judge(cluster, trouble, began, returned, spoke - returned)


def _checker_spoke(url: str) -> bool:
    """Whether the store has the checker's word of all backends."""
    client = connect(url, 1.0)
    try:
        return bool(client.hlen(KEYS.active) == BACKENDS and client.exists(KEYS.heartbeat))
    finally:
        client.close()


def _judge(cluster: ChaosCluster, trouble: Killed, began: float, returned: float, spoke: float) -> Outcome:
    workers = cluster.workers
    phases = Phases.of(cluster.stop_load(), cluster.began, began, returned + JOIN_WITHIN)
    converged = max(spoke, settled(cluster.sights, workers, returned, joined))
    checks = [phases.calm(), Check("all have joined, checker and workers", converged, JOIN_WITHIN, "s")]
    if trouble.away:
        noticed = first_word(cluster.sights, workers, began, alone)
        away = [s for s in cluster.sights if began + NOTICE_WITHIN < s.moment < returned]
        lies = sum(not alone(sight) for sight in away)
        checks.append(Check("all workers say that it is gone", noticed, NOTICE_WITHIN, "s"))
        if not isinstance(trouble, FailOver):  # whose end is a moment that workers may know before us
            checks.append(Check("words of /health that were not true meanwhile", lies, 0))
    return cluster.outcome(trouble.name, phases, converged, checks, away=returned - began)


KINDS = (Killed, Frozen, Flushed, Restarted, FailOver, BlackHole)
