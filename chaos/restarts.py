"""Both instances stand behind a third one under load, and are reloaded, upgraded or stopped: no request fails."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chaos.analysis import Outcome, Phases
from chaos.cluster import WARM_UP, ChaosCluster, Pace, chaos_cluster, within
from chaos.load import load
from devtools.report import Check
from devtools.servers import Gunicorn, start_checker, urls
from devtools.wait import eventually

#: Seconds between two checks of an instance by the one in front; the first failed check counts.
FRONT_INTERVAL = 0.5
#: Seconds in which an instance serves on after SIGTERM: some checks of the one in front, on a busy machine.
SHUTDOWN_DELAY = 4
#: Seconds until an instance has new workers, and until it has ended after the delay.
REPLACED_WITHIN = 15.0
ENDED_WITHIN = SHUTDOWN_DELAY + 10.0


@contextmanager
def front(cluster: ChaosCluster) -> Iterator[Gunicorn]:
    """A balancer before the instances of the cluster, with a checker of its own."""
    settings = {
        "redis_url": cluster.redis_url,
        "namespace": "front",
        "backends": urls(balancer.port for balancer in cluster.balancers),
        "health__path": "/health",
        "health__interval": FRONT_INTERVAL,
        "health__fall": 1,
    }
    with Gunicorn(**settings) as balancer, start_checker(**settings):
        eventually(lambda: set(balancer.healths().values()) == {"up"}, "both instances are up")
        yield balancer


def _behind_a_balancer(name: str, pace: Pace, restart: Callable[[ChaosCluster, Gunicorn], list[Check]]) -> Outcome:
    with chaos_cluster(in_file=True, timeouts__shutdown_delay=SHUTDOWN_DELAY) as cluster, front(cluster) as balancer:
        with load([balancer.port]) as running:
            time.sleep(WARM_UP)
            began = time.monotonic()
            time.sleep(pace.calm)
            trouble = time.monotonic()
            checks = restart(cluster, balancer)
            over = time.monotonic()
            time.sleep(pace.calm)
            requests = sorted(running.stop(), key=lambda request: request.due)
        return cluster.outcome(name, Phases.of(requests, began, trouble, over), math.nan, checks)


def new_workers(pace: Pace) -> Outcome:
    """SIGHUP with a setting that only new workers apply, to one instance after the other."""

    def restart(cluster: ChaosCluster, _: Gunicorn) -> list[Check]:
        before = cluster.workers
        backends = json.dumps([backend.url for backend in cluster.backends])
        cluster.write(f"backends = {backends}\nlimits.line = 4000")
        for one in cluster.balancers:
            old, began = one.workers(), time.monotonic()
            one.signal(signal.SIGHUP)
            one.await_workers(without=old)
            checks.append(Check("an instance has new workers", time.monotonic() - began, REPLACED_WITHIN, "s"))
        return [*checks, Check("workers that were not replaced", len(cluster.workers & before), 0)]

    checks: list[Check] = []
    return _behind_a_balancer("new workers behind a balancer", pace, restart)


def upgrade(pace: Pace) -> Outcome:
    """SIGUSR2 to one instance after the other, and SIGTERM to its old master when the new one serves."""

    def restart(cluster: ChaosCluster, _: Gunicorn) -> list[Check]:
        codes = []
        for one in cluster.balancers:
            os.kill(one.upgrade(), signal.SIGTERM)
            codes.append(one.wait())
        serving = [code for balancer in cluster.balancers for code in [balancer.health()[0]] if code == 200]
        return [
            Check("old masters with another exit code than 0", sum(map(bool, codes)), 0),
            Check("instances that serve afterwards", len(serving), len(codes), at_least=True),
        ]

    return _behind_a_balancer("upgrade behind a balancer", pace, restart)


def stop(pace: Pace) -> Outcome:
    """SIGTERM to one instance, which serves on until the balancer in front has noticed."""

    def restart(cluster: ChaosCluster, balancer: Gunicorn) -> list[Check]:
        one, began = cluster.balancers[0], time.monotonic()
        one.signal(signal.SIGTERM)
        gone = f"127.0.0.1:{one.port}"
        noticed = within(lambda: balancer.healths()[gone] == "down" and time.monotonic() - began, ENDED_WITHIN)
        code = one.wait()
        return [
            Check("the balancer in front has noticed", noticed or math.inf, SHUTDOWN_DELAY, "s"),
            Check("the instance has ended", time.monotonic() - began, ENDED_WITHIN, "s"),
            Check("its exit code", code, 0),
        ]

    return _behind_a_balancer("stop behind a balancer", pace, restart)
