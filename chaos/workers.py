"""A worker is killed: its own connections are lost and nothing else, its counts vanish, and another takes its place."""

from __future__ import annotations

import math
import os
import signal
import time

import redis

from chaos.analysis import HealthSample, Outcome, Phases, failures, first_word, under_way
from chaos.cluster import KEYS, Pace, chaos_cluster, within
from chaos.observer import owners
from devtools.report import Check
from lbflask.store.ports import DEAD_AFTER

#: Every so many-th request takes a while, so that some are always under way.
SLOW = 10
#: Seconds until the dead worker's counts are gone, and until its successor serves.
GONE_WITHIN = 3.0
REPLACED_WITHIN = 5.0
#: Seconds that a killed process's connections take to close.
CLOSING = 0.1


def counted(client: redis.Redis, pid: int) -> bool:
    """Whether the store still has what this worker had in flight. A worker is known by host, pid and chance."""
    return any(str(name).split(":")[-2] == str(pid) for name in client.hkeys(KEYS.workers))


def killed(pace: Pace) -> Outcome:
    """SIGKILL to one worker of one instance."""
    with chaos_cluster() as cluster:
        client = cluster.client
        cluster.start_load(pace, SLOW)
        balancer = cluster.balancers[0]
        victim = balancer.workers()[0]
        its_own = {local for local, pid in owners(balancer.port, balancer.workers()).items() if pid == victim}
        known = within(lambda: counted(client, victim), 5)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        gone = within(lambda: not counted(client, victim) and time.monotonic() - began, DEAD_AFTER + 5) or math.inf
        time.sleep(pace.calm)
        after = cluster.workers
        asked = cluster.stop_load()
        phases = Phases.of(asked, cluster.began, began, began + DEAD_AFTER)

        def serves(sight: HealthSample) -> bool:
            return sight.status == "ok"

        replaced = first_word(cluster.sights, after, began, serves)
        lost = under_way(asked, its_own, began, began + CLOSING)
        failed = failures(asked)
        innocent = [request for request in failed if request not in lost]
        checks = [
            Check("its counts are gone", gone if known else math.inf, GONE_WITHIN, "s"),
            Check("requests that failed and were not in its hands", len(innocent), 0),
            Check("requests that failed, of those in its hands", len(failed), len(lost)),
            Check("requests in its hands", len(lost), 1, at_least=True),
            Check("its successor serves", replaced if len(after) == len(cluster.balancers) * 2 else math.inf,
                  REPLACED_WITHIN, "s"),
            cluster.tracebacks(),
        ]  # fmt: skip
        notes = {"lost": len(lost), "connections": len(its_own), "innocent": innocent[:5]}
        return Outcome("worker killed", len(asked), len(failed), phases.p99, gone, checks, notes)
