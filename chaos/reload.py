"""The configuration changes again and again under load, with tunnels and downloads open: clients notice nothing but
the new settings. A file with an error follows, and changes nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

from chaos.analysis import Outcome, Phases
from chaos.cluster import FULL, ChaosCluster, Pace, chaos_cluster, within
from chaos.streams import streams
from devtools.report import Check
from devtools.servers import Gunicorn, get

#: Reloads, and seconds for all of them.
RELOADS, SECONDS = 100, 60.0
QUICK_RELOADS, QUICK_SECONDS = 5, 2.0
#: Tunnels, and downloads at a time.
STREAMS = 20
#: Seconds until all workers of all instances use a configuration.
AGREED_WITHIN = 1.0
#: A configuration with an error, and parts of the message about it, which names the line of the key.
BROKEN = 'backends = ["http://127.0.0.1:1"]\nstrategy = "frist"'
EXPECTED = ("lbflask.toml:2: strategy = 'frist'",)


def configurations(cluster: ChaosCluster) -> Iterator[str]:
    """One after another: weights, a backend that is removed and added, strategies, time-outs."""
    one, two, three = (backend.url for backend in cluster.backends)
    for weight, strategy, with_third in cycle(
        [
            (1, "round_robin", True),
            (3, "round_robin", True),
            (3, "least_connections", False),
            (1, "least_connections", True),
            (2, "random_two", True),
            (2, "consistent_hash", False),
            (5, "round_robin", True),
        ]
    ):
        backends: list[Any] = [{"url": one, "weight": weight}, two, *([three] if with_third else [])]
        yield f"backends = {_toml(backends)}\nstrategy = {json.dumps(strategy)}\ntimeouts.connect = {weight}"


def _toml(backends: list[Any]) -> str:
    tables = [
        one if isinstance(one, str) else "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in one.items()) + " }"
        for one in backends
    ]
    return "[" + ", ".join(json.dumps(t) if t.startswith("http") else t for t in tables) + "]"


def reload(balancer: Gunicorn) -> tuple[int, dict[str, Any]]:
    """Request a reload of this instance. Returns status and document."""
    response = get(balancer.admin_port, "/api/v1/reload", "POST")
    return response.status, json.loads(response.body)


def versions(balancer: Gunicorn) -> set[str]:
    """The configuration versions of the workers of the instance."""
    return {document["worker"]["config_version"] for document in balancer.documents().values()}


def run(pace: Pace) -> Outcome:
    """A hundred reloads in a minute; five in two seconds in a quick run."""
    count, seconds = (RELOADS, SECONDS) if pace == FULL else (QUICK_RELOADS, QUICK_SECONDS)
    with chaos_cluster(in_file=True, health__jitter=0) as cluster:
        cluster.start_load(pace)
        before, ports = cluster.workers, [balancer.port for balancer in cluster.balancers]
        with streams(ports, STREAMS, min(5.0, seconds)) as running:
            began, refused, version = time.monotonic(), [], ""
            for number, text in zip(range(count), configurations(cluster), strict=False):
                time.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
                cluster.write(text)
                for balancer in cluster.balancers:
                    status, document = reload(balancer)
                    version = document.get("config_version", "")
                    if status != 200:
                        refused.append(document)
            agreed = _agreed(cluster, began=time.monotonic())
            over = time.monotonic()
            cluster.write(BROKEN)
            wrong = [reload(balancer) for balancer in cluster.balancers]
            time.sleep(pace.calm)
            unmoved = sum(versions(balancer) == {version} for balancer in cluster.balancers)
        phases = Phases.of(cluster.stop_load(), cluster.began, began, over)
        served = [sum(s.moment > began and s.target == "/" for s in one.served()) for one in cluster.backends]
        explained = sum(
            code == 422 and all(part in document["detail"] for part in EXPECTED) for code, document in wrong
        )
        checks = [
            phases.calm(),
            Check("reloads that were refused", len(refused), 0),
            Check("reloads a second", count / (over - began), 0.9 * count / seconds, at_least=True),
            Check("tunnels lost", len(running.lost_tunnels), 0),
            Check("downloads broken off", len(running.broken_downloads), 0),
            Check("echoes of tunnels", running.echoes, STREAMS * 10, at_least=True),
            Check("downloads", running.downloads, STREAMS, at_least=True),
            Check("workers that were replaced", len(cluster.workers ^ before), 0),
            Check("all workers agree on the last", agreed, AGREED_WITHIN, "s"),
            Check("least requests of a backend", min(served), 1, at_least=True),
            Check("instances that refuse a bad file by key and line", explained, len(wrong), at_least=True),
            Check("instances that it leaves unchanged", unmoved, len(wrong), at_least=True),
        ]
        return cluster.outcome(
            "reloads", phases, agreed, checks, streams=(running.lost_tunnels + running.broken_downloads)[:5],
            refused=refused[:5], wrong=wrong, reloads=count, echoes=running.echoes, downloads=running.downloads,
        )  # fmt: skip


def _agreed(cluster: ChaosCluster, began: float) -> float:
    """Seconds until all workers of all instances use the same version."""

    def one() -> bool:
        return len({version for balancer in cluster.balancers for version in versions(balancer)}) == 1

    return time.monotonic() - began if within(one, 10 * AGREED_WITHIN) else math.inf
