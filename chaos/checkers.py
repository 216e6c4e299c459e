"""Checkers die and freeze: a successor writes within the lease and a second, no write of an old epoch is applied, and
requests succeed without any checker.
"""

from __future__ import annotations

import math
import os
import signal
import time

import redis

from chaos.analysis import Outcome, Phases
from chaos.backends import Ejected, attempts_after
from chaos.cluster import KEYS, Pace, chaos_cluster, ejection, within
from devtools.cluster import Cluster
from devtools.monitor import WriteMonitor
from devtools.report import Check
from devtools.servers import Process

#: Seconds: the default of `health.lease`, and the time that a successor has beyond it.
LEASE = 3.0
GRACE = 1.0
#: Seconds until an ejected backend is probed, in the scenario that counts probes.
DURATION = 2


def leader(cluster: Cluster, client: redis.Redis) -> Process:
    """The checker that leads, by the lease, which names host, pid and a random part. Raises RuntimeError."""

    def found() -> Process | None:
        holder = str(client.get(KEYS.leader) or "::")
        return next((c for c in cluster.checkers if str(c.pid) == holder.split(":")[-2]), None)

    leads = within(found, 10)
    if leads is None:
        raise RuntimeError("no checker leads")
    return leads


def epoch(client: redis.Redis) -> int:
    """The latest epoch."""
    return int(str(client.get(KEYS.epoch) or 0))


def latest_write(client: redis.Redis) -> float:
    """When a checker wrote last, by the clock of the store, which is that of the machine."""
    return int(str(client.get(KEYS.heartbeat) or "0").split(":")[0]) / 1000


def await_successor(client: redis.Redis, before: int, since: float) -> float:
    """Seconds from `since` (since the epoch) until a checker of a later epoch has written; infinite if none does."""
    if not within(lambda: epoch(client) > before, LEASE + 10):
        return math.inf
    taken = epoch(client) / 1_000_000
    written = within(lambda: (latest := latest_write(client)) >= taken - 0.001 and latest, 10)
    return written - since if written else math.inf


def leader_killed(pace: Pace) -> Outcome:
    """SIGKILL to the leader."""
    with chaos_cluster() as cluster:
        client = cluster.client
        cluster.start_load(pace)
        before, victim = epoch(client), leader(cluster, client)
        began, at = time.monotonic(), time.time()
        victim.signal(signal.SIGKILL)
        wrote = await_successor(client, before, at)
        over = time.monotonic()
        time.sleep(pace.calm)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        checks = [phases.calm(), Check("the successor has written", wrote, LEASE + GRACE, "s")]
        return cluster.outcome("leader killed", phases, wrote, checks)


def leader_frozen(pace: Pace) -> Outcome:
    """SIGSTOP to the leader, for longer than its lease, and SIGCONT."""
    with chaos_cluster() as cluster, WriteMonitor(cluster.redis_url) as monitor:
        client = cluster.client
        cluster.start_load(pace)
        before, victim = epoch(client), leader(cluster, client)
        began, at = time.monotonic(), time.time()
        victim.signal(signal.SIGSTOP)
        try:
            wrote = await_successor(client, before, at)
        finally:
            victim.signal(signal.SIGCONT)
        thawed, seen = time.monotonic(), len(monitor.applied)
        time.sleep(LEASE + pace.calm)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, thawed)
        outdated = sum(applied <= before for applied in monitor.applied[seen:])
        backwards = sum(b < a for a, b in zip(monitor.applied, monitor.applied[1:], strict=False))
        checks = [
            phases.calm(),
            Check("the successor has written", wrote, LEASE + GRACE, "s"),
            Check("writes of the old epoch that were applied", outdated + backwards, 0),
            Check("writes that were applied and observed", len(monitor.applied), 2, at_least=True),
        ]
        attempted = sum(requested <= before for requested in monitor.requested[seen:])
        return cluster.outcome("leader frozen", phases, wrote, checks, old_writes_attempted=attempted)


def all_killed(pace: Pace) -> Outcome:
    """No checker is left, and a backend dies."""
    with chaos_cluster(ejection__duration=DURATION) as cluster:
        client = cluster.client
        cluster.start_load(pace)
        for checker in cluster.checkers:
            checker.signal(signal.SIGKILL)
        dead = cluster.backends[1]
        began, at = time.monotonic(), time.time()
        os.kill(dead.process.pid, signal.SIGKILL)
        known = within(lambda: ejection(client, dead.id), 10)
        time.sleep(pace.trouble)
        over = time.monotonic()
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        last = ejection(client, dead.id)
        gone = Ejected(dead.id, known.since if known else math.inf)
        probes = last.times - 1 if last else 0
        tried = attempts_after(cluster.attempts(), gone)
        checks = [
            phases.calm(),
            Check("the dead backend is ejected", gone.since - at, 1.0, "s"),
            Check("attempts there that were not probes", max(0, tried - probes - 1), 0),
            Check("probes", min(probes, tried), 1, at_least=True),
        ]
        return cluster.outcome("no checker", phases, gone.since - at, checks, tried=tried, probes=probes)
