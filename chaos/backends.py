"""Backends die, break and flap, and clients hang up: an ejection applies to all workers at once, and to no other
backend.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from chaos.analysis import Outcome, Phases, late
from chaos.cluster import KEYS, Announcements, ChaosCluster, Pace, chaos_cluster, ejection, within
from chaos.load import get
from devtools.environment import HOST
from devtools.report import Check
from devtools.traffic import AccessLogLine

#: Seconds after an ejection after which no worker tries the backend.
EVERYWHERE_WITHIN = 0.05
#: Seconds from the first failure to the ejection: attempts of other workers are counted half a second late.
EJECTED_WITHIN = 1.0
#: Clients that hang up, and the number that waits at once.
HANGERS, AT_ONCE = 120, 12
#: Seconds between two checks of a backend that flaps.
FLAP_INTERVAL = 0.25


@dataclass(frozen=True, slots=True)
class Ejected:
    """An ejected backend, and the time of its ejection in seconds since the epoch."""

    backend: str
    since: float


def attempts_after(log: Iterable[AccessLogLine], gone: Ejected) -> int:
    """Attempts at the backend in requests that began when its ejection had to apply in all workers.

    The times of the log are cut to whole milliseconds.
    """
    return sum(line.tried.count(gone.backend) for line in log if line.began > gone.since + EVERYWHERE_WITHIN)


def await_ejection(cluster: ChaosCluster, announcements: Announcements, backend: str, since: float) -> Ejected:
    """When it left service: by the record of its ejection, or by an announcement of the checker that was earlier."""
    client = cluster.client
    record = within(lambda: ejection(client, backend), 10)
    announced = min((moment for moment, _ in announcements.received if moment >= since), default=math.inf)
    return Ejected(backend, min(record.since if record else math.inf, announced))


def killed(pace: Pace) -> Outcome:
    """SIGKILL to a backend."""
    with chaos_cluster() as cluster:
        announcements = cluster.announcements()
        cluster.start_load(pace)
        dead = cluster.backends[0]
        began, at = time.monotonic(), time.time()
        os.kill(dead.process.pid, signal.SIGKILL)
        gone = await_ejection(cluster, announcements, dead.id, at)
        time.sleep(pace.trouble)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, began + 2)
        log = cluster.attempts()
        met = sum(line.tried.count(dead.id) for line in log if line.moment >= at)
        checks = [
            phases.calm(),
            Check("it is ejected", gone.since - at, EJECTED_WITHIN, "s"),
            Check("attempts there later than 50 ms after that", attempts_after(log, gone), 0),
            Check("attempts there until then", met, 3, at_least=True),
            Check("lines of the access logs", len(log), len(cluster.requests), at_least=True),
        ]
        return cluster.outcome("backend killed", phases, gone.since - at, checks)


def broken(pace: Pace) -> Outcome:
    """A backend answers every request with 500, while its checks succeed."""
    with chaos_cluster() as cluster:
        announcements = cluster.announcements()
        cluster.start_load(pace)
        bad = cluster.backends[0]
        began, at = time.monotonic(), time.time()
        bad.become("broken")
        gone = await_ejection(cluster, announcements, bad.id, at)
        time.sleep(pace.trouble)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, began + 2)
        by_its_log = late((s.moment for s in bad.served()), began + gone.since - at + EVERYWHERE_WITHIN)
        passed_on = sum(request.failure == "500" for request in cluster.requests)
        checks = [
            phases.calm(),
            Check("it is ejected", gone.since - at, EJECTED_WITHIN, "s"),
            Check("requests there later than 50 ms after that, by its log", by_its_log, 0),
            Check("requests that it failed until then", passed_on, 5, at_least=True),
            Check("requests there later than 50 ms, by the access logs", attempts_after(cluster.attempts(), gone), 0),
        ]
        return cluster.outcome("backend broken", phases, gone.since - at, checks, but="500")


def clients_hang_up(pace: Pace) -> Outcome:
    """Clients close their connections before the response arrives: no backend is ejected for it."""
    with chaos_cluster() as cluster:
        client = cluster.client
        cluster.start_load(pace)
        began = time.monotonic()
        for turn in range(HANGERS // AT_ONCE):
            _hang_up(cluster, AT_ONCE, turn)
        over = time.monotonic()
        time.sleep(pace.calm)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        waited = [sum(s.target == "/hold" for s in backend.served()) for backend in cluster.backends]
        out = sum(1 for record in client.hvals(KEYS.ejected) if '"out":true' in str(record))
        reported = sum(bool(sample.ejected) for sample in cluster.samples)
        checks = [
            phases.calm(),
            Check("backends that are ejected", out + reported, 0),
            Check("clients that hung up on each backend", min(waited), 10, at_least=True),
        ]
        return cluster.outcome("clients hang up", phases, math.nan, checks, waited=waited)


def _hang_up(cluster: ChaosCluster, count: int, turn: int) -> None:
    """So many clients send a request, wait a tenth of a second, and close."""
    with ExitStack() as waiting:
        for number in range(count):
            balancer = cluster.balancers[(turn + number) % len(cluster.balancers)]
            client = waiting.enter_context(socket.create_connection((HOST, balancer.port), timeout=5))
            client.sendall(get("/hold"))
        time.sleep(0.1)


def flapping(pace: Pace) -> Outcome:
    """Every third check of a backend fails."""
    settings: dict[str, Any] = {"health__interval": FLAP_INTERVAL, "health__path": "/check", "health__jitter": 0}
    with chaos_cluster(mode="flapping", **settings) as cluster:
        flapper = cluster.backends[0]
        client = cluster.client
        announcements = cluster.announcements()
        cluster.start_load(pace)
        began = time.monotonic()
        time.sleep(pace.trouble)
        over = time.monotonic()
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        failed = sum(s.status == 503 for s in flapper.served() if s.moment >= began)
        health = str(client.hget(KEYS.active, flapper.id))
        checks = [
            phases.calm(),
            Check("changes of health", len(announcements.received) + ('"up"' not in health), 0),
            Check("checks that failed", failed, 3, at_least=True),
        ]
        return cluster.outcome("backend flapping", phases, math.nan, checks, checks_failed=failed)
