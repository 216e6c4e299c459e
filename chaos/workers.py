"""A worker is killed: only its connections are lost, its counts are removed, and another worker replaces it."""

from __future__ import annotations

import math
import os
import signal
import time

import redis

from chaos.analysis import HealthSample, Outcome, Phases, failures, first_match, under_way
from chaos.cluster import KEYS, Pace, chaos_cluster, within
from chaos.observer import owners
from devtools.report import Check
from lbflask.store.ports import DEAD_AFTER

#: One request of so many is slow, so that some are always under way.
SLOW = 10
#: Seconds until the counts of the dead worker are removed, and until its successor serves.
GONE_WITHIN = 3.0
REPLACED_WITHIN = 5.0
#: Seconds until the connections of a killed process are closed.
CLOSING = 0.1


def counted(client: redis.Redis, pid: int) -> bool:
    """Whether the store has counts of this worker. The name of a worker is its host, its pid and a random part."""
    return any(str(name).split(":")[-2] == str(pid) for name in client.hkeys(KEYS.workers))


def killed(pace: Pace) -> Outcome:
    """SIGKILL to one worker of one instance."""
    with chaos_cluster() as cluster:
        client = cluster.client
        cluster.start_load(pace, SLOW)
        balancer = cluster.balancers[0]
        victim = balancer.workers()[0]
        connections = {local for local, pid in owners(balancer.port, balancer.workers()).items() if pid == victim}
        known = within(lambda: counted(client, victim), 5)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        gone = within(lambda: not counted(client, victim) and time.monotonic() - began, DEAD_AFTER + 5) or math.inf
        time.sleep(pace.calm)
        after = cluster.workers
        requests = cluster.stop_load()
        phases = Phases.of(requests, cluster.began, began, began + DEAD_AFTER)

        def serves(sample: HealthSample) -> bool:
            return sample.status == "ok"

        replaced = first_match(cluster.samples, after, began, serves)
        lost = under_way(requests, connections, began, began + CLOSING)
        failed = failures(requests)
        others = [request for request in failed if request not in lost]
        checks = [
            Check("its counts are gone", gone if known else math.inf, GONE_WITHIN, "s"),
            Check("requests of other workers that failed", len(others), 0),
            Check("failed requests, of those that it served", len(failed), len(lost)),
            Check("requests that it served", len(lost), 1, at_least=True),
            Check("its successor serves", replaced if len(after) == len(cluster.balancers) * 2 else math.inf,
                  REPLACED_WITHIN, "s"),
            cluster.tracebacks(),
        ]  # fmt: skip
        notes = {"lost": len(lost), "connections": len(connections), "others": others[:5]}
        return Outcome("worker killed", len(requests), len(failed), phases.p99, gone, checks, notes)
