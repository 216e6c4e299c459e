"""The gauges of slot queues."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread

from devtools.wait import PATIENCE, eventually
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_renewer import Slots
from lbflask.store.memory import MemoryStore
from lbflask.telemetry.metrics import definitions
from lbflask.wiring.gauges import slot_gauges
from tests.support.pools import backend


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
