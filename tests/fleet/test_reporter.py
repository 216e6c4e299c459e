"""Unreachable backends are reported in the background."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devtools.wait import eventually
from lbflask.core.model import ActiveHealth, Health
from lbflask.fleet import reporter
from lbflask.fleet.fleet import Fleet
from tests.fleet.stores import NEVER, POOL, FlakyStore

UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)


class TestSuspects:
    def test_the_checker_is_told_in_the_background(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store)
        before = store.calls_of_this_thread()
        fleet.report_unreachable(POOL, "a:80")
        eventually(lambda: store.asked("report_suspect") == [("web", "a:80")], "the report reached the checker")
        assert store.calls_of_this_thread() == before

    def test_each_backend_is_told_of_once_in_a_while(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "UNREACHABLE_EVERY", NEVER)
        fleet = started(store, POOL, "api")
        for turn in range(100):
            fleet.report_unreachable(POOL, "a")
            fleet.report_unreachable("api" if turn % 2 else POOL, "b")
        eventually(lambda: len(store.asked("report_suspect")) >= 3, "the report reached the checker")
        fleet.report_unreachable(POOL, "a")
        fleet.report_unreachable(POOL, "b")
        fleet.report_unreachable("api", "b")
        fleet.report_unreachable(POOL, "last")
        eventually(lambda: ("web", "last") in store.asked("report_suspect"), "the last report reached the checker")
        assert sorted(store.asked("report_suspect")) == [("api", "b"), ("web", "a"), ("web", "b"), ("web", "last")]

    def test_a_backend_that_is_still_out_of_reach_is_told_of_again(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "UNREACHABLE_EVERY", 0.0)
        fleet = started(store)
        for times in (1, 2):
            fleet.report_unreachable(POOL, "a")
            eventually(lambda times=times: store.asked("report_suspect") == [("web", "a")] * times, "told")  # type: ignore[misc]

    @pytest.mark.usefixtures("never_polls")
    def test_a_store_that_cannot_be_told_is_marked_as_gone_and_tried_again(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "UNREACHABLE_EVERY", 0.0)
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        store.lose(quietly=True)
        fleet.report_unreachable(POOL, "a")
        eventually(lambda: fleet.degraded, "the store is marked")
        store.find()
        store.tell(POOL)  # ends the follower's wait; it sees the mark
        eventually(lambda: not fleet.degraded, "the follower finds it")
        fleet.report_unreachable(POOL, "b")
        eventually(lambda: ("web", "b") in store.asked("report_suspect"), "the report reached the checker")
