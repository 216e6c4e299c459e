"""Slots of backends as one worker holds them: who gets one, who waits, and what the store hears of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from devtools.wait import eventually
from lbflask.core.model import Backend
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.slot_renewer import Slots
from lbflask.fleet.slot_waiter import ClientGone, OnGone, QueueFull, QueueTimeout
from lbflask.fleet.slots import PoolSlots
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import DEAD_AFTER, Beat
from tests.fleet.stores import POOL, FlakyStore
from tests.store.stores import ManualClock, Store, real_redis

LONG = 30.0


def backend(id_: str = "b", most: int = 2) -> Backend:
    return Backend(id_, id_, 80, f"http://{id_}:80", max_connections=most)


class Town:
    """Workers over one store whose clock is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = FlakyStore(MemoryStore(self.clock))
        self.threads = ThreadPoolExecutor(16)

    def worker(self, name: str) -> PoolSlots:
        fleet = Fleet(self.store, [POOL], worker=LocalWorker(id=name))
        return PoolSlots(POOL, fleet, self.clock, lambda: None)

    def add_workers(self, count: int, fleet: Fleet) -> None:
        """So many others join, and the fleet of one worker reads how many there are."""
        for number in range(count):
            self.store.beat(POOL, f"other-{number}", Beat(), read=False)
        fleet.flush()

    def wait(
        self, slots: PoolSlots, *backends: Backend, queue: QueuePolicy | None = None, gone: OnGone | None = None
    ) -> Future[str]:
        """A request that has begun to wait, in a thread of its own."""
        before = slots.waiting
        waiting = self.threads.submit(slots.wait, backends, queue or QueuePolicy(100, LONG), LONG, gone)
        eventually(lambda: slots.waiting > before or waiting.done(), "it waits")
        return waiting


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town()
    with town.threads:
        yield town


def test_the_whole_fleet_gets_as_many_as_the_backend_has(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert [one.take(backend(most=3)), two.take(backend(most=3)), one.take(backend(most=3))] == [True] * 3
    assert not two.take(backend(most=3))
    assert (one.used, two.used) == ({"b": 2}, {"b": 1})


def test_a_slot_that_becomes_free_serves_the_next_request_without_a_trip(town: Town) -> None:
    one = town.worker("one")
    for _ in range(5):
        assert one.take(backend())
        one.release("b")
    assert len(town.store.asked("hold_slots")) == 1


def test_a_backend_that_was_full_a_moment_ago_is_not_asked_again(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    assert not any(two.take(backend(most=1)) for _ in range(5))
    assert len(town.store.asked("hold_slots")) == 2
    town.clock.advance(0.03)
    one.release("b")
    one.release_idle()
    assert two.take(backend(most=1))


def test_what_was_not_taken_is_not_let_go(town: Town) -> None:
    one = town.worker("one")
    one.release("b")
    assert one.take(backend(most=1))
    one.release("b")
    one.release("b")
    assert one.take(backend(most=1))
    assert not one.take(backend(most=1))


def test_those_who_wait_are_served_in_order(town: Town) -> None:
    one = town.worker("one")
    assert one.take(backend(most=1))
    waiting = [town.wait(one, backend(most=1)) for _ in range(3)]
    assert not one.take(backend(most=1))  # nobody overtakes them
    for first in waiting:
        assert not any(
            future.done() for future in waiting if future is not first and future in waiting[waiting.index(first) :]
        )
        one.release("b")
        assert first.result(LONG) == "b"


def test_whoever_waits_takes_whichever_backend_is_free_first(town: Town) -> None:
    one = town.worker("one")
    both = backend("a", 1), backend("b", 1)
    assert all(one.take(each) for each in both)
    waiting = town.wait(one, *both)
    one.release("b")
    assert waiting.result(LONG) == "b"
    assert one.used == {"a": 1, "b": 1}


def test_a_slot_goes_to_whoever_has_waited_longer_elsewhere(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    elsewhere = town.wait(two, backend(most=1))
    town.clock.advance(0.2)
    here = town.wait(one, backend(most=1))
    one.release("b")
    assert not here.done()
    two.tick(notified=True)
    assert elsewhere.result(LONG) == "b"
    two.release("b")
    one.tick(notified=True)
    assert here.result(LONG) == "b"


def test_idle_slots_are_given_to_those_who_call_for_them(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    one.release("b")
    watch = town.store.watch_slots([POOL])
    waiting = town.wait(two, backend(most=1))
    assert watch.wait(LONG) == {POOL}
    one.tick(notified=True)
    two.tick(notified=True)
    assert waiting.result(LONG) == "b"


def test_slots_that_nobody_used_between_two_looks_are_given_back(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend())
    assert one.take(backend())
    one.tick(notified=False)
    one.release("b")
    one.release("b")
    one.tick(notified=False)
    assert one.take(backend())
    one.tick(notified=False)  # one of them lay idle all the time
    assert two.take(backend())
    assert not two.take(backend())


def test_no_more_wait_than_may_in_the_whole_fleet(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    queue = QueuePolicy(2, LONG)
    waiting = [town.wait(one, backend(most=1), queue=queue), town.wait(two, backend(most=1), queue=queue)]
    for slots in (one, two):
        with pytest.raises(QueueFull):
            slots.wait([backend(most=1)], queue, LONG, None)
    assert (one.waiting, two.waiting) == (1, 1)
    one.release("b")
    assert waiting[0].result(LONG) == "b"
    waiting[0] = town.wait(one, backend(most=1), queue=queue)
    for first, slots in zip(waiting, (one, two), strict=True):
        one.release("b")
        for each in (one, two):
            each.tick(notified=True)
        assert first.result(LONG) == "b"
        slots.release("b")


def test_a_queue_of_no_length_lets_none_wait(town: Town) -> None:
    one = town.worker("one")
    assert one.take(backend(most=1))
    trips = len(town.store.asked("hold_slots"))
    with pytest.raises(QueueFull):
        one.wait([backend(most=1)], QueuePolicy(0, LONG), LONG, None)
    assert one.waiting == 0
    assert len(town.store.asked("hold_slots")) <= trips + 1


@pytest.mark.parametrize(("timeout", "seconds"), [(0.01, LONG), (LONG, 0.01), (LONG, -1.0)])
def test_nobody_waits_longer_than_the_queue_and_the_request_allow(town: Town, timeout: float, seconds: float) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    with pytest.raises(QueueTimeout):
        two.wait([backend(most=1)], QueuePolicy(5, timeout), seconds, None)
    one.release("b")
    assert one.take(backend(most=1))  # nobody stands aside for one who has left
    assert town.store.facts._pools[POOL].holdings["one"].waiting == 0
    assert "two" not in town.store.facts._pools[POOL].holdings


def test_a_client_that_hangs_up_ends_its_wait(town: Town) -> None:
    one = town.worker("one")
    assert one.take(backend(most=1))
    told: list[Callable[[], None] | None] = []
    waiting = town.wait(one, backend(most=1), gone=told.append)
    eventually(lambda: told, "the wait can be ended")
    assert told[0] is not None
    told[0]()
    assert isinstance(waiting.exception(LONG), ClientGone)
    assert told[-1] is None
    assert one.waiting == 0
    one.release("b")
    assert one.take(backend(most=1))


def test_a_client_that_had_hung_up_before_does_not_keep_its_slot(town: Town) -> None:
    one = town.worker("one")
    assert one.take(backend(most=1))

    def gone(callback: Callable[[], None] | None) -> None:
        if callback is not None:
            one.release("b")  # just now it gets a slot
            callback()

    assert isinstance(town.wait(one, backend(most=1), gone=gone).exception(LONG), ClientGone)
    assert one.used == {}
    assert one.take(backend(most=1))


def test_what_a_killed_worker_held_is_free_when_it_has_been_silent_long_enough(town: Town) -> None:
    dead, one = town.worker("dead"), town.worker("one")
    assert dead.take(backend(most=1))
    waiting = town.wait(one, backend(most=1))
    one.tick(notified=False)
    assert not waiting.done()
    town.clock.advance(DEAD_AFTER + 0.1)
    one.tick(notified=False)
    assert waiting.result(LONG) == "b"


def test_what_is_held_is_renewed_so_that_long_requests_keep_their_slots(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    for _ in range(5):
        town.clock.advance(1.1)
        one.tick(notified=False)
        assert not two.take(backend(most=1))


def test_a_worker_that_was_frozen_asks_before_it_uses_what_it_held(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    one.release("b")
    town.clock.advance(DEAD_AFTER + 0.1)
    assert two.take(backend(most=1))
    assert not one.take(backend(most=1))


def test_what_is_not_leased_any_more_is_given_to_nobody_in_line(town: Town) -> None:
    one, two = town.worker("one"), town.worker("two")
    assert one.take(backend(most=1))
    waiting = town.wait(one, backend(most=1))
    town.clock.advance(DEAD_AFTER + 0.1)
    assert two.take(backend(most=1))
    one.release("b")
    one.tick(notified=False)
    assert not waiting.done()
    two.release("b")
    for each in (two, one):
        each.tick(notified=True)
    assert waiting.result(LONG) == "b"


class TestWithoutTheStore:
    def test_a_slot_that_lies_idle_is_not_lost_by_asking_for_another(self, town: Town) -> None:
        one = town.worker("one")
        assert one.take(backend("a", 1))
        one.release("a")
        town.store.refuse = "hold_slots"
        assert not one.take(backend("c", 1))
        assert not one.take(backend("d", 1))
        assert one.take(backend("a", 1))

    def test_what_was_granted_holds_as_long_as_the_store_would_keep_it(self, town: Town) -> None:
        one, two = town.worker("one"), town.worker("two")
        assert one.take(backend())
        assert two.take(backend())
        town.store.refuse = "hold_slots"
        for slots in (one, two):
            assert not slots.take(backend())
            slots.release("b")
            assert slots.take(backend())

    def test_then_each_worker_has_its_share_and_at_least_one(self, town: Town) -> None:
        one = town.worker("one")
        town.add_workers(3, one._fleet)
        town.store.refuse = "hold_slots"
        assert not one.take(backend(most=9))
        waiting = town.wait(one, backend(most=9))
        town.clock.advance(DEAD_AFTER)
        one.tick(notified=False)
        assert waiting.result(LONG) == "b"
        assert one.take(backend(most=9))
        town.clock.advance(1)
        assert not one.take(backend(most=9))
        assert one.take(backend("c", 1))

    def test_when_it_is_back_the_fleet_counts_again(self, town: Town) -> None:
        one, two = town.worker("one"), town.worker("two")
        town.store.refuse = "hold_slots"
        assert not one.take(backend(most=1))
        town.clock.advance(DEAD_AFTER)
        assert one.take(backend(most=1))
        town.store.refuse = ""
        one._fleet.recover()
        one.tick(notified=False)
        assert not two.take(backend(most=1))
        one.release("b")
        one.release_idle()
        town.clock.advance(1)
        assert two.take(backend(most=1))

    def test_the_queue_is_shared_out_too(self, town: Town) -> None:
        one = town.worker("one")
        town.add_workers(1, one._fleet)
        town.store.refuse = "hold_slots"
        assert not one.take(backend(most=1))
        town.clock.advance(DEAD_AFTER)
        assert one.take(backend(most=1))
        queue = QueuePolicy(3, LONG)
        waiting = town.wait(one, backend(most=1), queue=queue)
        with pytest.raises(QueueFull):
            one.wait([backend(most=1)], queue, LONG, None)
        one.release("b")
        assert waiting.result(LONG) == "b"


class Worker:
    """A worker with its follower, over a store of its own."""

    def __init__(self, stack: ExitStack, store: Store, name: str) -> None:
        self.fleet = Fleet(store, [POOL], worker=LocalWorker(id=name))
        self.all = Slots(self.fleet)
        self.slots = self.all.of(POOL)
        stack.callback(self.all.stop)


def test_under_load_nobody_ever_has_more_than_there_are_and_all_are_served(redis_url: str) -> None:
    """Two workers of eight threads each, over a real server: what a backend would count."""
    both = [backend("a", 2), backend("b", 3)]
    inside = dict.fromkeys("ab", 0)
    most = dict.fromkeys("ab", 0)
    lock = threading.Lock()
    served: list[str] = []

    def request(slots: PoolSlots, chance: random.Random) -> None:
        got = next((each.id for each in both if slots.take(each)), "") or slots.wait(
            both, QueuePolicy(100, LONG), LONG, None
        )
        with lock:
            inside[got] += 1
            most[got] = max(most[got], inside[got])
        time.sleep(chance.random() / 500)  # its time at the backend
        with lock:
            inside[got] -= 1
            served.append(got)
        slots.release(got)

    def client(number: int) -> None:
        chance = random.Random(number)
        for _ in range(15):
            request(workers[number % 2].slots, chance)

    with real_redis(redis_url) as rig, ExitStack() as stack:
        workers = [Worker(stack, rig.store, "one"), Worker(stack, rig.other, "two")]
        with ThreadPoolExecutor(16) as threads:
            for done in [threads.submit(client, number) for number in range(16)]:
                done.result(LONG)
        assert len(served) == 16 * 15
        assert most["a"] <= 2
        assert most["b"] <= 3
        assert rig.client is not None
        client_ = rig.client
        eventually(lambda: not client_.exists("{test:web}:slots"), "nothing is held any more")


def test_a_slot_let_go_at_one_worker_is_heard_of_at_another(redis_url: str) -> None:
    with real_redis(redis_url) as rig, ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        one, two = Worker(stack, rig.store, "one"), Worker(stack, rig.other, "two")
        assert one.slots.take(backend(most=1))
        for _ in range(3):
            waiting = threads.submit(two.slots.wait, [backend(most=1)], QueuePolicy(5, LONG), LONG, None)
            eventually(lambda slots=two.slots: slots.waiting, "it waits")  # type: ignore[misc]
            one.slots.release("b")
            assert waiting.result(LONG) == "b"
            one, two = two, one


def test_a_follower_of_a_store_that_is_away_goes_on_and_comes_back() -> None:
    store = FlakyStore(MemoryStore(time.time))
    store.refuse = "hold_slots"
    with ExitStack() as stack:
        one = Worker(stack, store, "one")
        assert not one.slots.take(backend())
        store.refuse = ""
        one.fleet.recover()
        one.slots.tick(notified=False)
        eventually(lambda: one.slots.take(backend()), "it has a slot of the fleet's")
    with suppress(KeyError):
        assert not store.facts._pools[POOL].holdings["one"].held["b"] > 1
