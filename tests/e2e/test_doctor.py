"""`lbflask doctor` names what is broken in a real fleet, with a remedy that ends it."""

from __future__ import annotations

import json
import os
import re
import signal

from devtools.cluster import Cluster
from devtools.wait import eventually


def test_a_frozen_worker_is_named_and_the_remedy_replaces_it() -> None:
    with Cluster(instances=1, workers=2, backends=1) as cluster:
        (balancer,) = cluster.balancers
        eventually(lambda: "✓ workers: 2 in 1 instance" in _doctor(cluster), "both workers serve")
        (instance,) = json.loads(cluster.api("/fleet").body)["instances"]
        for worker in instance["workers"]:
            assert 0 < worker["descriptors"] < worker["descriptor_limit"]
        (place,) = {(worker["host"], worker["boot"], worker["lineage"]) for worker in instance["workers"]}
        assert all(place), "both are of one machine and one master"
        frozen, _ = balancer.workers()
        os.kill(frozen, signal.SIGSTOP)
        found = eventually(lambda: re.search(r"✗ .*worker (\d+) has been silent for", _doctor(cluster)), "it is named")
        assert found is not None
        assert int(found[1]) == frozen
        remedy = re.search(r"`kill -KILL (\d+)`", _doctor(cluster))
        assert remedy is not None
        os.kill(int(remedy[1]), signal.SIGKILL)
        eventually(lambda: "✓ workers: 2 in 1 instance" in _doctor(cluster), "gunicorn has replaced it")
        assert "silent" not in _doctor(cluster)
        balancer.signal(signal.SIGTTOU)
        eventually(lambda: "✓ workers: 1 in 1 instance" in _doctor(cluster), "the remaining worker has the new number")


def _doctor(cluster: Cluster) -> str:
    """The output, whatever it finds."""
    return cluster.command("doctor", code=None)
