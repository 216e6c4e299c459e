"""A worker's window on the fleet, with a store, without one, and between the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.servers import free_port, valkey
from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import WorkerReport
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health, Override, Snapshot
from lbflask.core.tickets import LEASE_FROM
from lbflask.fleet import follower, local_pool, reporter, store_link
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import OtherWorkers, StoreUnavailable, WorkerStore
from lbflask.store.redis import RedisStore, connect
from tests.store.stores import PATIENCE

POOL = "web"
UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)
#: Seconds that no test lasts: what happens meanwhile did not wait for it.
NEVER = 3600.0


class FlakyStore:
    """The workers' port over facts in memory: it can be lost and found, and remembers what it was asked by whom."""

    def __init__(self, facts: MemoryStore) -> None:
        self.facts = facts
        self.why_lost = ""
        self.refuse = ""  # the one method that fails
        self.closed = False
        self.calls: list[tuple[str, str, object]] = []  # thread, method, argument
        self.watches: list[FlakyWatch] = []
        self.stirred = threading.Condition()
        self.doorway = threading.Event()  # shut, no call gets an answer
        self.doorway.set()

    def lose(self, why: str = "gone", quietly: bool = False) -> None:
        """No call succeeds from now on; unless quietly, those who wait for messages notice at once."""
        self.why_lost = why
        if not quietly:
            self.stir()

    def find(self) -> None:
        self.why_lost = ""

    def tell(self, pool: str) -> None:
        """Send the message that a status changed."""
        for watch in self.watches:
            watch.messages.add(pool)
        self.stir()

    def stir(self) -> None:
        with self.stirred:
            self.stirred.notify_all()

    def asked(self, method: str) -> list[object]:
        """The arguments with which it was asked so far."""
        return [argument for _, name, argument in list(self.calls) if name == method]

    def watched(self) -> set[str]:
        """The pools that the latest subscription is about."""
        return {pool for pools in self.asked("watch_changes")[-1:] if isinstance(pools, tuple) for pool in pools}

    def calls_of_this_thread(self) -> int:
        return [thread for thread, _, _ in list(self.calls)].count(threading.current_thread().name)

    def take_tickets(self, pool: str, count: int) -> int:
        self._trip("take_tickets", count)
        return self.facts.take_tickets(pool, count)

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        self._trip("read_snapshot", pool)
        return self.facts.read_snapshot(pool, known)

    def prove(self, pool: str) -> None:
        self._trip("prove", pool)
        self.facts.prove(pool)

    def watch_changes(self, pools: Collection[str]) -> FlakyWatch:
        self._trip("watch_changes", tuple(pools))
        watch = FlakyWatch(self)
        self.watches.append(watch)
        return watch

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        self._trip("agree_on_secret", proposed)
        return self.facts.agree_on_secret(pool, proposed)

    def report_suspect(self, pool: str, backend: str) -> None:
        self._trip("report_suspect", f"{pool}/{backend}")

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        self._trip("count_failures", (backend, report))
        return self.facts.count_failures(pool, backend, report, rule)

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        self._trip("hold_probe", holder)
        return self.facts.hold_probe(pool, holder, seconds)

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        self._trip("settle_ejection", (backend, back))
        return self.facts.settle_ejection(pool, backend, since, back=back, rule=rule)

    def beat(
        self,
        pool: str,
        worker: str,
        loads: Mapping[str, int],
        attempts: Mapping[str, int],
        *,
        read: bool,
        report: WorkerReport | None = None,
    ) -> OtherWorkers:
        self._trip("beat", dict(loads))
        return self.facts.beat(pool, worker, loads, attempts, read=read, report=report)

    def record(self, events: Sequence[FleetEvent]) -> None:
        self._trip("record", tuple(events))
        self.facts.record(events)

    def leave(self, pool: str, worker: str) -> None:
        self._trip("leave", worker)
        self.facts.leave(pool, worker)

    def announce_reload(self) -> None:
        self._trip("announce_reload", None)
        self.facts.announce_reload()

    def close(self) -> None:
        self.closed = True
        self.stir()

    def _trip(self, method: str, argument: object) -> None:
        self.calls.append((threading.current_thread().name, method, argument))
        assert self.doorway.wait(PATIENCE)
        if self.why_lost or method == self.refuse:
            raise StoreUnavailable(self.why_lost or "refused")


class FlakyWatch:
    """A subscription that ends with its store."""

    def __init__(self, store: FlakyStore) -> None:
        self.store = store
        self.messages: set[str] = set()
        self.closed = False

    def wait(self, timeout: float) -> Collection[str]:
        store = self.store
        with store.stirred:
            store.stirred.wait_for(lambda: self.messages or store.why_lost or store.closed, timeout)
        if store.why_lost:
            raise StoreUnavailable(store.why_lost)
        heard, self.messages = self.messages, set()
        return heard

    def close(self) -> None:
        self.closed = True


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
    eventually(
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")],
        "no thread is left",
    )


def write(store: MemoryStore | RedisStore, states: dict[str, ActiveHealth], pool: str = POOL) -> None:
    """As the checker does when a status has changed."""
    lease = store.hold_lease(pool, "checker", NEVER)
    assert lease is not None
    assert store.write_active(pool, lease.epoch, states, interval=1, announce=True)


def active(fleet: Fleet, pool: str = POOL) -> dict[str, ActiveHealth]:
    return dict(fleet.snapshot(pool).active)


def grown_busy(fleet: Fleet, store: FlakyStore) -> list[int]:
    """Tickets taken as fast as can be, until the fleet takes more than one at a time."""
    taken: list[int] = []

    def busy() -> bool:
        taken.extend(fleet.ticket(POOL) for _ in range(3 * LEASE_FROM))
        return store.asked("take_tickets")[-1] != 1

    eventually(busy, "tickets are taken in blocks")
    return taken


class TestTickets:
    def test_a_strict_fleet_makes_one_trip_for_each_request(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL], strict=True)
        first = fleet.ticket(POOL)
        rest = [fleet.ticket(POOL) for _ in range(4 * LEASE_FROM)]
        assert rest == list(range(first + 1, first + 1 + len(rest)))
        assert store.asked("take_tickets") == [1] * (len(rest) + 1)

    def test_a_quiet_worker_takes_each_ticket_by_itself(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        for _ in range(LEASE_FROM - 1):
            fleet.ticket(POOL)
        assert store.asked("take_tickets") == [1] * (LEASE_FROM - 1)

    def test_a_busy_worker_makes_few_trips(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        taken = grown_busy(fleet, store)
        assert len(store.asked("take_tickets")) < len(taken)
        assert len({*taken}) == len(taken)

    def test_a_worker_that_has_gone_quiet_takes_each_ticket_by_itself_again(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        grown_busy(fleet, store)
        eventually(lambda: fleet.ticket(POOL) >= 0 and store.asked("take_tickets")[-1] == 1, "one ticket is taken")

    @pytest.mark.parametrize("strict", [True, False])
    def test_no_two_workers_get_the_same_ticket(self, store: FlakyStore, strict: bool) -> None:
        fleets = [Fleet(store, [POOL], strict=strict) for _ in range(3)]
        together = threading.Barrier(6)

        def work(number: int) -> list[int]:
            together.wait()
            return [fleets[number % 3].ticket(POOL) for _ in range(2 * LEASE_FROM)]

        with ThreadPoolExecutor(6) as threads:
            taken = [ticket for tickets in threads.map(work, range(6)) for ticket in tickets]
        assert len({*taken}) == len(taken)

    def test_every_pool_has_tickets_of_its_own(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL, "api"])
        first = fleet.ticket(POOL)
        assert fleet.ticket("api") == first
        assert fleet.ticket(POOL) == first + 1


class TestFollowing:
    def test_the_first_request_is_served_by_what_is_known(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        write(store.facts, {"a": UP})
        fleet = started(store)
        assert active(fleet) == {"a": UP}
        assert not fleet.degraded
        assert fleet.why == ""

    @pytest.mark.usefixtures("never_polls")
    def test_an_announced_change_is_known_without_a_poll(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store, POOL, "api")
        eventually(lambda: store.watches, "the fleet listens")
        write(store.facts, {"a": DOWN}, "api")
        store.tell("api")
        eventually(lambda: active(fleet, "api") == {"a": DOWN}, "the change is known")
        assert fleet.snapshot(POOL) == NOTHING_KNOWN

    def test_a_lost_message_costs_no_more_than_a_poll(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follower, "POLL_EVERY", 0.02)
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        write(store.facts, {"a": DOWN})
        eventually(lambda: active(fleet) == {"a": DOWN}, "the change is known")

    def test_requests_read_nothing(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store)
        before = store.calls_of_this_thread()
        for _ in range(100):
            fleet.snapshot(POOL)
        assert store.calls_of_this_thread() == before

    def test_a_message_about_a_pool_of_others_is_passed_over(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        store.tell("of others")
        write(store.facts, {"a": UP})
        store.tell(POOL)
        eventually(lambda: active(fleet) == {"a": UP}, "the fleet still listens")
        assert "of others" not in store.asked("read_snapshot")

    @pytest.mark.usefixtures("never_polls")
    def test_a_stopped_fleet_lets_go_of_everything(self, store: FlakyStore) -> None:
        fleet = Fleet(store, [POOL])
        fleet.start()
        eventually(lambda: store.watches, "the fleet listens")
        fleet.stop()
        assert store.closed
        assert [watch.closed for watch in store.watches] == [True]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")]


class TestDegraded:
    @pytest.mark.parametrize("strict", [True, False])
    def test_the_request_that_finds_the_store_gone_gets_a_ticket_all_the_same(
        self, store: FlakyStore, strict: bool
    ) -> None:
        told: list[str] = []
        fleet = Fleet(store, [POOL], strict=strict, report=told.append)
        fleet.ticket(POOL)
        store.lose("no route")
        assert isinstance(fleet.ticket(POOL), int)
        assert fleet.degraded
        assert fleet.why == "no route"
        assert len(told) == 1
        assert "no route" in told[0]

    @pytest.mark.parametrize("strict", [True, False])
    def test_no_further_request_asks_a_store_that_is_gone(self, store: FlakyStore, strict: bool) -> None:
        told: list[str] = []
        fleet = Fleet(store, [POOL], strict=strict, report=told.append)
        store.lose()
        first = fleet.ticket(POOL)
        assert len(store.calls) == 1
        tickets = [fleet.ticket(POOL) for _ in range(100)]
        assert len(store.calls) == 1
        assert tickets == list(range(first + 1, first + 101))
        assert len(told) == 1

    def test_workers_without_a_store_do_not_march_in_step(self, store: FlakyStore) -> None:
        store.lose()
        assert len({Fleet(store, [POOL]).ticket(POOL) for _ in range(8)}) > 1

    def test_those_who_wait_for_a_ticket_while_the_store_fails_do_not_each_wait_for_the_store(
        self, store: FlakyStore
    ) -> None:
        fleet = Fleet(store, [POOL])
        store.doorway.clear()
        together = threading.Barrier(10)

        def request() -> int:
            together.wait()
            return fleet.ticket(POOL)

        with ThreadPoolExecutor(10) as threads:
            requests = [threads.submit(request) for _ in range(10)]
            eventually(lambda: store.asked("take_tickets"), "one has asked")
            store.lose()
            store.doorway.set()
            tickets = [request.result(PATIENCE) for request in requests]
        assert len(store.asked("take_tickets")) == 1
        assert len({*tickets}) == 10

    def test_the_last_snapshot_stays(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        write(store.facts, {"a": UP, "b": DOWN})
        fleet = started(store)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        eventually(lambda: store.asked("prove")[2:], "the follower tries again")
        assert active(fleet) == {"a": UP, "b": DOWN}

    def test_it_is_reported_once_however_often_the_follower_tries(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_link, "RETRY_EVERY", 0.01)
        told: list[str] = []
        store.lose("no route")
        fleet = started(store, report=told.append)
        eventually(lambda: len(store.asked("prove")) > 3, "the follower tries")
        fleet.ticket(POOL)
        assert len(told) == 1
        assert fleet.why == "no route"

    def test_a_fleet_starts_without_a_store(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        store.lose()
        fleet = started(store)
        assert fleet.degraded
        assert fleet.snapshot(POOL) == NOTHING_KNOWN
        assert fleet.ticket(POOL) + 1 == fleet.ticket(POOL)


class TestRecovery:
    def test_the_follower_finds_the_store_again_without_any_request(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        told: list[str] = []
        fleet = started(store, report=told.append)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        write(store.facts, {"a": UP})
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        assert active(fleet) == {"a": UP}  # known before the store is said to be back
        eventually(lambda: len(told) == 2, "it is reported")
        assert fleet.why == ""

    @pytest.mark.parametrize("strict", [True, False])
    def test_tickets_are_the_fleets_again(self, store: FlakyStore, started: Callable[..., Fleet], strict: bool) -> None:
        fleet = started(store, strict=strict)
        store.lose()
        fleet.ticket(POOL)
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        expected = store.facts.take_tickets(POOL, 1) + 1
        assert fleet.ticket(POOL) == expected

    def test_a_block_from_before_is_not_used_after(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        # The store may have been emptied meanwhile, and then gives those tickets to others.
        fleet = started(store)
        taken = grown_busy(fleet, store)
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        fleet.ticket(POOL)
        store.facts.empty()
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        assert fleet.ticket(POOL) < max(taken)

    @pytest.mark.usefixtures("never_polls")
    def test_changes_are_heard_again_and_the_lost_subscription_is_closed(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        eventually(lambda: store.watches, "the fleet listens")
        store.lose()
        eventually(lambda: fleet.degraded, "the follower notices")
        store.find()
        eventually(lambda: not fleet.degraded, "the follower finds it")
        write(store.facts, {"a": UP})
        store.tell(POOL)
        eventually(lambda: active(fleet) == {"a": UP}, "the change is known")
        assert [watch.closed for watch in store.watches] == [True, False]


class TestSuspects:
    def test_the_checker_is_told_in_the_background(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store)
        before = store.calls_of_this_thread()
        fleet.report_unreachable(POOL, "a:80")
        eventually(lambda: store.asked("report_suspect") == ["web/a:80"], "the checker is told")
        assert store.calls_of_this_thread() == before

    def test_each_backend_is_told_of_once_in_a_while(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "UNREACHABLE_EVERY", NEVER)
        fleet = started(store, POOL, "api")
        for turn in range(100):
            fleet.report_unreachable(POOL, "a")
            fleet.report_unreachable("api" if turn % 2 else POOL, "b")
        eventually(lambda: len(store.asked("report_suspect")) >= 3, "the checker is told")
        fleet.report_unreachable(POOL, "a")
        fleet.report_unreachable(POOL, "b")
        fleet.report_unreachable("api", "b")
        fleet.report_unreachable(POOL, "last")
        eventually(lambda: "web/last" in store.asked("report_suspect"), "the checker is told of the last")
        assert sorted(map(str, store.asked("report_suspect"))) == ["api/b", "web/a", "web/b", "web/last"]

    def test_a_backend_that_is_still_out_of_reach_is_told_of_again(
        self, store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporter, "UNREACHABLE_EVERY", 0.0)
        fleet = started(store)
        for times in (1, 2):
            fleet.report_unreachable(POOL, "a")
            eventually(lambda times=times: store.asked("report_suspect") == ["web/a"] * times, "told")  # type: ignore[misc]

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
        eventually(lambda: "web/b" in store.asked("report_suspect"), "the checker is told")


class TestSecret:
    def agreeing(self, store: WorkerStore) -> Fleet:
        fleet = Fleet(store, [POOL])
        fleet.agree_on_secret(POOL)
        return fleet

    def test_all_workers_come_to_the_same_one_and_ask_once(self, store: FlakyStore) -> None:
        fleets = [self.agreeing(store) for _ in range(3)]
        for fleet in fleets * 2:
            fleet.refresh()
        assert len({fleet.snapshot(POOL).secret for fleet in fleets}) == 1
        assert len(fleets[0].snapshot(POOL).secret) > 32
        assert len(store.asked("agree_on_secret")) == 3

    def test_a_fleet_that_needs_none_asks_for_none(self, store: FlakyStore) -> None:
        Fleet(store, [POOL]).refresh()
        assert store.asked("agree_on_secret") == []

    def test_a_store_that_was_emptied_gets_it_back_and_keeps_what_else_was_known(self, store: FlakyStore) -> None:
        facts = store.facts
        assert facts.write_override(POOL, "a", None, Override(weight=5))
        fleet = self.agreeing(store)
        fleet.refresh()
        before = fleet.snapshot(POOL)
        facts.empty()
        fleet.refresh()
        assert fleet.snapshot(POOL).secret == before.secret
        assert fleet.snapshot(POOL).overrides == before.overrides
        assert facts.agree_on_secret(POOL, "another") == before.secret

    def test_it_is_kept_while_the_store_is_away(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = self.agreeing(store)
        fleet.start()
        try:
            secret = fleet.snapshot(POOL).secret
            store.lose()
            eventually(lambda: fleet.degraded, "the loss is noticed")
            assert fleet.snapshot(POOL).secret == secret
        finally:
            fleet.stop()


def test_all_parts_show_their_state_and_no_secret(store: FlakyStore) -> None:
    fleet = Fleet(store, [POOL])
    fleet.agree_on_secret(POOL)
    fleet.refresh()
    fleet.traffic(POOL).began("a")
    fleet.degrade("no route")
    slots = Slots(fleet)
    parts = [fleet, fleet._follower, fleet._reporter, fleet.pools[POOL].tickets, fleet.traffic(POOL).heartbeat]
    parts += [slots, slots.of(POOL), Buckets(fleet), store.facts, store.facts.watch_changes([POOL])]
    shown = [repr(part) for part in parts]
    assert all(type(part).__name__ in text for part, text in zip(parts, shown, strict=True))
    assert "degraded: no route" in shown[0]
    assert "'a': 1" in shown[0]
    assert fleet.snapshot(POOL).secret not in "".join(shown)


def test_without_a_store_the_clock_is_our_own(store: FlakyStore) -> None:
    assert abs(Fleet(store, [POOL]).now() - time.time()) < 60


def test_the_clock_is_the_stores(started: Callable[..., Fleet]) -> None:
    fleet = started(MemoryStore(lambda: 5000.0))
    assert 5000 <= fleet.now() < 5000 + NEVER


class TestOverRealStores:
    def test_over_a_store_in_memory(self, started: Callable[..., Fleet]) -> None:
        facts = MemoryStore(time.time)
        fleet = started(facts)
        write(facts, {"a": UP})
        eventually(lambda: active(fleet) == {"a": UP}, "the change is known")
        assert fleet.ticket(POOL) + 1 == fleet.ticket(POOL)

    def test_over_a_valkey_that_dies_and_comes_back_empty(self, started: Callable[..., Fleet]) -> None:
        port = free_port()
        told: list[str] = []
        with valkey(port=port) as url, connect(url, PATIENCE) as client:
            write(RedisStore(client, "test"), {"a": UP})
            fleet = started(RedisStore(connect(url), "test"), report=told.append)
            eventually(lambda: active(fleet) == {"a": UP}, "the snapshot is known")
            eventually(lambda: not fleet.degraded, "the store is in reach")
        fleet.ticket(POOL)
        eventually(lambda: fleet.degraded, "the store is marked as gone")
        assert active(fleet) == {"a": UP}
        with valkey(port=port) as url, connect(url, PATIENCE) as client:
            eventually(lambda: not fleet.degraded, "the follower finds it")
            assert active(fleet) == {}
            write(RedisStore(client, "test"), {"a": DOWN})
            eventually(lambda: active(fleet) == {"a": DOWN}, "the change is known")
            assert [message for message in told if "back" in message]

    def test_stopping_while_the_follower_waits_for_messages_is_quiet(
        self, redis_url: str, never_polls: None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(10):
            fleet = Fleet(RedisStore(connect(redis_url, PATIENCE), "test"), [POOL])
            fleet.start()
            with connect(redis_url, PATIENCE) as client:
                eventually(lambda client=client: client.pubsub_numsub("{test:web}:changes")[0][1], "it listens")  # type: ignore[misc]
            fleet.stop()
        assert capfd.readouterr().err == ""
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")]


class TestAnotherConfiguration:
    def test_a_new_pool_is_known_at_once_and_followed(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        write(store.facts, {"c": UP}, "api")
        fleet = started(store)
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        fleet.refresh()
        assert active(fleet, "api") == {"c": UP}
        eventually(lambda: store.watched() == {POOL, "api"}, "it is listened to")
        write(store.facts, {"c": DOWN}, "api")
        store.tell("api")
        eventually(lambda: active(fleet, "api") == {"c": DOWN}, "the change is known")

    def test_a_pool_that_stays_keeps_what_is_known_of_it(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        write(store.facts, {"a": UP})
        fleet = started(store)
        fleet.traffic(POOL).began("a")
        before = fleet.traffic(POOL)
        first = fleet.ticket(POOL)
        fleet.set_pools({POOL: EjectionPolicy(("a",)), "api": EjectionPolicy()}, strict=True)
        assert fleet.traffic(POOL) is before
        assert fleet.loads(POOL) == {"a": 1}
        assert active(fleet) == {"a": UP}
        assert fleet.ticket(POOL) == first + 1

    def test_a_pool_that_is_gone_serves_who_was_given_to_it_and_then_forgets_its_beat(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store, POOL, "api")
        traffic = fleet.traffic("api")
        traffic.began("c")
        eventually(
            lambda: store.facts.beat("api", "other", {}, {}, read=True).loads == {"c": 1}, "the others know of it"
        )
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        assert fleet.ticket("api") >= 0
        assert fleet.snapshot("api") == NOTHING_KNOWN
        assert store.facts.beat("api", "other", {}, {}, read=True).loads == {"c": 1}
        traffic.ended("c")
        eventually(lambda: not store.facts.beat("api", "other", {}, {}, read=True).loads, "the beat is forgotten")
        traffic.began("c")  # somebody who was late
        traffic.ended("c")
        eventually(lambda: not store.facts.beat("api", "other", {}, {}, read=True).loads, "it is forgotten again")

    def test_a_pool_that_comes_back_goes_on(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store, POOL, "api")
        traffic = fleet.traffic("api")
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        assert fleet.traffic("api") is traffic

    def test_a_pool_that_is_gone_for_long_is_forgotten(
        self, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_pool, "KEEP_RETIRED_FOR", 0.0)
        fleet = Fleet(store, [POOL, "api", "busy"])
        fleet.traffic("busy").began("b")
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        fleet.set_pools({POOL: EjectionPolicy()}, strict=False)
        assert fleet.ticket("busy") >= 0, "somebody is in flight there"
        with pytest.raises(KeyError):
            fleet.ticket("api")

    def test_failures_count_by_the_rule_of_the_day(self, store: FlakyStore, started: Callable[..., Fleet]) -> None:
        fleet = started(store, policies={POOL: EjectionPolicy(("a", "b"), failures=0)})
        fleet.set_pools({POOL: EjectionPolicy(("a", "b"), failures=1)}, strict=False)
        fleet.traffic(POOL).began("a")
        fleet.traffic(POOL).answered("a", 500)
        eventually(lambda: fleet.snapshot(POOL).ejected, "a is ejected")

    def test_a_new_pool_is_served_while_the_store_is_away(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        store.lose()
        eventually(lambda: fleet.degraded, "the store is missed")
        fleet.set_pools({POOL: EjectionPolicy(), "api": EjectionPolicy()}, strict=False)
        fleet.refresh()
        assert fleet.snapshot("api") == NOTHING_KNOWN
        assert fleet.ticket("api") >= 0

    def test_checkers_are_told_once_and_as_soon_as_the_store_is_there(
        self, store: FlakyStore, started: Callable[..., Fleet]
    ) -> None:
        fleet = started(store)
        watch = store.facts.watch_reloads()
        store.lose()
        eventually(lambda: fleet.degraded, "the store is missed")
        fleet.announce_reload()
        store.find()
        assert eventually(lambda: watch.wait(1.0), "they are told") == {"reload"}
        beats = len(store.asked("beat"))
        eventually(lambda: len(store.asked("beat")) > beats, "it goes on")
        assert not watch.wait(0)
