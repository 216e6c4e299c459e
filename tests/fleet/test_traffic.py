"""Workers with a store, without one, and several together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import select
from lbflask.core.faults import Fault
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool
from lbflask.fleet.fleet import Fleet
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import StoreUnavailable
from tests.fleet.desk import BROKEN, DROPPED, GONE, REFUSED, RULE, STALE, SWIFT, Desk
from tests.fleet.stores import POOL, FlakyStore
from tests.store.stores import ManualClock
from tests.support.selection import examples

workers = st.integers(0, 1)
backends = st.sampled_from("abcd")


@pytest.mark.parametrize(("reading", "most"), [(False, 0.02), (True, 0.03)])
def test_a_busy_worker_makes_few_trips_for_a_request(
    monkeypatch: pytest.MonkeyPatch, reading: bool, most: float
) -> None:
    """All that a worker tells and asks in ten seconds of 1,000 requests each."""
    clock = ManualClock()
    store = FlakyStore(MemoryStore(clock))
    monkeypatch.setattr(time, "monotonic", clock)
    fleet = Fleet(store, [POOL], policies={POOL: RULE})
    traffic = fleet.traffic(POOL)
    for number in range(11_000):
        if number == 1000:  # by now it is known to be busy
            store.calls.clear()
        clock.advance(0.001)
        backend = "abcd"[fleet.pools[POOL].tickets.next() % 4]
        traffic.began(backend)
        traffic.answered(backend, 200)
        traffic.ended(backend)
        if reading:
            fleet.loads(POOL)
        if number % 10 == 0:  # far more often than it is woken
            fleet.flush()
        if number % 1000 == 0:
            fleet.refresh()
    assert len(store.calls) / 10_000 <= most


class Days(RuleBasedStateMachine):
    """Two workers of one fleet do what they may in any order; a plain account of it must agree with what is known."""

    def __init__(self) -> None:
        super().__init__()
        one = Desk()
        self.desks = [one, Desk(RULE, one.facts, one.clock)]
        self.facts = one.facts
        self.in_flight: list[Counter[str]] = [Counter(), Counter()]
        self.attempts: Counter[str] = Counter()

    @rule(who=workers, backend=backends)
    def began(self, who: int, backend: str) -> None:
        self.desks[who].traffic.began(backend)
        self.in_flight[who][backend] += 1

    @rule(who=workers, backend=backends, end=st.sampled_from([REFUSED, DROPPED, GONE, STALE, 200, 404, 500, BROKEN]))
    def ends(self, who: int, backend: str, end: Fault | int) -> None:
        if not self.in_flight[who][backend]:
            return
        self.in_flight[who][backend] -= 1
        traffic = self.desks[who].traffic
        if isinstance(end, int) or end is BROKEN:
            traffic.answered(backend, end if isinstance(end, int) else 200)
            if isinstance(end, Fault):
                traffic.broke_off(backend, end)
            else:
                traffic.ended(backend)
            self.attempts[backend] += 1
        else:
            traffic.failed(backend, end)
            self.attempts[backend] += end in (REFUSED, DROPPED)

    @rule(who=workers, seconds=st.floats(0, 40))
    def time_passes_and_is_told(self, who: int, seconds: float) -> None:
        self.desks[0].clock.advance(seconds)
        self.desks[who].tell()

    @rule(who=workers, safe=st.booleans())
    def probe(self, who: int, safe: bool) -> None:
        probed = self.desks[who].traffic.probe(safe)
        if probed is not None:
            self.began(who, probed)

    @rule(who=workers, lost=st.booleans())
    def the_store_goes_or_comes(self, who: int, lost: bool) -> None:
        desk = self.desks[who]
        desk.store.lose()
        with suppress(StoreUnavailable):
            desk.tell()
        desk.store.find()

    @invariant()
    def our_own_load_is_exact(self) -> None:
        for desk, account in zip(self.desks, self.in_flight, strict=True):
            assert desk.traffic.in_flight.local() == dict(+account)

    @invariant()
    def no_more_are_out_than_may_be(self) -> None:
        assert len(self.desks[0].out()) <= RULE.quota

    def teardown(self) -> None:
        """In the end all is told, once."""
        for desk in self.desks:
            desk.traffic.in_flight.total()
        for _ in range(2):
            for desk in self.desks:
                desk.clock.advance(1)
                desk.tell()
        total = self.in_flight[0] + self.in_flight[1]
        for desk in self.desks:
            assert desk.traffic.in_flight.total() == dict(+total)
        assert Counter(self.facts._pools[POOL].attempts) == self.attempts


TestDays = Days.TestCase


TestDays.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None, database=None)


class TestFleet:
    """Workers with their threads."""

    POOL = Pool(POOL, tuple(Backend(name, name, 80, f"http://{name}") for name in "abcd"))

    @pytest.fixture
    def fleet(self) -> Iterator[Callable[..., Fleet]]:
        fleets: list[Fleet] = []

        def start(store: FlakyStore, rule: EjectionPolicy = RULE, **options: object) -> Fleet:
            made = Fleet(store, [POOL], policies={POOL: rule}, **options)  # type: ignore[arg-type]
            made.start()
            fleets.append(made)
            return made

        yield start
        for made in fleets:
            made.stop()

    def serving(self, fleet: Fleet) -> set[str]:
        return {candidate.backend.id for candidate in select(self.POOL, fleet.snapshot(POOL)).candidates}

    def fail(self, fleet: Fleet, backend: str, times: int) -> None:
        for _ in range(times):
            fleet.traffic(POOL).began(backend)
            fleet.traffic(POOL).failed(backend, REFUSED)

    @pytest.mark.parametrize("lost", [False, True], ids=["with a store", "without one"])
    def test_a_worker_ejects_what_fails_and_takes_it_back_after_a_probe(
        self, fleet: Callable[..., Fleet], lost: bool
    ) -> None:
        store = FlakyStore(MemoryStore(time.time))
        if lost:
            store.lose()
        one = fleet(store, SWIFT)
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out")
        probed = eventually(lambda: one.traffic(POOL).probe(safe=True), "a probe is due")
        assert probed == "a"
        one.traffic(POOL).began("a")
        one.traffic(POOL).answered("a", 200)
        one.traffic(POOL).ended("a")
        eventually(lambda: self.serving(one) == {"a", "b", "c", "d"}, "it serves again")
        assert one.degraded is lost

    def test_what_one_worker_and_another_see_is_counted_together_and_holds_for_all(
        self, fleet: Callable[..., Fleet]
    ) -> None:
        facts = MemoryStore(time.time)
        one, two = fleet(FlakyStore(facts)), fleet(FlakyStore(facts))
        self.fail(one, "a", 1)
        self.fail(two, "a", 1)
        for worker in (one, two):
            eventually(lambda worker=worker: self.serving(worker) == {"b", "c", "d"}, "it is out")  # type: ignore[misc]

    def test_no_more_than_half_are_out_without_a_store_either(self, fleet: Callable[..., Fleet]) -> None:
        store = FlakyStore(MemoryStore(time.time))
        store.lose()
        one = fleet(store)
        for backend in "abcd":
            self.fail(one, backend, 9)
        eventually(lambda: len(self.serving(one)) == 2, "two are out")
        eventually(lambda: not one.traffic(POOL).ejections._failures, "all was told")
        assert len(self.serving(one)) == 2

    def test_what_was_out_stays_out_when_the_store_goes(self, fleet: Callable[..., Fleet]) -> None:
        store = FlakyStore(MemoryStore(time.time))
        one = fleet(store)
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out")
        store.lose()
        eventually(lambda: one.degraded, "the store is gone")
        self.fail(one, "b", 2)
        eventually(lambda: self.serving(one) == {"c", "d"}, "another is out")

    def test_the_fleets_word_holds_again_when_the_store_is_back(self, fleet: Callable[..., Fleet]) -> None:
        store = FlakyStore(MemoryStore(time.time))
        one = fleet(store)
        store.lose()
        eventually(lambda: one.degraded, "the store is gone")
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out here")
        store.find()
        eventually(lambda: not one.degraded, "the store is back")
        eventually(lambda: self.serving(one) == {"a", "b", "c", "d"}, "nobody else knows of it")

    def test_failures_that_the_store_did_not_take_are_judged_here(self, fleet: Callable[..., Fleet]) -> None:
        store = FlakyStore(MemoryStore(time.time))
        one = fleet(store)
        store.lose(quietly=True)
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out")
        assert one.degraded

    def test_an_emptied_store_forgets_and_learns_again(self, fleet: Callable[..., Fleet]) -> None:
        store = FlakyStore(MemoryStore(time.time))
        one = fleet(store)
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out")
        store.facts.empty()
        eventually(lambda: self.serving(one) == {"a", "b", "c", "d"}, "it is forgotten")
        self.fail(one, "a", 2)
        eventually(lambda: self.serving(one) == {"b", "c", "d"}, "it is out again")

    def test_the_loads_of_the_fleet_are_known_to_all(self, fleet: Callable[..., Fleet]) -> None:
        facts = MemoryStore(time.time)
        one, two = fleet(FlakyStore(facts)), fleet(FlakyStore(facts))
        one.traffic(POOL).began("a")
        two.traffic(POOL).began("a")
        two.traffic(POOL).began("b")
        for worker in (one, two):
            eventually(lambda worker=worker: worker.loads(POOL) == {"a": 2, "b": 1}, "they are known")  # type: ignore[misc]
        two.stop()
        eventually(lambda: one.loads(POOL) == {"a": 1}, "those of the one that left are gone")

    def test_serving_only_because_something_is_overlooked_is_told_once_and_counted(self) -> None:
        told: list[str] = []
        one = Fleet(MemoryStore(time.time), [POOL], report=told.append)
        down = {name: ActiveHealth(Health.DOWN) for name in "abcd"}
        known = NOTHING_KNOWN.__class__(1, down, 0.0, 1.0)
        open_pool = Pool(POOL, self.POOL.backends, fails_open=True)
        for _ in range(2):
            for _ in range(3):
                one.record_fallback(POOL, select(open_pool, known).resort)
            one.record_fallback(POOL, select(open_pool, NOTHING_KNOWN).resort)
        assert one.pools[POOL].fallback_count == 2
        assert ["failing open" in line for line in told] == [True, False, True, False]
