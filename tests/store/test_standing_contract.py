"""The promises of lbflask/store/ports.py about ejection and about loads, kept by every store."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.model import NOTHING_KNOWN, Ejection
from lbflask.store import ports, redis
from lbflask.store.ports import Beat
from tests.store.stores import Rig

POOL = "web"
LONG = 600.0
RULE = EjectionPolicy(("a:80", "größer", "c", "d"), failures=5, window=LONG, duration=30, max_duration=70)
ONE = FailureReport(1, 1, 1)
MANY = FailureReport(9, 9, 9)


def ejections(rig: Rig, pool: str = POOL) -> dict[str, Ejection]:
    return dict(rig.other.read_snapshot(pool, NOTHING_KNOWN).ejected)


def eject(rig: Rig, backend: str = "a:80", rule: EjectionPolicy = RULE) -> Ejection:
    assert rig.store.count_failures(POOL, backend, MANY, rule)
    return ejections(rig)[backend]


class TestCounting:
    def test_the_failures_of_all_workers_are_counted_together(self, rig: Rig) -> None:
        stores = [rig.store, rig.other, rig.store, rig.other]
        assert not any(store.count_failures(POOL, "größer", ONE, RULE) for store in stores)
        assert ejections(rig) == {}
        before = rig.now()
        assert rig.store.count_failures(POOL, "größer", ONE, RULE)
        out = ejections(rig)["größer"]
        assert (out.out, out.times) == (True, 1)
        assert before - 0.002 <= out.since <= rig.now() + 0.002
        assert out.until == pytest.approx(out.since + 30, abs=0.002)

    def test_backends_and_pools_are_counted_apart(self, rig: Rig) -> None:
        for pool, backend in ((POOL, "a:80"), (POOL, "c"), ("api", "a:80")):
            for _ in range(4):
                assert not rig.store.count_failures(pool, backend, ONE, RULE)

    def test_heavy_failures_need_fewer(self, rig: Rig) -> None:
        told = [rig.store.count_failures(POOL, "a:80", FailureReport(1, 1, 2), RULE) for _ in range(3)]
        assert told == [False, False, True]

    def test_attempts_that_went_well_are_held_against_the_failures(self, rig: Rig) -> None:
        assert not rig.store.count_failures(POOL, "a:80", FailureReport(500, 1, 1), RULE)
        for _ in range(10):
            assert not rig.store.count_failures(POOL, "a:80", FailureReport(3, 1, 1), RULE)

    def test_what_the_others_attempt_counts_too(self, rig: Rig) -> None:
        for _ in range(20):
            rig.other.beat(POOL, "another", Beat({}, {"a:80": 2, "c": 100}), read=False)
            assert not rig.store.count_failures(POOL, "a:80", ONE, RULE)

    def test_what_was_attempted_before_the_first_failure_does_not(self, rig: Rig) -> None:
        rig.other.beat(POOL, "another", Beat({}, {"a:80": 10_000}), read=False)
        assert not rig.store.count_failures(POOL, "a:80", FailureReport(100, 4, 4), RULE)
        assert rig.store.count_failures(POOL, "a:80", ONE, RULE)

    def test_a_window_ends(self, rig: Rig) -> None:
        short = EjectionPolicy(RULE.members, window=0.05)
        assert not rig.store.count_failures(POOL, "a:80", FailureReport(4, 4, 4), short)
        rig.let_pass(0.06)
        assert not rig.store.count_failures(POOL, "a:80", FailureReport(4, 4, 4), short)

    def test_windows_are_those_of_the_rule(self, rig: Rig) -> None:
        """Each store ejects at the same report: with successes between, and past the end of a window."""
        for _ in range(4):
            assert not rig.store.count_failures(POOL, "a:80", FailureReport(7, 2, 3), RULE)
        rig.let_pass(0.6)
        one = FailureReport(1, 1, 2)
        assert not rig.store.count_failures(POOL, "a:80", one, replace(RULE, window=0.5))
        reports = [rig.store.count_failures(POOL, "a:80", one, RULE) for _ in range(12)]
        # 23 attempts, 8 failures and a weight of 12 leave 15, 5 and 7 to the next window; with 8 more it is enough.
        assert reports.index(True) == 6

    def test_a_busy_window_ends_before_its_time(self, rig: Rig) -> None:
        """A backend that has failed once, and dies when thousands of requests went well since."""
        assert not rig.store.count_failures(POOL, "a:80", ONE, RULE)
        rig.other.beat(POOL, "another", Beat({}, {"a:80": 100_000}), read=False)
        reports = [rig.store.count_failures(POOL, "a:80", FailureReport(50, 50, 50), RULE) for _ in range(12)]
        assert reports.index(True) == 10

    def test_one_that_is_out_is_counted_no_more(self, rig: Rig) -> None:
        first = eject(rig)
        assert not rig.store.count_failures(POOL, "a:80", MANY, RULE)
        assert ejections(rig)["a:80"] == first

    def test_no_more_are_out_than_may_be(self, rig: Rig) -> None:
        eject(rig, "a:80")
        eject(rig, "c")
        assert not rig.store.count_failures(POOL, "d", MANY, RULE)
        assert {name for name, state in ejections(rig).items() if state.out} == {"a:80", "c"}

    def test_those_that_are_no_members_any_more_take_no_room(self, rig: Rig) -> None:
        eject(rig, "removed")
        eject(rig, "a:80")
        eject(rig, "c")

    def test_the_only_backend_stays(self, rig: Rig) -> None:
        assert not rig.store.count_failures(POOL, "a:80", MANY, EjectionPolicy(("a:80",)))

    def test_of_many_reports_at_once_one_ejects(self, rig: Rig) -> None:
        together = threading.Barrier(6)

        def report(number: int) -> bool:
            together.wait()
            return (rig.store if number % 2 else rig.other).count_failures(POOL, f"b{number % 3}", MANY, rule)

        rule = EjectionPolicy(("b0", "b1", "b2"))
        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(report, range(6))) == 1

    def test_an_ejection_is_a_new_version_and_is_announced(self, rig: Rig) -> None:
        watch = rig.other.watch_changes([POOL])
        versions = {NOTHING_KNOWN.version}

        def heard() -> Collection[str]:
            known = ejections(rig).get("a:80")
            if known is None or not known.out:
                eject(rig)
            else:
                assert rig.store.settle_ejection(POOL, "a:80", known.since, back=True, rule=RULE)
            version = rig.store.read_snapshot(POOL, NOTHING_KNOWN).version
            assert version not in versions
            versions.add(version)
            return watch.wait(0.1)

        assert set(eventually(heard, "the ejection is heard")) == {POOL}
        watch.close()

    def test_an_emptied_store_has_ejected_nobody(self, rig: Rig) -> None:
        eject(rig)
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.empty()
        assert rig.store.read_snapshot(POOL, known).ejected == {}
        assert not rig.store.count_failures(POOL, "a:80", FailureReport(4, 4, 4), RULE)


class TestReturning:
    def test_a_probe_that_succeeds_ends_it_for_all(self, rig: Rig) -> None:
        out = eject(rig)
        assert rig.other.settle_ejection(POOL, "a:80", out.since, back=True, rule=RULE)
        now = ejections(rig)["a:80"]
        assert (now.out, now.times, now.since) == (False, 1, out.since)
        assert rig.now() - 1 < now.until <= rig.now() + 0.002

    def test_a_probe_that_fails_prolongs_it_up_to_the_longest(self, rig: Rig) -> None:
        out = eject(rig)
        for times, longer in ((2, 60), (3, 70), (4, 70)):
            before = rig.now()
            assert rig.store.settle_ejection(POOL, "a:80", out.since, back=False, rule=RULE)
            now = ejections(rig)["a:80"]
            assert (now.out, now.times, now.since) == (True, times, out.since)
            assert before + longer - 0.002 <= now.until <= rig.now() + longer + 0.002

    def test_the_next_ejection_is_longer(self, rig: Rig) -> None:
        for times, length in ((1, 30), (2, 60), (3, 70)):
            out = eject(rig)
            assert (out.times, round(out.until - out.since)) == (times, length)
            assert rig.store.settle_ejection(POOL, "a:80", out.since, back=True, rule=RULE)
            rig.let_pass(0.002)

    def test_one_that_served_for_long_begins_again(self, rig: Rig) -> None:
        rule = EjectionPolicy(RULE.members, duration=0.01, max_duration=0.05)
        for _ in range(2):
            out = eject(rig, rule=rule)
            assert out.times == 1
            assert rig.store.settle_ejection(POOL, "a:80", out.since, back=True, rule=rule)
            rig.let_pass(0.06)

    def test_a_verdict_about_an_earlier_ejection_changes_nothing(self, rig: Rig) -> None:
        first = eject(rig)
        rig.store.settle_ejection(POOL, "a:80", first.since, back=True, rule=RULE)
        rig.let_pass(0.002)
        second = eject(rig)
        for back in (True, False):
            assert not rig.store.settle_ejection(POOL, "a:80", first.since, back=back, rule=RULE)
        assert ejections(rig)["a:80"] == second

    def test_one_that_is_back_or_was_never_out_is_left_alone(self, rig: Rig) -> None:
        assert not rig.store.settle_ejection(POOL, "a:80", 1.5, back=True, rule=RULE)
        out = eject(rig)
        assert rig.store.settle_ejection(POOL, "a:80", out.since, back=True, rule=RULE)
        assert not rig.store.settle_ejection(POOL, "a:80", out.since, back=False, rule=RULE)
        assert not ejections(rig)["a:80"].out


class TestProbing:
    def test_the_right_is_one_workers_at_a_time(self, rig: Rig) -> None:
        assert rig.store.hold_probe(POOL, "one", LONG)
        assert not rig.other.hold_probe(POOL, "two", LONG)
        assert rig.store.hold_probe(POOL, "one", LONG)
        assert rig.other.hold_probe("api", "two", LONG)

    def test_it_runs_out(self, rig: Rig) -> None:
        assert rig.store.hold_probe(POOL, "one", 0.05)
        rig.let_pass(0.06)
        assert rig.other.hold_probe(POOL, "two", LONG)

    @pytest.mark.parametrize("back", [True, False])
    def test_it_is_free_after_the_verdict(self, rig: Rig, back: bool) -> None:
        out = eject(rig)
        assert rig.store.hold_probe(POOL, "one", LONG)
        assert rig.store.settle_ejection(POOL, "a:80", out.since, back=back, rule=RULE)
        assert rig.other.hold_probe(POOL, "two", LONG)


class TestLoads:
    def test_nobody_else_has_anything_in_flight_at_first(self, rig: Rig) -> None:
        assert rig.store.beat(POOL, "one", Beat({"a:80": 3}), read=True).loads == {}

    def test_those_of_all_others_are_summed(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"a:80": 3, "größer": 1}), read=False)
        rig.other.beat(POOL, "two", Beat({"a:80": 4}), read=False)
        rig.other.beat("api", "two", Beat({"a:80": 99}), read=False)
        assert rig.other.beat(POOL, "three", Beat({"a:80": 50}), read=True).loads == {"a:80": 7, "größer": 1}

    def test_a_beat_replaces_the_one_before(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"a:80": 3}), read=False)
        rig.store.beat(POOL, "one", Beat({"c": 1}), read=False)
        assert rig.other.beat(POOL, "two", Beat(), read=True).loads == {"c": 1}

    def test_only_those_who_ask_are_told(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"a:80": 3}), read=False)
        assert rig.other.beat(POOL, "two", Beat(), read=False).loads == {}

    def test_how_many_workers_there_are_is_told_to_all(self, rig: Rig) -> None:
        assert rig.store.beat(POOL, "one", Beat(), read=False).workers == 1
        assert rig.other.beat(POOL, "two", Beat(), read=True).workers == 2
        assert rig.store.beat(POOL, "one", Beat(), read=False).workers == 2
        rig.store.leave(POOL, "two")
        assert rig.store.beat(POOL, "one", Beat(), read=False).workers == 1

    def test_the_dead_count_no_more(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (ports, redis):
            monkeypatch.setattr(module, "DEAD_AFTER", 0.1)
        rig.store.beat(POOL, "killed", Beat({"a:80": 3}), read=False)
        rig.let_pass(0.11)
        assert rig.other.beat(POOL, "alive", Beat(), read=True).loads == {}

    def test_who_leaves_counts_no_more(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"a:80": 3}), read=False)
        rig.store.leave(POOL, "one")
        rig.store.leave(POOL, "stranger")
        assert rig.other.beat(POOL, "two", Beat(), read=True).loads == {}

    def test_an_emptied_store_is_told_again_by_the_next_beats(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"a:80": 3}, {"a:80": 10}), read=False)
        rig.empty()
        assert rig.other.beat(POOL, "two", Beat(), read=True).loads == {}
        rig.store.beat(POOL, "one", Beat({"a:80": 2}), read=False)
        assert rig.other.beat(POOL, "two", Beat(), read=True).loads == {"a:80": 2}
