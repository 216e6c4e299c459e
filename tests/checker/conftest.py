from __future__ import annotations

from collections.abc import Callable

import pytest

from lbflask.store.memory import MemoryStore
from tests.checker.doubles import (
    Checkers,
    ManualClock,
    RecordingStore,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> RecordingStore:
    return RecordingStore(MemoryStore(clock))


@pytest.fixture
def standing_by(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    """Whether a checker has logged that it stands by."""
    caplog.set_level("INFO", "lbflask.checker")
    return lambda: "standing by" in caplog.text


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkers, "lease", 0.15)
