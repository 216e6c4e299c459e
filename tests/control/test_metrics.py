from __future__ import annotations

from lbflask.control.metrics import instance_samples
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from lbflask.telemetry.metrics.definitions import INSTANCE_WORKERS
from tests.control.servers import Counter


def test_a_silent_worker_is_no_serving_one() -> None:
    counter = Counter()
    for pid in (7, 8):
        report = WorkerReport(WorkerIdentity("one", "host", pid, expected=3), counter.clock(), 10.0)
        counter.facts.beat("default", f"host:{pid}:a", Beat(report=report), read=False)
    counter.clock.advance(4.0)
    counter.facts.beat("default", "host:8:a", Beat(), read=True)
    assert {labels: value for _, labels, value in instance_samples(counter.api.instances())} == {
        ("one", "serving"): 1, ("one", "silent"): 1, ("one", "expected"): 3,
    }  # fmt: skip
    assert {metric for metric, _, _ in instance_samples(counter.api.instances())} == {INSTANCE_WORKERS}


def test_while_the_store_is_away_nothing_is_said_about_instances() -> None:
    counter = Counter()
    counter.facts.beat("default", "host:7:a", Beat(report=WorkerReport(WorkerIdentity("one"), 0, 1.0)), read=False)
    assert counter.api.instances()
    counter.fleet.degrade("gone")
    assert counter.api.instances() == []
