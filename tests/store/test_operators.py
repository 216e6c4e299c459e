"""What operators read and write: who works for a pool, and the events of the fleet. Kept by every store."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools.wait import eventually
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import BackendCounts, Roster, WorkerIdentity, WorkerReport
from lbflask.core.instance_drain import MAX_DURATION
from lbflask.core.reserves import FileSystem, LossCause, LostLines, Reserves, Use
from lbflask.store import fleet_records, records, roster_records
from lbflask.store.keys import FleetKeys, PoolKeys
from lbflask.store.ports import (
    CONFIGURATION_FORGOTTEN_AFTER,
    DEAD_AFTER,
    FLEET,
    FORGOTTEN_AFTER,
    MAX_CONFIGURATION,
    Beat,
)
from tests.store import stores
from tests.store.stores import Rig

POOL = "web"
WHO = WorkerIdentity("host/0.0.0.0:80", "host", 7, "1.0", "abc", 1_700_000_000.125, 4, "1a2b3c4d", "a-directory")
REPORT = WorkerReport(
    WHO,
    1_700_000_001.5,
    9.5,
    {"größer": BackendCounts(10, 2, {3: 4, 5: 6}), "b": BackendCounts()},
    answers=Answers(9.125, {AnswerKey("2xx", "backend"): 12, AnswerKey("429", "rate_limit", "größer"): 3}),
    reserves=Reserves(
        (80, 100),
        LostLines(412, "/var/log/größer.log", "No space left on device", LossCause.NO_ROOM),
        (FileSystem(Use.SHARED, "/dev/shm/größer", 1 << 20, 1 << 31),),
    ),
)


class TestConfigurations:
    def test_what_an_instance_publishes_any_other_reads_until_it_is_forgotten(self, rig: Rig) -> None:
        assert rig.store.read_configuration("abc") is None
        rig.store.write_configuration("abc", '{"via":"größer"}')
        rig.store.write_configuration("def", '{"via":"x"}')
        rig.other.write_configuration("abc", '{"via":"größer"}')
        assert rig.other.read_configuration("abc") == {"via": "größer"}
        assert rig.other.read_configuration("def") == {"via": "x"}

    @pytest.mark.parametrize("record", ["", "junk", "[]", "7", "[" * 100_000, " " * MAX_CONFIGURATION + "{}"])
    def test_what_is_no_configuration_counts_as_none(self, rig: Rig, record: str) -> None:
        rig.store.write_configuration("abc", record)
        assert rig.store.read_configuration("abc") is None
        rig.store.write_configuration("abc", "{}")
        assert rig.store.read_configuration("abc") == {}


def test_a_configuration_is_forgotten_when_it_is_not_published_again() -> None:
    with stores.memory() as rig:
        rig.store.write_configuration("abc", "{}")
        rig.let_pass(CONFIGURATION_FORGOTTEN_AFTER - 1.0)
        assert rig.store.read_configuration("abc") == {}
        rig.let_pass(1.0)
        assert rig.store.read_configuration("abc") is None


class TestDrains:
    def test_an_instance_is_drained_until_it_is_not(self, rig: Rig) -> None:
        assert rig.store.read_drains() == {}
        rig.store.write_drain("größer/[::]:80", "alice: (unix)", 600)
        rig.store.write_drain("other/0.0.0.0:80", "bob", 60)
        drains = rig.other.read_drains()
        assert {name: drain.actor for name, drain in drains.items()} == {
            "größer/[::]:80": "alice: (unix)",
            "other/0.0.0.0:80": "bob",
        }
        assert drains["größer/[::]:80"].until == pytest.approx(rig.now() + 600, abs=5)
        rig.other.write_drain("größer/[::]:80", "carol", 0)
        rig.other.write_drain("none", "carol", 0)
        assert list(rig.store.read_drains()) == ["other/0.0.0.0:80"]

    def test_a_later_one_replaces_it(self, rig: Rig) -> None:
        rig.store.write_drain("one", "alice", 600)
        rig.store.write_drain("one", "bob", 60)
        (drain,) = rig.other.read_drains().values()
        assert (drain.actor, drain.until) == ("bob", pytest.approx(rig.now() + 60, abs=5))

    def test_it_has_its_beginning_and_its_reason(self, rig: Rig) -> None:
        rig.store.write_drain("one", "alice", 600, "größer: ticket")
        drain = rig.other.read_drains()["one"]
        assert (drain.since, drain.reason) == (pytest.approx(rig.now(), abs=5), "größer: ticket")
        rig.store.write_drain("one", "alice", 0)
        rig.store.write_drain("two", "bob", 600)
        assert rig.other.read_drains()["two"].reason == ""
        if rig.client is not None:
            assert rig.client.hkeys(FleetKeys("test").drain_notes) == [b"two"]
            rig.client.delete(FleetKeys("test").drain_notes)  # as an earlier version leaves it
            assert (rig.other.read_drains()["two"].since, rig.other.read_drains()["two"].reason) == (0.0, "")

    def test_it_ends_by_itself(self, rig: Rig) -> None:
        rig.store.write_drain("one", "alice", 1)
        rig.store.write_drain("two", "alice", 600)
        rig.let_pass(1.01)
        assert list(rig.other.read_drains()) == ["two"]

    def test_one_that_is_over_is_deleted_by_the_next(self, rig: Rig) -> None:
        rig.store.write_drain("one", "alice", 1)
        rig.let_pass(1.01)
        rig.store.write_drain("two", "alice", 600)
        if rig.client is not None:
            assert rig.client.hkeys(FleetKeys("test").drained) == [b"two"]
        assert list(rig.store.read_drains()) == ["two"]

    def test_it_is_announced_as_a_change_of_the_fleet(self, rig: Rig) -> None:
        watch = rig.other.watch_changes([POOL, FLEET])

        def drain_and_wait() -> set[str]:
            rig.store.write_drain("one", "alice", 600)
            return set(watch.wait(0.1))

        assert eventually(drain_and_wait, "the change is heard") == {FLEET}
        watch.close()

    def test_none_lasts_longer_than_possible_after_the_clock_was_set_back(self, rig: Rig) -> None:
        rig.store.write_drain("one", "alice", 10 * MAX_DURATION)
        until = rig.store.read_drains()["one"].until
        if rig.client is not None:
            assert until == pytest.approx(rig.now() + MAX_DURATION, abs=5)


class TestRoster:
    def test_nobody_works_for_a_pool_that_nobody_has_heard_of(self, rig: Rig) -> None:
        roster = rig.store.read_roster(POOL)
        assert roster == Roster(roster.now)
        assert roster.now == pytest.approx(rig.now(), abs=5)

    def test_workers_are_there_with_what_they_told(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat({"größer": 2}, report=REPORT), read=False)
        rig.store.beat(POOL, "two", Beat(), read=False)
        rig.store.beat("api", "three", Beat(report=REPORT), read=False)
        one, two = rig.other.read_roster(POOL).workers
        assert (one.id, one.in_flight, one.report) == ("one", {"größer": 2}, REPORT)
        assert (two.id, two.in_flight, two.report) == ("two", {}, None)
        assert one.reported == one.at <= two.at <= rig.now() + 0.002
        assert two.reported == 0

    def test_a_report_holds_until_the_next(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat(report=REPORT), read=False)
        rig.store.beat(POOL, "one", Beat({"a": 1}), read=False)
        (one,) = rig.other.read_roster(POOL).workers
        assert (one.in_flight, one.report) == ({"a": 1}, REPORT)
        later = WorkerReport(WHO, 1.0, 1.0)
        rig.store.beat(POOL, "one", Beat(report=later), read=False)
        assert rig.other.read_roster(POOL).workers[0].report == later

    def test_whoever_leaves_is_gone(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat(report=REPORT), read=False)
        rig.store.leave(POOL, "one")
        assert rig.other.read_roster(POOL).workers == ()
        rig.store.beat(POOL, "one", Beat(), read=False)
        assert rig.other.read_roster(POOL).workers[0].report is None

    def test_the_leading_checker_is_told(self, rig: Rig) -> None:
        assert rig.store.hold_lease(POOL, "host:1:a", 600) is not None
        assert rig.other.read_roster(POOL).leader == "host:1:a"
        rig.store.drop_lease(POOL, "host:1:a")
        assert rig.other.read_roster(POOL).leader == ""

    def test_checkers_are_listed_whether_they_lead_or_not(self, rig: Rig) -> None:
        assert rig.store.hold_lease(POOL, "host:1:a", 50) is not None
        assert rig.store.hold_lease(POOL, "host:2:b", 50) is None
        assert rig.other.read_roster(POOL).checkers == ("host:1:a", "host:2:b")
        rig.store.drop_lease(POOL, "host:2:b")
        assert rig.other.read_roster(POOL).checkers == ("host:1:a",)

    def test_the_killed_are_gone_when_their_beats_fail_to_come(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat(report=REPORT), read=False)
        rig.let_pass(DEAD_AFTER + 0.01)
        assert rig.other.read_roster(POOL).workers == ()
        rig.store.beat(POOL, "two", Beat(), read=True)
        (silent,) = rig.other.read_roster(POOL).silent
        assert (silent.id, silent.in_flight, silent.report) == ("one", {}, REPORT), "operators see which one it was"
        assert DEAD_AFTER < rig.other.read_roster(POOL).now - silent.at < DEAD_AFTER + 5
        rig.store.beat(POOL, "one", Beat(), read=False)
        assert [worker.id for worker in rig.other.read_roster(POOL).workers] == ["one", "two"], "it was frozen only"
        assert rig.other.read_roster(POOL).silent == ()

    def test_a_silent_worker_that_leaves_is_gone(self, rig: Rig) -> None:
        rig.store.beat(POOL, "one", Beat(report=REPORT), read=False)
        rig.let_pass(DEAD_AFTER + 0.01)
        assert [worker.id for worker in rig.other.read_roster(POOL).silent] == ["one"]
        rig.store.leave(POOL, "one")
        assert rig.other.read_roster(POOL).silent == ()

    def test_the_silent_are_forgotten(self, rig: Rig) -> None:
        if rig.client is not None:
            keys = PoolKeys("test", POOL)
            long_ago = int((rig.now() - FORGOTTEN_AFTER - 1) * 1000)
            rig.client.hset(keys.reports, "one", f"{long_ago}:{records.dump_report(REPORT)}")
        else:
            rig.store.beat(POOL, "one", Beat(report=REPORT), read=False)
            rig.let_pass(FORGOTTEN_AFTER + 1)
        assert rig.other.read_roster(POOL).silent == ()
        rig.store.beat(POOL, "two", Beat(), read=True)
        if rig.client is not None:
            assert rig.client.hkeys(keys.reports) == []
        rig.store.beat(POOL, "one", Beat(), read=False)
        assert [worker.report for worker in rig.other.read_roster(POOL).workers] == [None, None]


class TestEvents:
    def happened(self, rig: Rig, count: int) -> list[FleetEvent]:
        rig.store.record([FleetEvent(Kind.HEALTH, "up", POOL, f"b{number}") for number in range(count)])
        return rig.other.read_events(count)

    def test_what_was_told_is_read_with_an_id_and_its_time(self, rig: Rig) -> None:
        told = FleetEvent(Kind.OPERATOR, "drain", POOL, "größer", "„why“ | \\", "alice")
        rig.store.record([told])
        (read,) = rig.other.read_events(10)
        assert read == replace(told, id=read.id)
        assert read.at == pytest.approx(rig.now(), abs=5)

    def test_the_latest_come_first_and_page_by_page(self, rig: Rig) -> None:
        events = self.happened(rig, 7)
        assert [event.backend for event in events] == [f"b{number}" for number in reversed(range(7))]
        assert rig.other.read_events(3) == events[:3]
        assert rig.other.read_events(3, before=events[2].id) == events[3:6]
        assert rig.other.read_events(3, before=events[5].id) == events[6:]
        assert rig.other.read_events(3, before=events[6].id) == []

    def test_they_are_followed_from_the_one_that_is_known(self, rig: Rig) -> None:
        events = self.happened(rig, 4)[::-1]
        assert rig.other.follow_events("", 10) == events
        assert rig.other.follow_events(events[1].id, 1) == events[2:3]
        assert rig.other.follow_events(events[3].id, 10) == []
        assert rig.other.follow_events("0-0", 10) == events

    @pytest.mark.parametrize("id_", ["x", "1", "1-", "-1", "1-2-3", "+", "\u0661-\u0661", "1-1\n", "9" * 20 + "-0"])
    def test_what_cannot_be_an_id_is_refused(self, rig: Rig, id_: str) -> None:
        for read in (lambda: rig.store.read_events(1, before=id_), lambda: rig.store.follow_events(id_, 1)):
            with pytest.raises(ValueError, match="is not the id of an event"):
                read()

    def test_no_event_is_none(self, rig: Rig) -> None:
        assert rig.store.read_events(10) == []
        assert rig.store.follow_events("", 10) == []


class TestRecords:
    @pytest.mark.parametrize("stopping", [False, True])
    def test_a_report_is_read_as_it_was_written(self, stopping: bool) -> None:
        report = replace(REPORT, stopping=stopping, attempts=7)
        assert records.parse_report(records.dump_report(report)) == report

    @given(st.text() | st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
    def test_whatever_a_record_holds_reading_it_is_no_error(self, record: str | bytes) -> None:
        records.parse_report(record)
        told = record.encode(errors="replace") if isinstance(record, str) else record
        assert roster_records.roster(1.0, "", [("a", told)], {"a": told}).workers == ()

    def test_a_report_of_an_earlier_version_has_no_attempts(self) -> None:
        values = json.loads(records.dump_report(REPORT))
        del values["attempts"]
        assert records.parse_report(json.dumps(values)) == REPORT

    def test_an_event_of_a_later_version_of_us_is_passed_over(self) -> None:
        assert fleet_records.parse_events(
            [(b"1-0", {b"kind": b"new"}), (b"2-0", {b"kind": b"health", b"more": b"x"})]
        ) == [FleetEvent(Kind.HEALTH, "", id="2-0")]
