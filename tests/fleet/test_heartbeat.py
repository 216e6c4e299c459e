"""Beats of a worker, and the reports that go along with them."""

from __future__ import annotations

import pytest

from lbflask.core.fleet_stats import quantiles
from lbflask.telemetry.events import AttemptEvent
from tests.fleet.desk import RULE, Desk
from tests.fleet.stores import POOL


class TestBeats:
    @pytest.mark.parametrize(
        ("reading", "busy", "most"), [(False, False, 11), (False, True, 21), (True, True, 101), (True, False, 11)]
    )
    def test_beats_are_few(self, desk: Desk, reading: bool, busy: bool, most: int) -> None:
        for _ in range(1000):  # ten seconds
            desk.clock.advance(0.01)
            if busy:
                desk.serve("a")
            if reading:
                desk.traffic.in_flight.total()
            desk.tell()
        beats = len(desk.store.asked("beat"))
        assert 0.8 * most <= beats <= 1.25 * most

    def test_frequent_beats_do_not_all_carry_attempts(self, desk: Desk) -> None:
        for _ in range(100):  # ten seconds
            desk.clock.advance(0.1)
            desk.serve("a")
            desk.traffic.in_flight.total()
            desk.tell()
        beats = [beat for _, _, beat, *_ in desk.store.asked("beat")]
        counting = [beat for beat in beats if beat.attempts]
        assert len(beats) >= 80
        assert 15 <= len(counting) <= 25
        assert sum(beat.attempts["a"] for beat in counting) >= 95

    def test_a_worker_that_leaves_is_forgotten(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        desk.loads()
        other.traffic.began("a")
        other.tell()
        other.traffic.heartbeat.leave(other.store)
        desk.tell()
        assert desk.loads() == {}


class TestReports:
    def test_a_report_goes_along_with_a_beat_and_looks_back_some_seconds(self, desk: Desk) -> None:
        desk.tell()
        for second in range(20):
            for _ in range(second):
                desk.serve("a", 200 if second % 2 else 503)
                desk.traffic.sample(AttemptEvent(backend="a", seconds=0.010))
            desk.clock.advance(1.0)
            desk.tell()
        (worker,) = desk.facts.read_roster(POOL).workers
        assert worker.report is not None
        assert worker.report.identity == desk.worker.identity
        assert worker.report.seconds == 10
        served = worker.report.served["a"]
        assert served.attempts == sum(range(10, 20))
        assert served.failures == sum(range(10, 20, 2))
        assert quantiles(served.buckets, [0.5]) == [pytest.approx(0.010, rel=0.1)]
        assert len(desk.store.asked("beat")) == 21, "no trip of its own"

    def test_another_configuration_is_reported_at_once(self, desk: Desk) -> None:
        desk.tell()
        desk.worker.set_config("v2")
        desk.tell()  # too early, by a clock that stands still
        desk.traffic.heartbeat.hasten()
        desk.tell()
        (worker,) = desk.facts.read_roster(POOL).workers
        assert worker.report is not None
        assert worker.report.identity.config == "v2"
        assert len(desk.store.asked("beat")) == 2

    def test_of_a_second_only_the_latest_responses_are_looked_at(self, desk: Desk) -> None:
        desk.tell()
        for _ in range(10_000):
            desk.traffic.sample(AttemptEvent(backend="a", seconds=0.001))
        desk.clock.advance(1.0)
        desk.tell()
        (worker,) = desk.facts.read_roster(POOL).workers
        assert worker.report is not None
        assert sum(worker.report.served["a"].buckets.values()) == 256
