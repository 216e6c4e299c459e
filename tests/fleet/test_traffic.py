"""What a worker tells the fleet of its requests, and when: with a store, without one, and with several workers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.eligibility import select
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.fleet_events import Kind
from lbflask.core.fleet_stats import WorkerIdentity, quantile
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool
from lbflask.fleet import ejection_reporter
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.traffic import Traffic
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import StoreUnavailable
from lbflask.telemetry.events import AttemptEvent
from tests.fleet.test_fleet import NEVER, FlakyStore
from tests.store.stores import ManualClock

POOL = "web"
RULE = EjectionPolicy(("a", "b", "c", "d"), failures=3, duration=30)
SWIFT = EjectionPolicy(("a", "b", "c", "d"), failures=3, duration=0.01, max_duration=NEVER)
REFUSED = Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused")
DROPPED = Fault(Blame.BACKEND, Stage.WAIT, 502, "dropped")
STALE = Fault(Blame.BACKEND, Stage.WAIT, 502, "dropped", reused=True)
GONE = Fault(Blame.CLIENT, Stage.SEND, 499, "the client hung up")
BROKEN = Fault(Blame.BACKEND, Stage.BODY, 502, "short body")


workers = st.integers(0, 1)
backends = st.sampled_from("abcd")


class Desk:
    """A worker's traffic, told by hand to a store in memory, under a clock that is moved by hand."""

    def __init__(
        self, rule: EjectionPolicy = RULE, facts: MemoryStore | None = None, clock: ManualClock | None = None
    ) -> None:
        self.clock = clock or ManualClock()
        self.facts = facts or MemoryStore(self.clock)
        self.store = FlakyStore(self.facts)
        self.woken = 0
        self.worker = LocalWorker(WorkerIdentity("one", pid=7), id=f"worker-{id(self)}")
        self.traffic = Traffic(pool=POOL, policy=rule, worker=self.worker, clock=self.clock, wake=self.wake)

    def wake(self) -> None:
        self.woken += 1

    def serve(self, backend: str, status: int = 200) -> None:
        self.traffic.began(backend)
        self.traffic.answered(backend, status)
        self.traffic.ended(backend)

    def fail(self, backend: str, fault: Fault = REFUSED) -> None:
        self.traffic.began(backend)
        self.traffic.failed(backend, fault)

    def tell(self) -> bool:
        snapshot = self.facts.read_snapshot(POOL, NOTHING_KNOWN)
        return self.traffic.report(self.store, snapshot, self.clock())

    def loads(self) -> dict[str, int]:
        """As they are counted for views; those kept for the data plane are the same whenever nobody has moved since."""
        counted, live = self.traffic.in_flight.total(), self.traffic.in_flight.live()
        assert live == counted or self.traffic.in_flight._others
        return counted

    def out(self) -> set[str]:
        ejected = self.facts.read_snapshot(POOL, NOTHING_KNOWN).ejected
        return {backend for backend, state in ejected.items() if state.out}


@pytest.fixture
def desk() -> Desk:
    return Desk()


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
        assert desk.woken == 0

    def test_failures_are_told_together_with_all_attempts(self, desk: Desk) -> None:
        for _ in range(7):
            desk.serve("a")
        desk.fail("a")
        desk.serve("a", 503)
        assert desk.woken == 2
        desk.tell()
        assert desk.store.asked("count_failures") == [("a", FailureReport(9, 2, 3))]
        desk.tell()
        assert len(desk.store.asked("count_failures")) == 1

    def test_a_response_that_breaks_off_is_one_attempt_and_one_failure(self, desk: Desk) -> None:
        desk.traffic.began("a")
        desk.traffic.answered("a", 200)
        desk.traffic.ended("a", BROKEN)
        desk.tell()
        assert desk.store.asked("count_failures") == [("a", FailureReport(1, 1, 1))]

    @pytest.mark.parametrize("fault", [GONE, STALE], ids=["the client's", "a stale connection"])
    def test_what_is_nobodys_fault_is_not_told(self, desk: Desk, fault: Fault) -> None:
        desk.fail("a", fault)
        desk.traffic.began("b")
        desk.traffic.answered("b", 200)
        desk.traffic.ended("b", GONE)
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
        assert desk.store.asked("count_failures")[-1] == ("a", FailureReport(2, 2, 2))

    def test_a_pool_of_one_backend_or_without_the_rule_tells_of_no_failure(self) -> None:
        for useless in (EjectionPolicy(("a",)), EjectionPolicy(("a", "b"), failures=0), EjectionPolicy()):
            desk = Desk(useless)
            for _ in range(9):
                desk.fail("a")
            desk.tell()
            assert desk.store.asked("count_failures") == []

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
        assert desk.store.asked("count_failures") == [("a", FailureReport(1600, 1600, 1600))]
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
            due.traffic.ended("a")
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
        due.facts.write_active(POOL, lease.epoch, up, interval=1, announce=True)
        assert due.tell()
        assert due.out() == set()


class TestLoads:
    def test_attempts_are_in_flight_from_their_beginning_to_their_end(self, desk: Desk) -> None:
        desk.traffic.began("a")
        desk.traffic.began("a")
        desk.traffic.began("b")
        desk.traffic.answered("a", 200)
        assert desk.loads() == {"a": 2, "b": 1}
        desk.traffic.ended("a")
        desk.traffic.failed("a", REFUSED)
        assert desk.loads() == {"b": 1}

    def test_those_of_others_are_added_to_our_own(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.traffic.began("b")
        other.tell()
        desk.loads()  # from now on they are read
        desk.traffic.began("a")
        desk.tell()
        assert desk.loads() == {"a": 2, "b": 1}

    def test_those_of_the_dead_are_gone_within_three_seconds(self, desk: Desk) -> None:
        """Though it beat at the very end, and we hear of it only with our next beat."""
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.tell()
        desk.loads()
        desk.tell()
        assert desk.loads() == {"a": 1}
        for _ in range(29):
            desk.clock.advance(0.1)
            desk.traffic.began("b")  # news, so that it beats
            desk.loads()
            desk.tell()
        assert desk.loads() == {"b": 29}

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

    def test_a_worker_that_leaves_is_forgotten(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        desk.loads()
        other.traffic.began("a")
        other.tell()
        other.traffic.heartbeat.leave(other.store)
        desk.tell()
        assert desk.loads() == {}

    @pytest.mark.parametrize("pool", [sorted("ab"), [f"b{number}" for number in range(200)]])
    def test_whenever_we_hear_of_the_others_what_is_kept_is_what_is_counted(self, desk: Desk, pool: list[str]) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        desk.loads()
        for number in range(300):
            for name, one in ((pool[number % len(pool)], desk), (pool[number * 7 % len(pool)], other)):
                one.traffic.began(name)
                if number % 3:
                    one.traffic.ended(name)
            desk.clock.advance(0.1 if number % 50 else 3.0)
            other.tell()
            desk.tell()
            assert desk.traffic.in_flight.live() == desk.traffic.in_flight.total()

    def test_until_we_hear_again_what_we_do_stands_for_what_the_others_do_too(self, desk: Desk) -> None:
        """Two of ours and four of others: each that begins here is one of three that begin."""
        other = Desk(RULE, desk.facts, desk.clock)
        for name in "aaab":
            other.traffic.began(name)
        other.tell()
        desk.loads()
        desk.traffic.began("a")
        desk.traffic.began("b")
        desk.tell()
        live = desk.traffic.in_flight.live()
        assert live == {"a": 4, "b": 2}
        desk.traffic.began("c")
        desk.traffic.ended("a")
        assert live == {"a": 1, "b": 2, "c": 3}
        desk.traffic.failed("c", REFUSED)
        desk.traffic.began("a")
        assert live == {"a": 4, "b": 2}
        desk.traffic.began("d")
        desk.clock.advance(0.1)
        desk.tell()
        assert live == {"a": 4, "b": 2, "d": 1}

    def test_who_is_alone_stands_for_nobody_else(self, desk: Desk) -> None:
        desk.loads()
        for name in "aab":
            desk.traffic.began(name)
            desk.tell()
        desk.traffic.began("c")
        assert desk.traffic.in_flight.live() == {"a": 2, "b": 1, "c": 1}

    def test_what_was_heard_of_the_dead_no_longer_counts_once_it_is_old(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.tell()
        desk.loads()
        desk.tell()
        live = desk.traffic.in_flight.live()
        assert live == {"a": 1}
        desk.clock.advance(2.6)
        assert desk.traffic.in_flight.live() is live
        assert live == {} == desk.traffic.in_flight.total()
        desk.traffic.began("b")
        assert live == {"b": 1}

    def test_threads_that_begin_and_end_at_once_leave_nothing_behind(self, desk: Desk) -> None:
        def work(number: int) -> None:
            for turn in range(300):
                name = "abcd"[(number + turn) % 4]
                desk.traffic.began(name)
                assert desk.traffic.in_flight.live()[name] > 0
                desk.traffic.ended(name)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
        assert desk.loads() == {}


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
        backend = "abcd"[fleet.ticket(POOL) % 4]
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
            traffic.ended(backend, end if isinstance(end, Fault) else None)
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
TestDays.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)


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
        assert one.fallback_count(POOL) == 2
        assert ["failing open" in line for line in told] == [True, False, True, False]


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
        assert quantile(served.buckets, 0.5) == pytest.approx(0.010, rel=0.1)
        assert len(desk.store.asked("beat")) == 21, "no trip of its own"

    def test_of_a_second_only_the_latest_responses_are_looked_at(self, desk: Desk) -> None:
        desk.tell()
        for _ in range(10_000):
            desk.traffic.sample(AttemptEvent(backend="a", seconds=0.001))
        desk.clock.advance(1.0)
        desk.tell()
        (worker,) = desk.facts.read_roster(POOL).workers
        assert worker.report is not None
        assert sum(worker.report.served["a"].buckets.values()) == 256


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
