"""Fixtures of the tests of the fleet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lbflask.fleet import follower
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import WorkerStore
from tests.fleet.desk import Desk
from tests.fleet.stores import NEVER, POOL, FlakyStore, await_no_thread


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore(MemoryStore(time.time))


@pytest.fixture
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fleet learns, it learns from messages."""
    monkeypatch.setattr(follower, "POLL_EVERY", NEVER)


@pytest.fixture
def started() -> Iterator[Callable[..., Fleet]]:
    """Start a fleet that is stopped after the test, and leaves no thread behind for longer than a wait in it lasts."""
    fleets = []

    def start(store: WorkerStore, *pools: str, **options: object) -> Fleet:
        fleet = Fleet(store, pools or (POOL,), **options)  # type: ignore[arg-type]
        fleet.start()
        fleets.append(fleet)
        return fleet

    yield start
    for fleet in fleets:
        fleet.stop()
    await_no_thread()


@pytest.fixture
def desk() -> Desk:
    return Desk()
