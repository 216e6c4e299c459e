"""The gauges of slot queues, descriptors and sessions."""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread

from devtools.wait import PATIENCE, eventually
from lbflask.config.schema import Config
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.services import InFlight
from lbflask.store.memory import MemoryStore
from lbflask.telemetry.metrics import definitions
from lbflask.upstream.dialer import Dialer
from lbflask.wiring.backend_connections import BackendConnections
from lbflask.wiring.gauges import descriptor_gauges, slot_gauges, worker_gauges
from tests.support.pools import backend


def test_each_descriptor_that_this_process_opens_is_counted(tmp_path: Path) -> None:
    def counted() -> dict[str, float]:
        assert {labels for _, labels, _ in descriptor_gauges()} == {(str(os.getpid()),)}
        return {metric.name: value for metric, _, value in descriptor_gauges()}

    before = counted()
    with ExitStack() as files:
        for _ in range(50):
            files.enter_context((tmp_path / "file").open("w"))
        assert counted()["process_open_fds"] >= before["process_open_fds"] + 40  # others may have been closed meanwhile
    assert before["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_requests_that_wait_for_a_slot_and_those_that_hold_one_are_counted_until_there_are_none() -> None:
    one = replace(backend("one"), max_connections=1)
    slots = Slots(Fleet(MemoryStore(lambda: 1000.0), ["web"]))
    samples = slot_gauges(slots)
    assert list(samples()) == []
    ours = slots.of("web")
    try:
        assert ours.take(one)
        second = Thread(target=lambda: ours.wait([one], QueuePolicy(5, 10.0), 10.0, None))
        second.start()
        eventually(
            lambda: set(samples()) == {(definitions.QUEUED, ("web",), 1), (definitions.SLOTS, ("web", "one"), 1)},
            "one waits",
        )
        ours.release("one")
        second.join(PATIENCE)
        eventually(
            lambda: set(samples()) == {(definitions.QUEUED, ("web",), 0), (definitions.SLOTS, ("web", "one"), 1)},
            "none waits",
        )
        ours.release("one")
        assert set(samples()) == {(definitions.QUEUED, ("web",), 0), (definitions.SLOTS, ("web", "one"), 0)}
    finally:
        slots.stop()


def test_requests_in_flight_are_counted_until_there_are_none_and_then_no_more() -> None:
    fleet = Fleet(MemoryStore(lambda: 1000.0), ["web"])
    config = Config.model_validate({"backends": ["http://a:1"]})
    samples = worker_gauges(fleet, BackendConnections(config, lambda *_: Dialer(), time.monotonic), InFlight())

    def in_flight() -> dict[str, float]:
        return {labels[1]: value for metric, labels, value in samples() if metric is definitions.BACKEND_IN_FLIGHT}

    traffic = fleet.traffic("web")
    traffic.began("one")
    traffic.began("two")
    assert in_flight() == {"one": 1, "two": 1}
    traffic.ended("one")
    assert in_flight() == {"one": 0, "two": 1}
    assert in_flight() == {"two": 1}
    traffic.began("one")
    traffic.ended("two")
    assert in_flight() == {"one": 1, "two": 0}
