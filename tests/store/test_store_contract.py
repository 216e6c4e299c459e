"""The promises of lbflask/store/ports.py, kept by every store."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import eventually
from lbflask.core.discovery import SourceCause, SourceFailure
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Closing, Health, Mode, Override, Snapshot
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import TOLERANCE, BackendSlots, SlotDemand
from lbflask.store import ports, redis
from lbflask.store.ports import (
    FLEET,
    MAX_WISHES,
    SOURCE_FORGOTTEN_AFTER,
    WISHES_FORGOTTEN_AFTER,
    HealthWrite,
    Lease,
)
from tests.store import stores
from tests.store.stores import Rig

POOL = "web"
FIRST, SECOND = "first-secret-of-a-fleet", "second-secret-of-a-fleet"
LONG = 600.0
UP = ActiveHealth(Health.UP, 0, "connected", 1_700_000_000.125, certificate_expires=1_800_000_000.0)
DOWN = ActiveHealth(Health.DOWN, 1, "connection refused", 1_700_000_001.5)


def lead(rig: Rig, holder: str = "a", pool: str = POOL) -> Lease:
    lease = rig.store.hold_lease(pool, holder, LONG)
    assert lease is not None
    return lease


class TestTickets:
    def test_the_first_ticket_taken_is_followed_by_the_next_ones(self, rig: Rig) -> None:
        first = rig.store.take_tickets(POOL, 1)
        assert rig.store.take_tickets(POOL, 5) == first + 1
        assert rig.store.take_tickets(POOL, 1) == first + 6

    def test_all_clients_take_from_one_counter(self, rig: Rig) -> None:
        first = rig.store.take_tickets(POOL, 3)
        assert rig.other.take_tickets(POOL, 1) == first + 3

    def test_each_pool_has_a_counter_of_its_own(self, rig: Rig) -> None:
        rig.store.take_tickets(POOL, 7)
        assert rig.store.take_tickets("api", 1) == rig.store.take_tickets("third", 1)

    def test_no_ticket_is_given_twice_to_threads_that_take_at_once(self, rig: Rig) -> None:
        together = threading.Barrier(8)

        def take(worker: int) -> list[int]:
            store = rig.store if worker % 2 else rig.other
            together.wait()
            taken: list[int] = []
            for turn in range(25):
                count = (worker + turn) % 4 + 1
                first = store.take_tickets(POOL, count)
                taken.extend(range(first, first + count))
            return taken

        with ThreadPoolExecutor(8) as threads:
            given = [ticket for taken in threads.map(take, range(8)) for ticket in taken]
        assert sorted(given) == list(range(min(given), min(given) + len(given)))

    def test_tickets_are_given_again_after_the_store_was_emptied(self, rig: Rig) -> None:
        first = rig.store.take_tickets(POOL, 10)
        rig.empty()
        assert rig.store.take_tickets(POOL, 1) == first


class TestSnapshots:
    def test_nothing_is_known_of_a_pool_that_nobody_has_written(self, rig: Rig) -> None:
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN) == NOTHING_KNOWN

    def test_what_was_written_is_read_by_every_client(self, rig: Rig) -> None:
        states = {"one:80": UP, "two:80": DOWN, "größer": ActiveHealth(Health.UNKNOWN, 3, "„ß“ | <b>")}
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, states, interval=7.5, announce=True))
        for store in (rig.store, rig.other):
            snapshot = store.read_snapshot(POOL, NOTHING_KNOWN)
            assert snapshot.active == states
            assert snapshot.interval == 7.5

    def test_one_pool_does_not_show_in_another(self, rig: Rig) -> None:
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": UP}, interval=1, announce=True))
        assert rig.store.read_snapshot("api", NOTHING_KNOWN) == NOTHING_KNOWN

    def test_the_known_statuses_come_back_with_a_new_heartbeat_when_none_changed(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP}, interval=5, announce=True))
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.let_pass(0.05)
        again = rig.store.read_snapshot(POOL, known)
        assert again.active is known.active
        assert again.version == known.version
        assert known.heartbeat is not None
        assert again.heartbeat is not None
        assert again.heartbeat > known.heartbeat

    def test_the_heartbeat_is_the_age_of_the_latest_word(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        before = rig.now()
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP}, interval=5, announce=True))
        written = rig.now()
        rig.let_pass(0.1)
        asked = rig.now()
        heartbeat = rig.store.read_snapshot(POOL, NOTHING_KNOWN).heartbeat
        assert heartbeat is not None
        # The clocks of servers are read in whole milliseconds.
        assert asked - written - 0.002 <= heartbeat <= rig.now() - before + 0.002

    def test_a_word_without_a_change_beats_the_heart_and_promises_the_next(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP}, interval=5, announce=True))
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.let_pass(0.1)
        late = rig.store.read_snapshot(POOL, known)
        before = rig.now()
        rig.store.write_active(POOL, HealthWrite(epoch, {}, interval=9))
        fresh = rig.store.read_snapshot(POOL, known)
        assert late.heartbeat is not None
        assert late.heartbeat >= 0.098
        assert fresh.heartbeat is not None
        assert fresh.heartbeat <= rig.now() - before + 0.002
        assert (fresh.version, fresh.interval) == (known.version, 9)

    def test_a_snapshot_is_of_one_moment(self, rig: Rig) -> None:
        backends = [f"b{number}" for number in range(20)]
        epoch = lead(rig).epoch
        done = threading.Event()

        def write() -> None:
            try:
                for turn in range(60):
                    states = {backend: ActiveHealth(Health.UP, turn, str(turn)) for backend in backends}
                    rig.store.write_active(
                        POOL, HealthWrite(epoch, states, interval=1, replace=turn % 2 == 0, announce=True)
                    )
            finally:
                done.set()

        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(write)
            turns_by_version: dict[int, set[str]] = {}
            known = NOTHING_KNOWN
            while not done.is_set() or known == NOTHING_KNOWN:
                known = rig.other.read_snapshot(POOL, known)
                if known.version:
                    assert sorted(known.active) == sorted(backends)
                    turns_by_version.setdefault(known.version, set()).update(s.reason for s in known.active.values())
            writing.result()
        assert all(len(turns) == 1 for turns in turns_by_version.values())
        last = rig.other.read_snapshot(POOL, known)
        assert {state.reason for state in last.active.values()} == {"59"}

    def test_an_emptied_store_knows_nothing_any_more(self, rig: Rig) -> None:
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": UP}, interval=5, announce=True))
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.empty()
        assert rig.store.read_snapshot(POOL, known) == NOTHING_KNOWN

    def test_what_is_written_after_the_store_was_emptied_is_news_to_those_who_knew_the_old(self, rig: Rig) -> None:
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": UP}, interval=5, announce=True))
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.empty()
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": DOWN}, interval=5, announce=True))
        assert rig.store.read_snapshot(POOL, known).active == {"a": DOWN}


class TestWriting:
    def test_backends_not_mentioned_keep_their_states(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP, "b": UP}, interval=1, announce=True))
        rig.store.write_active(POOL, HealthWrite(epoch, {"b": DOWN}, interval=1, announce=True))
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).active == {"a": UP, "b": DOWN}

    def test_replace_forgets_all_other_backends(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP, "b": UP}, interval=1, announce=True))
        rig.store.write_active(POOL, HealthWrite(epoch, {"b": DOWN}, interval=1, replace=True, announce=True))
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).active == {"b": DOWN}

    def test_announce_makes_a_version_that_never_was_before(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        seen = {NOTHING_KNOWN.version}
        for state in (UP, DOWN, UP):
            assert rig.store.write_active(POOL, HealthWrite(epoch, {"a": state}, interval=1, announce=True))
            version = rig.store.read_snapshot(POOL, NOTHING_KNOWN).version
            assert version not in seen
            seen.add(version)

    def test_without_announce_the_version_stays(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP}, interval=1, announce=True))
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.store.write_active(POOL, HealthWrite(epoch, {"a": DOWN}, interval=1))
        assert rig.store.read_snapshot(POOL, known).version == known.version
        # The next leader reads it all the same.
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).active == {"a": DOWN}

    def test_a_write_of_an_earlier_epoch_is_refused_and_writes_nothing(self, rig: Rig) -> None:
        old = lead(rig).epoch
        rig.store.write_active(POOL, HealthWrite(old, {"a": UP, "b": UP}, interval=5, announce=True))
        rig.store.drop_lease(POOL, "a")
        lead(rig, "b")
        before = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        rig.let_pass(0.05)
        assert not rig.store.write_active(POOL, HealthWrite(old, {"a": DOWN}, interval=9, replace=True, announce=True))
        after = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        assert (after.version, after.active, after.interval) == (before.version, before.active, before.interval)
        assert before.heartbeat is not None
        assert after.heartbeat is not None
        assert after.heartbeat > before.heartbeat  # nor did the heart beat

    def test_a_write_by_one_who_never_led_is_refused(self, rig: Rig) -> None:
        assert not rig.store.write_active(POOL, HealthWrite(0, {"a": UP}, interval=1, announce=True))
        assert not rig.store.write_active(POOL, HealthWrite(1, {"a": UP}, interval=1, announce=True))
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN) == NOTHING_KNOWN

    def test_a_write_after_the_store_was_emptied_is_refused_until_the_lead_is_taken_again(self, rig: Rig) -> None:
        old = lead(rig).epoch
        rig.empty()
        assert not rig.store.write_active(POOL, HealthWrite(old, {"a": UP}, interval=1, announce=True))
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN) == NOTHING_KNOWN
        new = lead(rig).epoch
        assert not rig.store.write_active(POOL, HealthWrite(old, {"a": UP}, interval=1))
        assert rig.store.write_active(POOL, HealthWrite(new, {"a": UP}, interval=1))

    def test_the_leader_of_one_pool_may_not_write_another(self, rig: Rig) -> None:
        lead(rig, pool="api")
        epoch = lead(rig).epoch
        assert not rig.store.write_active("api", HealthWrite(epoch, {"a": UP}, interval=1))


class TestLease:
    def test_it_is_one_holders_at_a_time(self, rig: Rig) -> None:
        lead(rig, "a")
        assert rig.other.hold_lease(POOL, "b", LONG) is None
        assert rig.store.hold_lease(POOL, "b", LONG) is None

    def test_one_of_many_who_want_it_at_once_gets_it(self, rig: Rig) -> None:
        together = threading.Barrier(6)

        def want(number: int) -> Lease | None:
            together.wait()
            return (rig.store if number % 2 else rig.other).hold_lease(POOL, f"holder-{number}", LONG)

        with ThreadPoolExecutor(6) as threads:
            leases = list(threads.map(want, range(6)))
        assert sum(lease is not None for lease in leases) == 1

    def test_its_holder_keeps_it_and_its_epoch(self, rig: Rig) -> None:
        first = lead(rig)
        assert lead(rig).epoch == first.epoch

    def test_pools_are_led_apart(self, rig: Rig) -> None:
        lead(rig, "a")
        assert rig.store.hold_lease("api", "b", LONG) is not None

    def test_it_runs_out(self, rig: Rig) -> None:
        assert rig.store.hold_lease(POOL, "a", 0.05) is not None
        rig.let_pass(0.06)
        assert rig.store.hold_lease(POOL, "b", LONG) is not None

    def test_to_hold_it_again_makes_it_last_from_then(self, rig: Rig) -> None:
        assert rig.store.hold_lease(POOL, "a", 0.05) is not None
        lead(rig, "a")
        rig.let_pass(0.06)
        assert rig.other.hold_lease(POOL, "b", LONG) is None

    def test_whoever_takes_it_gets_a_higher_epoch_than_all_before(self, rig: Rig) -> None:
        epochs = []
        for holder in ("a", "b", "a"):
            epochs.append(lead(rig, holder).epoch)
            rig.store.drop_lease(POOL, holder)
        assert epochs[0] < epochs[1] < epochs[2]

    def test_the_same_holder_gets_a_higher_epoch_after_it_ran_out(self, rig: Rig) -> None:
        first = rig.store.hold_lease(POOL, "a", 0.05)
        assert first is not None
        rig.let_pass(0.06)
        assert lead(rig, "a").epoch > first.epoch

    def test_an_emptied_store_does_not_begin_again_with_the_epochs_of_before(self, rig: Rig) -> None:
        # Else a leader would take the emptied store's lease for its own, and never tell it what it has forgotten.
        first = lead(rig)
        rig.empty()
        assert lead(rig).epoch > first.epoch

    def test_it_tells_the_time_of_the_store(self, rig: Rig) -> None:
        before = rig.now()
        lease = lead(rig)
        assert before <= lease.now <= rig.now()

    def test_its_holder_can_drop_it(self, rig: Rig) -> None:
        lead(rig, "a")
        rig.store.drop_lease(POOL, "a")
        assert rig.other.hold_lease(POOL, "b", LONG) is not None

    def test_nobody_else_can_drop_it(self, rig: Rig) -> None:
        lead(rig, "a")
        rig.other.drop_lease(POOL, "b")
        assert rig.other.hold_lease(POOL, "b", LONG) is None

    def test_to_drop_one_that_nobody_holds_is_no_error(self, rig: Rig) -> None:
        rig.store.drop_lease(POOL, "a")
        assert rig.store.hold_lease(POOL, "b", LONG) is not None


class TestWatching:
    def test_an_announced_change_names_its_pool(self, rig: Rig) -> None:
        epoch = lead(rig, pool="api").epoch
        watch = rig.other.watch_changes([POOL, "api"])

        def announce_and_wait() -> Collection[str]:
            # A subscription may begin a moment after it was asked for.
            rig.store.write_active("api", HealthWrite(epoch, {"a": UP}, interval=1, announce=True))
            return watch.wait(0.1)

        assert set(eventually(announce_and_wait, "the change is heard")) == {"api"}
        watch.close()

    def test_a_suspect_is_named_with_its_pool(self, rig: Rig) -> None:
        watch = rig.store.watch_suspects([POOL, "api"])

        def report_and_wait() -> Collection[str]:
            rig.other.report_suspect(POOL, "größer:80/x")
            return watch.wait(0.1)

        assert set(eventually(report_and_wait, "the suspect is heard")) == {"web/größer:80/x"}
        watch.close()

    def test_checkers_hear_that_they_are_to_reload(self, rig: Rig) -> None:
        watch = rig.store.watch_reloads()

        def announce_and_wait() -> Collection[str]:
            rig.other.announce_reload()
            return watch.wait(0.1)

        assert eventually(announce_and_wait, "the word is heard")
        watch.close()

    def test_a_watch_hears_its_pools_its_subject_and_no_news_that_is_none(self, rig: Rig) -> None:
        epochs = {pool: lead(rig, pool=pool).epoch for pool in (POOL, "api", "end")}
        watch = rig.other.watch_changes([POOL, "end"])
        suspects = rig.other.watch_suspects(["api", "end"])

        def heard_the_end() -> set[str]:
            rig.store.write_active("end", HealthWrite(epochs["end"], {}, interval=1, announce=True))
            return set(watch.wait(0.1))

        def heard_the_last() -> set[str]:
            rig.store.report_suspect("end", "last")
            return set(suspects.wait(0.1))

        eventually(heard_the_end, "the watch begins")
        eventually(heard_the_last, "the other watch begins")
        rig.store.write_active("api", HealthWrite(epochs["api"], {"a": UP}, interval=1, announce=True))  # not its pool
        rig.store.write_active(POOL, HealthWrite(epochs[POOL], {"a": UP}, interval=1))  # not announced
        rig.store.write_active(POOL, HealthWrite(epochs[POOL] - 1, {"a": UP}, interval=1, announce=True))  # refused
        rig.store.report_suspect(POOL, "a")  # not its subject
        # Messages keep their order: what was said before the end is heard before or with it.
        assert eventually(heard_the_end, "the end is heard") == {"end"}
        assert eventually(heard_the_last, "the last is heard") == {"end/last"}
        watch.close()
        suspects.close()

    def test_everyone_who_watches_hears(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        watches = [rig.store.watch_changes([POOL]), rig.other.watch_changes([POOL]), rig.other.watch_changes([POOL])]
        heard: list[set[str]] = [set(), set(), set()]

        def all_heard() -> bool:
            rig.store.write_active(POOL, HealthWrite(epoch, {}, interval=1, announce=True))
            for watch, messages in zip(watches, heard, strict=True):
                messages.update(watch.wait(0.1))
            return all(heard)

        eventually(all_heard, "all three hear")
        assert heard == [{POOL}] * 3
        for watch in watches:
            watch.close()

    def test_a_wait_ends_empty_when_nothing_comes(self, rig: Rig) -> None:
        watch = rig.store.watch_changes([POOL])
        assert not watch.wait(0.02)
        assert not watch.wait(0)
        watch.close()

    def test_a_wait_ends_when_a_message_comes(self, rig: Rig) -> None:
        watch = rig.store.watch_suspects([POOL])
        heard: list[str] = []

        def wait() -> None:
            while not heard:
                heard.extend(watch.wait(30))

        thread = threading.Thread(target=wait)
        thread.start()

        def reported() -> bool:
            rig.other.report_suspect(POOL, "a")
            return not thread.is_alive()

        eventually(reported, "the wait ends")
        assert set(heard) == {"web/a"}
        thread.join()
        watch.close()

    def test_a_watch_outlives_the_emptying_of_the_store(self, rig: Rig) -> None:
        watch = rig.other.watch_changes([POOL])
        rig.empty()
        epoch = lead(rig).epoch

        def heard() -> Collection[str]:
            rig.store.write_active(POOL, HealthWrite(epoch, {"a": UP}, interval=1, announce=True))
            return watch.wait(0.1)

        assert set(eventually(heard, "the change is heard")) == {POOL}
        watch.close()

    def test_a_closed_watch_does_not_disturb_the_others(self, rig: Rig) -> None:
        closed, open_ = rig.store.watch_suspects([POOL]), rig.store.watch_suspects([POOL])
        closed.close()

        def heard() -> Collection[str]:
            rig.store.report_suspect(POOL, "a")
            return open_.wait(0.1)

        assert set(eventually(heard, "the other hears")) == {"web/a"}
        open_.close()


def test_a_snapshot_known_from_elsewhere_is_replaced_when_the_version_differs(rig: Rig) -> None:
    rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": UP}, interval=1, announce=True))
    foreign = Snapshot(version=1, active={"z": DOWN}, heartbeat=1.0, interval=1.0)
    rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": DOWN}, interval=1, announce=True))
    assert rig.store.read_snapshot(POOL, foreign).active == {"a": DOWN}


class TestOverrides:
    ADDED = Backend("gross", "::1", 443, "https://[::1]:443", 7, "https", backup=True)

    def test_what_operators_set_is_read_with_the_statuses(self, rig: Rig) -> None:
        overrides = {
            "a": Override(Mode.DRAINING),
            "b": Override(weight=0, since=1_700_000_000.25),
            "c": Override(added=Backend("c", "c", 80, "http://c:80", slow_start=0.0)),
            self.ADDED.id: Override(Mode.OFF, 3, self.ADDED),
            "s": Override(added=Backend("s", "localhost", 0, "unix:/run/s", 1, "unix", "/run/s")),
            "gone": Override(removed=True),
            "ending": Override(Mode.DRAINING, closing=Closing(1_700_000_000.5, 300.0)),
        }
        for id_, override in overrides.items():
            assert rig.store.write_override(POOL, id_, None, override)
        assert rig.other.read_snapshot(POOL, NOTHING_KNOWN).overrides == overrides

    def test_whoever_did_not_know_the_latest_word_changes_nothing(self, rig: Rig) -> None:
        first, second = Override(Mode.DRAINING), Override(Mode.OFF)
        assert rig.store.write_override(POOL, "a", None, first)
        before = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        assert not rig.other.write_override(POOL, "a", None, second)
        assert not rig.other.write_override(POOL, "a", second, None)
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN) == before
        assert rig.other.write_override(POOL, "a", first, second)
        assert rig.store.read_snapshot(POOL, before).overrides == {"a": second}
        assert rig.store.write_override(POOL, "a", second, None)
        assert rig.store.read_snapshot(POOL, before).overrides == {}

    def test_an_override_is_announced(self, rig: Rig) -> None:
        watch = rig.other.watch_changes([POOL])
        try:
            rig.store.write_override(POOL, "a", None, Override(weight=2))
            heard: set[str] = set()
            eventually(lambda: heard.update(watch.wait(0.1)) or POOL in heard, "the change is heard of")
        finally:
            watch.close()


class TestSecret:
    def test_the_first_that_is_proposed_is_everybodys(self, rig: Rig) -> None:
        assert rig.store.agree_on_secret(POOL, FIRST) == FIRST
        assert rig.other.agree_on_secret(POOL, SECOND) == FIRST
        assert rig.other.agree_on_secret("api", SECOND) == SECOND

    def test_it_is_read_with_the_statuses_and_makes_no_new_version(self, rig: Rig) -> None:
        known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
        assert known.secret == ""
        rig.store.agree_on_secret(POOL, FIRST)
        assert rig.store.read_snapshot(POOL, known).version == known.version
        rig.store.write_active(POOL, HealthWrite(lead(rig).epoch, {"a": UP}, interval=1, announce=True))
        assert rig.other.read_snapshot(POOL, known).secret == FIRST

    def test_an_emptied_store_has_none(self, rig: Rig) -> None:
        rig.store.agree_on_secret(POOL, FIRST)
        rig.empty()
        assert rig.store.agree_on_secret(POOL, SECOND) == SECOND

    def test_a_snapshot_does_not_show_it(self, rig: Rig) -> None:
        assert FIRST not in repr(Snapshot(secret=FIRST))


class TestDiscovered:
    FOUND = (Backend("a:1", "a", 1, "http://a:1", 2), Backend("b:2", "b", 2, "http://b:2", backup=True))

    def test_the_leader_writes_who_was_found_and_all_read_it(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        assert rig.store.write_discovered(POOL, epoch, self.FOUND)
        known = rig.other.read_snapshot(POOL, NOTHING_KNOWN)
        assert known.discovered == self.FOUND
        assert rig.store.write_discovered(POOL, epoch, [])
        assert rig.other.read_snapshot(POOL, known).discovered == ()

    def test_the_same_again_makes_no_new_version(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        rig.store.write_discovered(POOL, epoch, self.FOUND)
        version = rig.store.read_snapshot(POOL, NOTHING_KNOWN).version
        assert rig.store.write_discovered(POOL, epoch, self.FOUND)
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).version == version

    def test_a_later_epoch_is_not_overwritten(self, rig: Rig) -> None:
        old = lead(rig).epoch
        rig.store.drop_lease(POOL, "a")
        lead(rig, "b")
        assert not rig.store.write_discovered(POOL, old, self.FOUND)
        assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).discovered == ()


class TestSourceFailure:
    FAILS = SourceFailure("dns://größer:80", "there is no name größer", 1_600_000_000.125, SourceCause.NO_NAME)

    def test_the_leader_writes_it_and_all_read_it_until_it_is_over(self, rig: Rig) -> None:
        epoch = lead(rig).epoch
        assert rig.other.read_roster(POOL).source_failure is None
        assert rig.store.write_source(POOL, epoch, self.FAILS)
        assert rig.other.read_roster(POOL).source_failure == self.FAILS
        assert rig.store.write_source(POOL, epoch, None)
        assert rig.other.read_roster(POOL).source_failure is None

    def test_a_later_epoch_is_not_overwritten(self, rig: Rig) -> None:
        old = lead(rig).epoch
        rig.store.drop_lease(POOL, "a")
        lead(rig, "b")
        assert not rig.store.write_source(POOL, old, self.FAILS)
        assert rig.store.read_roster(POOL).source_failure is None


def test_the_failure_of_a_source_is_forgotten_without_its_checker() -> None:
    with stores.memory() as rig:
        rig.store.write_source(POOL, lead(rig).epoch, TestSourceFailure.FAILS)
        rig.let_pass(SOURCE_FORGOTTEN_AFTER - 1.0)
        assert rig.store.read_roster(POOL).source_failure == TestSourceFailure.FAILS
        rig.let_pass(1.0)
        assert rig.store.read_roster(POOL).source_failure is None


class TestCertificates:
    def test_the_leader_writes_records_and_all_read_them(self, rig: Rig) -> None:
        assert rig.other.read_certificates(0) is None
        nothing = rig.other.read_certificates(-1)
        assert nothing is not None
        assert (nothing.version, dict(nothing.records)) == (0, {})
        epoch = lead(rig, pool=FLEET).epoch
        assert rig.store.write_certificates(epoch, {"account": b"v1.a", "order:a.example": b"v1.\xff\x00"})
        found = rig.other.read_certificates(nothing.version)
        assert found is not None
        assert found.records == {"account": b"v1.a", "order:a.example": b"v1.\xff\x00"}
        assert rig.other.read_certificates(found.version) is None

    def test_others_stay_and_an_empty_record_is_deleted(self, rig: Rig) -> None:
        epoch = lead(rig, pool=FLEET).epoch
        assert rig.store.write_certificates(epoch, {"a": b"1", "b": b"2", "c": b"3"})
        before = rig.other.read_certificates(-1)
        assert rig.store.write_certificates(epoch, {"a": b"", "b": b"4", "d": b""})
        after = rig.other.read_certificates(-1)
        assert before is not None
        assert after is not None
        assert after.records == {"b": b"4", "c": b"3"}
        assert after.version > before.version

    def test_a_later_epoch_is_not_overwritten(self, rig: Rig) -> None:
        old = lead(rig, pool=FLEET).epoch
        rig.store.drop_lease(FLEET, "a")
        assert lead(rig, "b", pool=FLEET).epoch > old
        assert not rig.store.write_certificates(old, {"a": b"1"})
        found = rig.store.read_certificates(-1)
        assert found is not None
        assert not found.records

    def test_nobody_writes_without_a_lead(self, rig: Rig) -> None:
        lead(rig)  # of a pool
        assert not rig.store.write_certificates(0, {"a": b"1"})

    def test_a_change_is_announced_to_the_fleet(self, rig: Rig) -> None:
        watch = rig.other.watch_changes([FLEET])
        try:
            rig.store.write_certificates(lead(rig, pool=FLEET).epoch, {"a": b"1"})
            eventually(lambda: FLEET in watch.wait(1.0), "the message arrives")
        finally:
            watch.close()

    def test_an_emptied_store_has_another_version(self, rig: Rig) -> None:
        rig.store.write_certificates(lead(rig, pool=FLEET).epoch, {"a": b"1"})
        before = rig.other.read_certificates(-1)
        assert before is not None
        rig.empty()
        after = rig.other.read_certificates(before.version)
        assert after is not None
        assert not after.records
        rig.store.write_certificates(lead(rig, "b", pool=FLEET).epoch, {"a": b"2"})
        again = rig.other.read_certificates(before.version)
        assert again is not None
        assert again.records == {"a": b"2"}


class TestCertificateWishes:
    def test_the_leader_takes_each_wish_once(self, rig: Rig) -> None:
        epoch = lead(rig, pool=FLEET).epoch
        assert list(rig.store.take_wishes(epoch, 5)) == []
        rig.other.wish_certificates(["a.example", "b.example"])
        rig.store.wish_certificates(["b.example", "c.example"])
        first = list(rig.store.take_wishes(epoch, 2))
        assert len(first) == 2
        assert sorted([*first, *rig.store.take_wishes(epoch, 5)]) == ["a.example", "b.example", "c.example"]
        assert list(rig.store.take_wishes(epoch, 5)) == []

    def test_another_epoch_takes_none(self, rig: Rig) -> None:
        rig.other.wish_certificates(["a.example"])
        assert list(rig.store.take_wishes(0, 5)) == []
        epoch = lead(rig, pool=FLEET).epoch
        assert list(rig.store.take_wishes(epoch + 1, 5)) == []
        assert list(rig.store.take_wishes(epoch, 5)) == ["a.example"]

    def test_there_are_only_so_many(self, rig: Rig) -> None:
        epoch = lead(rig, pool=FLEET).epoch
        for start in range(0, MAX_WISHES + 100, 50):
            rig.other.wish_certificates([f"{number}.example" for number in range(start, start + 50)])
        assert len(rig.store.take_wishes(epoch, 2 * MAX_WISHES)) == MAX_WISHES


def test_wishes_are_forgotten_after_some_time() -> None:
    with stores.memory() as rig:
        rig.store.wish_certificates(["a.example"])
        rig.let_pass(WISHES_FORGOTTEN_AFTER)
        assert list(rig.store.take_wishes(lead(rig, pool=FLEET).epoch, 5)) == []


class TestSlots:
    @staticmethod
    def keeps(count: int, **wants: int) -> SlotDemand:
        return SlotDemand([BackendSlots("größer:80", count, 5)], **wants)

    def test_there_are_as_many_as_the_backend_has_for_all_workers_together(self, rig: Rig) -> None:
        assert rig.store.hold_slots(POOL, "a", self.keeps(0, extra=3)).held == [3]
        assert rig.other.hold_slots(POOL, "b", self.keeps(0, extra=3)).held == [2]
        assert rig.other.hold_slots(POOL, "c", self.keeps(0, extra=3)).held == [0]

    def test_each_backend_and_each_pool_has_its_own(self, rig: Rig) -> None:
        rig.store.hold_slots(POOL, "a", self.keeps(0, extra=5))
        places = [BackendSlots("größer:80", 0, 5), BackendSlots("b", 0, 2), BackendSlots("c", 0, 2)]
        assert rig.other.hold_slots(POOL, "b", SlotDemand(places, extra=3)).held == [0, 2, 1]
        assert rig.other.hold_slots("api", "b", self.keeps(0, extra=5)).held == [5]

    def test_what_is_not_kept_is_anybodys(self, rig: Rig) -> None:
        rig.store.hold_slots(POOL, "a", self.keeps(0, extra=5))
        assert rig.store.hold_slots(POOL, "a", self.keeps(1)).held == [1]
        assert rig.other.hold_slots(POOL, "b", self.keeps(0, extra=5)).held == [4]
        rig.store.hold_slots(POOL, "a", SlotDemand(()))
        assert rig.other.hold_slots(POOL, "b", self.keeps(4, extra=5)).held == [5]

    def test_to_say_the_same_twice_changes_nothing(self, rig: Rig) -> None:
        for _ in range(2):
            assert rig.store.hold_slots(POOL, "a", self.keeps(2, extra=1)).held == [3]
        assert rig.other.hold_slots(POOL, "b", self.keeps(0, extra=5)).held == [2]

    def test_what_is_in_use_stays_even_if_it_is_too_much(self, rig: Rig) -> None:
        rig.store.hold_slots(POOL, "a", self.keeps(4))
        assert rig.other.hold_slots(POOL, "b", self.keeps(3, extra=1)).held == [3]

    def test_how_many_wait_is_known_to_all(self, rig: Rig) -> None:
        rig.store.hold_slots(POOL, "a", self.keeps(5))
        assert rig.store.hold_slots(POOL, "b", self.keeps(0, extra=3, waiting=3)).elsewhere == 0
        assert rig.other.hold_slots(POOL, "c", self.keeps(0, extra=2, waiting=2)).elsewhere == 3
        assert rig.store.hold_slots(POOL, "a", self.keeps(5)).elsewhere == 5
        assert rig.store.hold_slots(POOL, "d", self.keeps(0, extra=1, waiting=1, room=5)).elsewhere == 5
        assert rig.store.hold_slots(POOL, "a", self.keeps(5)).elsewhere == 5

    def test_who_waits_longer_elsewhere_is_not_overtaken(self, rig: Rig) -> None:
        rig.store.hold_slots(POOL, "a", self.keeps(5))
        rig.store.hold_slots(POOL, "b", self.keeps(0, extra=1, waiting=1))
        rig.let_pass(TOLERANCE + 0.02)
        assert rig.store.hold_slots(POOL, "a", self.keeps(4, extra=1)).held == [4]
        assert rig.store.hold_slots(POOL, "b", self.keeps(0, extra=1, waiting=1)).held == [1]

    def test_what_a_silent_worker_held_and_waited_for_is_gone(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (ports, redis):
            monkeypatch.setattr(module, "DEAD_AFTER", 0.2)
        rig.store.hold_slots(POOL, "dead", self.keeps(4, extra=2, waiting=2))
        assert rig.other.hold_slots(POOL, "b", self.keeps(0, extra=5)).held == [0]
        rig.let_pass(0.25)
        granted = rig.other.hold_slots(POOL, "b", self.keeps(0, extra=5))
        assert (granted.held, granted.elsewhere) == ([5], 0)

    def test_whoever_waits_hears_of_what_is_let_go(self, rig: Rig) -> None:
        watch = rig.other.watch_slots([POOL, "api"])
        rig.store.hold_slots(POOL, "a", self.keeps(5))
        rig.store.hold_slots(POOL, "b", self.keeps(0, extra=1, waiting=1))
        freeing = SlotDemand([BackendSlots("größer:80", 4, 5)], before=5)

        def let_go_and_wait() -> Collection[str]:
            rig.store.hold_slots(POOL, "a", freeing)
            return watch.wait(0.1)

        assert set(eventually(let_go_and_wait, "it is heard of")) == {POOL}
        watch.close()

    def test_nobody_is_told_of_what_nobody_waits_for_unless_somebody_calls(self, rig: Rig) -> None:
        watch = rig.other.watch_slots([POOL, "api"])

        def call_and_wait() -> Collection[str]:
            rig.store.hold_slots("api", "a", SlotDemand([BackendSlots("b", 0, 1)], call=True))
            return watch.wait(0.1)

        assert set(eventually(call_and_wait, "it is heard of")) == {"api"}
        while watch.wait(0.02):
            pass
        rig.store.hold_slots(POOL, "a", SlotDemand([BackendSlots("b", 1, 5)], before=5))
        rig.store.hold_slots(POOL, "a", SlotDemand([BackendSlots("b", 1, 5)], extra=1))
        assert not watch.wait(0.05)
        watch.close()


class TestTokens:
    LIMIT = RateLimit("login", 1, 3600, 3)

    def test_a_burst_passes_and_no_more(self, rig: Rig) -> None:
        taken = [store.take_token(self.LIMIT, "größer") for store in (rig.store, rig.other) * 2]
        assert [(one.passed, one.left) for one in taken] == [(True, 2), (True, 1), (True, 0), (False, 0)]
        assert 3590 < taken[-1].wait <= 3600
        assert 3 * 3590 < taken[-1].full_in <= 3 * 3600

    def test_each_key_and_each_limit_has_a_bucket(self, rig: Rig) -> None:
        for limit in (self.LIMIT, RateLimit("other", 1, 3600, 3), RateLimit("login", 2, 3600, 3)):
            for key in ("a", "b", ""):
                assert rig.store.take_token(limit, key).left == 2

    def test_tokens_come_back(self, rig: Rig) -> None:
        fast = RateLimit("fast", 100, 1, 1)
        assert rig.store.take_token(fast, "a").passed
        rig.let_pass(0.011)
        assert rig.store.take_token(fast, "a").passed

    def test_no_more_pass_than_the_limit_however_many_ask_at_once(self, rig: Rig) -> None:
        limit = RateLimit("exact", 1, 3600, 20)

        def take(number: int) -> int:
            store = rig.store if number % 2 else rig.other
            return sum(store.take_token(limit, "a").passed for _ in range(10))

        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(take, range(6))) == 20
