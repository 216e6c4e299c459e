"""What a worker reports of failures, how it probes, and the events that it makes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.faults import Fault
from lbflask.core.fleet_events import Kind
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.fleet import ejection_reporter
from lbflask.store.ports import HealthWrite
from tests.fleet.desk import BROKEN, DROPPED, GONE, RULE, STALE, Desk
from tests.fleet.stores import NEVER, POOL


class TestFailures:
    def test_requests_make_no_trip(self, desk: Desk) -> None:
        for _ in range(50):
            desk.serve("a")
            desk.fail("b")
            desk.traffic.probe(safe=True)
            desk.traffic.in_flight.total()
        assert desk.store.calls == []

    def test_successes_make_a_beat_and_nothing_else(self, desk: Desk) -> None:
        for _ in range(500):
            desk.serve("a")
            desk.tell()
        assert [name for _, name, _ in desk.store.calls] == ["beat"]
        assert not desk.worker.wake.is_set()

    def test_failures_are_told_together_with_all_attempts(self, desk: Desk) -> None:
        for _ in range(7):
            desk.serve("a")
        desk.fail("a")
        desk.serve("a", 503)
        assert desk.worker.wake.is_set()
        desk.tell()
        assert desk.counted_failures() == [("a", FailureReport(9, 2, 3))]
        desk.tell()
        assert len(desk.store.asked("count_failures")) == 1

    def test_a_response_that_breaks_off_is_one_attempt_and_one_failure(self, desk: Desk) -> None:
        desk.traffic.began("a")
        desk.traffic.answered("a", 200)
        desk.traffic.broke_off("a", BROKEN)
        desk.tell()
        assert desk.counted_failures() == [("a", FailureReport(1, 1, 1))]

    @pytest.mark.parametrize("fault", [GONE, STALE], ids=["the client's", "a stale connection"])
    def test_what_is_nobodys_fault_is_not_told(self, desk: Desk, fault: Fault) -> None:
        desk.fail("a", fault)
        desk.traffic.began("b")
        desk.traffic.answered("b", 200)
        desk.traffic.broke_off("b", GONE)
        desk.tell()
        assert desk.store.asked("count_failures") == []

    def test_a_client_that_comes_and_goes_ejects_nobody(self, desk: Desk) -> None:
        """R6."""
        for _ in range(100):
            desk.fail("a", GONE)
        desk.tell()
        assert desk.out() == set()

    def test_what_could_not_be_told_is_told_later_and_once(self, desk: Desk) -> None:
        desk.fail("a", DROPPED)
        desk.store.lose()
        for _ in range(3):
            with pytest.raises(Exception, match="gone"):
                desk.tell()
        desk.fail("a", DROPPED)
        desk.store.find()
        desk.tell()
        assert desk.counted_failures()[-1] == ("a", FailureReport(2, 2, 2))

    def test_a_pool_of_one_backend_or_without_the_rule_tells_of_no_failure(self) -> None:
        for useless in (EjectionPolicy(("a",)), EjectionPolicy(("a", "b"), failures=0), EjectionPolicy()):
            desk = Desk(useless)
            for _ in range(9):
                desk.fail("a")
            desk.tell()
            assert desk.store.asked("count_failures") == []

    def test_the_statuses_of_the_rule_are_failures_and_no_others(self) -> None:
        desk = Desk(replace(RULE, statuses=frozenset({429})))
        for status in (200, 429, 500, 429, 503):
            desk.serve("a", status)
        desk.tell()
        assert desk.counted_failures() == [("a", FailureReport(5, 2, 2))]
        desk.traffic.ejections.set_policy(RULE)
        for status in (429, 503):
            desk.serve("a", status)
        desk.tell()
        assert desk.counted_failures()[1:] == [("a", FailureReport(2, 1, 1))]

    def test_no_failure_is_lost_among_threads(self, desk: Desk) -> None:
        together = threading.Barrier(8)

        def work(_: int) -> None:
            together.wait()
            for turn in range(200):
                desk.fail("a", DROPPED)
                if turn % 20 == 0:
                    desk.serve("b")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        desk.tell()
        assert desk.counted_failures() == [("a", FailureReport(1600, 1600, 1600))]
        assert desk.traffic.in_flight.local() == {}


class TestProbes:
    @pytest.fixture
    def due(self, desk: Desk) -> Desk:
        """A desk with one ejected backend, whose time has come."""
        for _ in range(2):
            desk.fail("a")
        assert desk.tell()
        assert desk.out() == {"a"}
        assert desk.traffic.probe(safe=True) is None
        desk.clock.advance(30)
        desk.tell()
        return desk

    def granted(self, desk: Desk) -> None:
        assert desk.traffic.probe(safe=True) is None  # only says that there is a request
        desk.tell()

    def test_one_request_is_sent_there_and_its_success_ends_it(self, due: Desk) -> None:
        self.granted(due)
        assert [due.traffic.probe(safe=True) for _ in range(3)] == ["a", None, None]
        due.serve("a")
        due.tell()
        assert due.out() == set()

    @pytest.mark.parametrize("bad", ["a failure", "an error"])
    def test_its_failure_prolongs_it(self, due: Desk, bad: str) -> None:
        self.granted(due)
        assert due.traffic.probe(safe=True) == "a"
        if bad == "a failure":
            due.fail("a")
        else:
            due.serve("a", 500)
        due.tell()
        state = due.facts.read_snapshot(POOL, NOTHING_KNOWN).ejected["a"]
        assert (state.out, state.times, state.until - due.clock()) == (True, 2, 60)
        due.tell()
        assert due.traffic.probe(safe=True) is None

    def test_no_traffic_asks_for_no_probe(self, due: Desk) -> None:
        for _ in range(5):
            due.clock.advance(5)
            due.tell()
        assert due.store.asked("hold_probe") == []

    def test_one_worker_of_the_fleet_has_the_right(self, due: Desk) -> None:
        other = Desk(RULE, due.facts, due.clock)
        other.tell()
        self.granted(due)
        self.granted(other)
        assert other.traffic.probe(safe=True) is None
        assert due.traffic.probe(safe=True) == "a"

    def test_a_worker_that_dies_with_it_is_followed_by_another(self, due: Desk) -> None:
        other = Desk(RULE, due.facts, due.clock)
        self.granted(due)
        due.clock.advance(ejection_reporter.PROBE_LEASE)
        other.tell()
        self.granted(other)
        assert other.traffic.probe(safe=True) == "a"

    def test_it_is_kept_while_the_probe_lasts(self, due: Desk) -> None:
        other = Desk(RULE, due.facts, due.clock)
        other.tell()
        self.granted(due)
        assert due.traffic.probe(safe=True) == "a"
        for _ in range(5):
            due.clock.advance(ejection_reporter.PROBE_LEASE - 1)
            due.tell()
            other.tell()
            self.granted(other)
            assert other.traffic.probe(safe=True) is None
            assert due.traffic.probe(safe=True) is None

    def test_a_request_that_could_be_sent_again_is_preferred_for_a_while(self, due: Desk) -> None:
        self.granted(due)
        assert due.traffic.probe(safe=False) is None
        due.clock.advance(ejection_reporter.PREFER_SAFE_FOR)
        assert due.traffic.probe(safe=False) == "a"

    @pytest.mark.parametrize("end", ["client", "abandoned"])
    def test_a_probe_that_proves_nothing_is_followed_by_another(self, due: Desk, end: str) -> None:
        self.granted(due)
        assert due.traffic.probe(safe=True) == "a"
        due.traffic.began("a")
        if end == "client":
            due.traffic.failed("a", GONE)
        else:
            due.traffic.abandoned("a")
        due.tell()
        assert due.out() == {"a"}
        self.granted(due)
        assert due.traffic.probe(safe=True) == "a"

    def test_an_unused_right_is_given_up(self, due: Desk) -> None:
        self.granted(due)
        due.clock.advance(ejection_reporter.PROBE_LEASE + 1)
        due.tell()
        self.granted(due)
        assert due.traffic.probe(safe=True) == "a"

    def test_one_that_checks_saw_come_up_is_settled_without_a_probe(self, due: Desk) -> None:
        lease = due.facts.hold_lease(POOL, "checker", NEVER)
        assert lease is not None
        up = {"a": ActiveHealth(Health.UP, since=due.clock())}
        due.facts.write_active(POOL, HealthWrite(lease.epoch, up, interval=1, announce=True))
        assert due.tell()
        assert due.out() == set()


class TestEvents:
    def test_an_ejection_is_an_event_of_the_worker_that_made_it(self, desk: Desk) -> None:
        other = Desk(facts=desk.facts, clock=desk.clock)
        for teller in (desk, other):
            for _ in range(2):
                teller.fail("a")
                teller.tell()
        (event,) = desk.facts.read_events(10)
        assert (event.kind, event.what, event.backend, event.pool) == (Kind.EJECTION, "ejected", "a", POOL)
        assert "refused" in event.reason
        assert event.actor in (desk.worker.id, other.worker.id)

    def test_so_is_its_end(self, desk: Desk) -> None:
        for _ in range(3):
            desk.fail("a")
        desk.tell()
        desk.traffic.ejections._verdicts["a"] = desk.facts.read_snapshot(POOL, NOTHING_KNOWN).ejected["a"].since, True
        desk.tell()
        assert [event.what for event in desk.facts.read_events(10)] == ["returned", "ejected"]

    def test_one_that_could_not_be_told_is_told_later(self, desk: Desk) -> None:
        for _ in range(3):
            desk.fail("a")
        desk.store.refuse = "record"
        assert desk.tell()
        assert desk.facts.read_events(10) == []
        desk.store.refuse = ""
        desk.tell()
        assert [event.what for event in desk.facts.read_events(10)] == ["ejected"]


def test_attempts_are_counted_also_where_nobody_reports_them_for_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ejection_reporter, "MAX_ANSWERED", 3)
    for number in range(10):
        desk.serve("ab"[number % 2])
    ejections = desk.traffic.ejections
    assert ejections.has_attempts
    assert ejections.take_attempts() == {"a": 5, "b": 5}
    assert not ejections.has_attempts
    assert ejections.take_attempts() == {}
