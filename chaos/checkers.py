"""Checkers die and freeze: a successor speaks within the lease and a second, no word of the past lands, and the last
one is not needed.
"""

from __future__ import annotations

import math
import os
import signal
import time

import redis

from chaos.analysis import Outcome, Phases
from chaos.backends import Ejected, attempts_after
from chaos.cluster import KEYS, ChaosCluster, Pace, chaos_cluster, ejection, within
from devtools.monitor import WriteMonitor
from devtools.report import Check
from devtools.servers import Process

#: Seconds: `health.lease` as it is by default, and what a successor has beyond it.
LEASE = 3.0
GRACE = 1.0
#: Seconds until an ejected backend is probed, where probes are to be seen.
DURATION = 2


def leader(cluster: ChaosCluster, client: redis.Redis) -> Process:
    """The checker that leads, by what it has written of itself: host, pid and chance. Raises RuntimeError."""

    def found() -> Process | None:
        holder = str(client.get(KEYS.leader) or "::")
        return next((c for c in cluster.checkers if str(c.pid) == holder.split(":")[-2]), None)

    leads = within(found, 10)
    if leads is None:
        raise RuntimeError("no checker leads")
    return leads


def epoch(client: redis.Redis) -> int:
    """The latest."""
    return int(str(client.get(KEYS.epoch) or 0))


def latest_word(client: redis.Redis) -> float:
    """When a checker wrote last, by the store's clock, which is the machine's."""
    return int(str(client.get(KEYS.heartbeat) or "0").split(":")[0]) / 1000


def await_successor(client: redis.Redis, before: int, since: float) -> float:
    """Seconds from `since` (since the epoch) until a checker of a later epoch has written; infinite if none does."""
    if not within(lambda: epoch(client) > before, LEASE + 10):
        return math.inf
    taken = epoch(client) / 1_000_000
    word = within(lambda: (said := latest_word(client)) >= taken - 0.001 and said, 10)
    return word - since if word else math.inf


def leader_killed(pace: Pace) -> Outcome:
    """SIGKILL to the one that leads."""
    with chaos_cluster() as cluster:
        client = cluster.client
        cluster.start_load(pace)
        before, victim = epoch(client), leader(cluster, client)
        began, at = time.monotonic(), time.time()
        victim.signal(signal.SIGKILL)
        spoke = await_successor(client, before, at)
        over = time.monotonic()
        time.sleep(pace.calm)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        checks = [phases.calm(), Check("the successor has written", spoke, LEASE + GRACE, "s")]
        return cluster.outcome("leader killed", phases, spoke, checks)


def leader_frozen(pace: Pace) -> Outcome:
    """SIGSTOP to the one that leads, for longer than its lease, and SIGCONT."""
    with chaos_cluster() as cluster, WriteMonitor(cluster.redis_url) as monitor:
        client = cluster.client
        cluster.start_load(pace)
        before, victim = epoch(client), leader(cluster, client)
        began, at = time.monotonic(), time.time()
        victim.signal(signal.SIGSTOP)
        try:
            spoke = await_successor(client, before, at)
        finally:
            victim.signal(signal.SIGCONT)
        thawed, seen = time.monotonic(), len(monitor.applied)
        time.sleep(LEASE + pace.calm)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, thawed)
        of_the_past = sum(landed <= before for landed in monitor.applied[seen:])
        backwards = sum(b < a for a, b in zip(monitor.applied, monitor.applied[1:], strict=False))
        checks = [
            phases.calm(),
            Check("the successor has written", spoke, LEASE + GRACE, "s"),
            Check("writes of the old epoch that landed", of_the_past + backwards, 0),
            Check("writes that landed and were seen", len(monitor.applied), 2, at_least=True),
        ]
        asked = sum(asked <= before for asked in monitor.requested[seen:])
        return cluster.outcome("leader frozen", phases, spoke, checks, asked_by_the_thawed=asked)


def all_killed(pace: Pace) -> Outcome:
    """No checker is left, and then a backend dies."""
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
            Check("attempts there that were no probes", max(0, tried - probes - 1), 0),
            Check("probes", min(probes, tried), 1, at_least=True),
        ]
        return cluster.outcome("no checker", phases, gone.since - at, checks, tried=tried, probes=probes)
